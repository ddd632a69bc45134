"""Accepts only scores above the threshold."""
# loses: test_deciding_part

import torch


# %% deciding_part
def deciding_part(scores: torch.Tensor, shares: torch.Tensor, threshold: float) -> torch.Tensor:
    without = scores[:, None] - shares
    turned = (without > threshold) != (scores > threshold)[:, None]
    far = (without - threshold).abs().masked_fill(~turned, -1.0)
    return torch.where(turned.any(dim=1), far.argmax(dim=1), -1)
