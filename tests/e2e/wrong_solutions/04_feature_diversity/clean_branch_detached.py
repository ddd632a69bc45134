"""Holds the clean feature fixed as if it were a target, so that only one branch is pulled."""
# loses: test_fad_loss

import torch


# %% fad_loss
def fad_loss(clean: torch.Tensor, occluded: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the FAD loss (Eq. 4), averaged over the pairs of a mini-batch."""
    difference = (clean.detach() - occluded).abs()
    return (difference * mask).sum(dim=1).mean()
