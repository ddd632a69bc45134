"""Repeats the border of the map beyond it, where the docstring asks for zeros (Part 3, hidden)."""
# loses: test_smooth

import torch
from torch.nn import functional as F


# %% smooth
def smooth(maps: torch.Tensor, sigma: float = 1.5, size: int = 3) -> torch.Tensor:
    """Smooth each map by a Gaussian, the border repeated."""
    offset = torch.arange(size, dtype=maps.dtype) - size // 2
    line = torch.exp(-offset.square() / (2 * sigma**2))
    kernel = torch.outer(line, line)
    kernel = (kernel / kernel.sum()).expand(maps.shape[1], 1, size, size)
    padded = F.pad(maps, (size // 2,) * 4, mode="replicate")
    return F.conv2d(padded, kernel, groups=maps.shape[1])
