"""Divides by the sum of the signed responses, in which the signs cancel (Part 4)."""
# loses: test_peak_share

import torch


# %% peak_share
def peak_share(response: torch.Tensor, count: int) -> torch.Tensor:
    """Return the largest responses over the sum of the responses."""
    maps = response.flatten(2)
    return maps.topk(count, dim=-1).values.sum(dim=-1) / maps.sum(dim=-1)
