"""Forgets the lengths: the shares of an inner product."""
# loses: test_filter_shares

import torch


# %% filter_shares
def filter_shares(f: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    return f * g
