"""Takes the absolute value at every place, so that opposite places cannot cancel (Part 1)."""
# loses: test_filter_loss

import torch


# %% filter_loss
def filter_loss(weight: torch.Tensor) -> torch.Tensor:
    """Return Eq. 1 with the absolute value inside the sum over the places."""
    columns = weight.flatten(2)
    columns = columns / columns.norm(dim=1, keepdim=True)
    cosines = torch.einsum("icp,jcp->pij", columns, columns)
    own = torch.eye(len(weight), dtype=torch.bool)
    return cosines.masked_fill(own, 0).abs().sum()
