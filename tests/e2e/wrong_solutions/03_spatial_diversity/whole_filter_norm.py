"""Divides by the length of the whole filter times √P, not by that of each column (hidden)."""
# loses: test_filter_loss

import torch


# %% filter_loss
def filter_loss(weight: torch.Tensor) -> torch.Tensor:
    """Return Eq. 1 with one length for each filter; right only where its columns are as long."""
    places = weight.shape[2] * weight.shape[3]
    rows = weight.flatten(1)
    rows = rows / rows.norm(dim=1, keepdim=True)
    own = torch.eye(len(weight), dtype=torch.bool)
    return places * (rows @ rows.T).masked_fill(own, 0).abs().sum()
