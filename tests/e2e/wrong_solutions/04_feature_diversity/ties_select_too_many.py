"""Compares with the t-th smallest value, so that elements tied with it all come in: part 2."""
# loses: test_mask_by_count

import torch


# %% mask_by_count
def mask_by_count(difference: torch.Tensor, keep: int) -> torch.Tensor:
    """Return τ, true for the ``keep`` elements that change least; of equal ones the first."""
    return difference.detach() <= difference.detach().kthvalue(keep).values
