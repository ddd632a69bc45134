"""Keeps all that reach the n-th magnitude: too many when it is tied (Part 2, hidden)."""
# loses: test_large_magnitude

import torch


# %% large_magnitude
def large_magnitude(response: torch.Tensor, keep: int) -> torch.Tensor:
    """Keep the responses at or above the keep-th magnitude of every map."""
    magnitude = response.detach().abs().flatten(2)
    threshold = magnitude.topk(keep, dim=-1).values[..., -1:]
    return torch.where((magnitude >= threshold).view_as(response), response, 0)
