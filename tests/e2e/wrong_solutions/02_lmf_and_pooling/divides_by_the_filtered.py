"""Compares with the length of the filtered feature in place of the full one (Part 5)."""
# loses: test_relative_change

import torch


# %% relative_change
def relative_change(full: torch.Tensor, filtered: torch.Tensor) -> torch.Tensor:
    """Return the length of the difference over the length of the filtered feature."""
    return (filtered - full).norm(dim=1) / filtered.norm(dim=1)
