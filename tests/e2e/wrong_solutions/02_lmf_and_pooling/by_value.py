"""Keeps the largest values, not the largest magnitudes: negative peaks are lost (Part 2)."""
# loses: test_large_magnitude

import torch


# %% large_magnitude
def large_magnitude(response: torch.Tensor, keep: int) -> torch.Tensor:
    """Keep the largest values of every map."""
    maps = response.flatten(2)
    places = maps.detach().topk(keep, dim=-1).indices
    kept = torch.zeros_like(maps, dtype=torch.bool).scatter_(-1, places, True)
    return torch.where(kept, maps, 0).view_as(response)
