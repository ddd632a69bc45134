"""Keeps what lies strictly above the n-th magnitude, as the released code: one fewer (Part 2)."""
# loses: test_large_magnitude

import torch


# %% large_magnitude
def large_magnitude(response: torch.Tensor, keep: int) -> torch.Tensor:
    """Keep the responses strictly above the keep-th magnitude of every map."""
    magnitude = response.detach().abs().flatten(2)
    threshold = magnitude.topk(keep, dim=-1).values[..., -1:]
    return torch.where((magnitude > threshold).view_as(response), response, 0)
