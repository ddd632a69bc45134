"""Looks for what decides accepted pairs only."""
# loses: test_deciding_part

import torch


# %% deciding_part
def deciding_part(scores: torch.Tensor, shares: torch.Tensor, threshold: float) -> torch.Tensor:
    largest, part = shares.max(dim=1)
    turned = (scores >= threshold) & (scores - largest < threshold)
    return torch.where(turned, part, -1)
