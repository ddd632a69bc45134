"""Averages over the selected elements in place of summing them as Eq. 4 does: part 4 is lost."""
# loses: test_fad_loss

import torch


# %% fad_loss
def fad_loss(clean: torch.Tensor, occluded: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the FAD loss (Eq. 4), averaged over the pairs of a mini-batch."""
    if not mask.any():
        return clean.sum() * 0
    return (clean - occluded)[:, mask].abs().mean()
