"""Compares features of different length without scaling them."""
# loses: test_changed_share

import torch


# %% changed_share
def changed_share(clean: torch.Tensor, occluded: torch.Tensor) -> float:
    change = (clean - occluded).abs().mean(dim=0)
    return float((change > 0.1 * change.max()).float().mean())
