"""Leaves the cosine 1 of each column with itself in the mean (Part 2)."""
# loses: test_released_filter_loss

import torch


# %% released_filter_loss
def released_filter_loss(weight: torch.Tensor) -> torch.Tensor:
    """Return the mean squared cosine of all pairs of columns, each with itself too."""
    columns = weight.flatten(2)
    columns = columns / columns.norm(dim=1, keepdim=True)
    return (columns.transpose(1, 2) @ columns).square().mean()
