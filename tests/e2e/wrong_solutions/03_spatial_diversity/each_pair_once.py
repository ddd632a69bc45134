"""Counts i < j where i ≠ j is both orders: half the value, in both losses (Parts 1 and 4)."""
# loses: test_filter_loss, test_response_loss

import torch


# %% filter_loss
def filter_loss(weight: torch.Tensor) -> torch.Tensor:
    """Return Eq. 1 with every pair of filters once."""
    columns = weight.flatten(2)
    rows = (columns / columns.norm(dim=1, keepdim=True)).flatten(1)
    return (rows @ rows.T).triu(1).abs().sum()


# %% response_loss
def response_loss(smoothed: torch.Tensor) -> torch.Tensor:
    """Return Eq. 2 with every pair of maps once."""
    rows = smoothed.flatten(2)
    rows = rows / rows.norm(dim=2, keepdim=True)
    return (rows @ rows.transpose(1, 2)).triu(1).square().sum(dim=(1, 2)).mean()
