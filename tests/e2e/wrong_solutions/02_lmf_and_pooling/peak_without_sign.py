"""Returns the largest magnitude itself, without the sign of the response (Part 6)."""
# loses: test_max_and_peak

import torch


# %% max_and_peak
def max_pooled(response: torch.Tensor) -> torch.Tensor:
    """Return the largest value of each map."""
    return response.amax(dim=(2, 3))


def signed_peak(response: torch.Tensor) -> torch.Tensor:
    """Return the largest magnitude of each map."""
    return response.abs().amax(dim=(2, 3))
