"""Uses σ where the Gaussian has σ², a narrower kernel (Part 3)."""
# loses: test_smooth

import torch
from torch.nn import functional as F


# %% smooth
def smooth(maps: torch.Tensor, sigma: float = 1.5, size: int = 3) -> torch.Tensor:
    """Smooth each map by a Gaussian of variance sigma."""
    offset = torch.arange(size, dtype=maps.dtype) - size // 2
    line = torch.exp(-offset.square() / (2 * sigma))
    kernel = torch.outer(line, line)
    kernel = (kernel / kernel.sum()).expand(maps.shape[1], 1, size, size)
    return F.conv2d(maps, kernel, padding=size // 2, groups=maps.shape[1])
