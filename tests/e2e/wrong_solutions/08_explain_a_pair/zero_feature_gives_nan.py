"""Divides by a length of zero."""
# loses: test_filter_shares

import torch


# %% filter_shares
def filter_shares(f: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    return f / f.norm(dim=1, keepdim=True) * g / g.norm(dim=1, keepdim=True)
