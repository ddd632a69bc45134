"""Divides by K (K - 1) / 2, though the sum of Eq. 2 holds each pair twice (Part 6)."""
# loses: test_sum_and_mean

import torch


# %% sum_and_mean
def mean_form(total: torch.Tensor, count: int) -> torch.Tensor:
    """Return the sum over the number of unordered pairs."""
    return total / (count * (count - 1) / 2)


def sum_weight(mean_weight: float, count: int) -> float:
    """Return the weight over the number of unordered pairs."""
    return mean_weight / (count * (count - 1) / 2)
