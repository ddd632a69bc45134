"""Joins the maps of a batch to one long vector for each filter, so signs cancel (Part 4)."""
# loses: test_response_loss

import torch


# %% response_loss
def response_loss(smoothed: torch.Tensor) -> torch.Tensor:
    """Return Eq. 2 of the batch as one large image."""
    rows = smoothed.transpose(0, 1).flatten(1)
    rows = rows / rows.norm(dim=1, keepdim=True)
    own = torch.eye(len(rows), dtype=torch.bool)
    return (rows @ rows.T).masked_fill(own, 0).square().sum()
