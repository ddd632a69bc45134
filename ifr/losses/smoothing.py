"""The Gaussian g_σ of Eq. 2: as a convolution to read, and as two banded products to train with."""

import math
from functools import lru_cache

import torch
from torch import nn
from torch.nn import functional as F

from ifr.common.tensors import widened

PAPER_SIGMA = 1.5  # Sec. 3.3
RELEASED_KERNEL = 3  # the paper gives no size


class GaussianSmoothing(nn.Module):
    """g_σ as a channel-wise convolution with zero padding: the readable form of :func:`smooth`.

    Args:
        sigma: in responses.
        kernel_size: odd side of the kernel, which sums to 1.
    """

    kernel: torch.Tensor

    def __init__(self, sigma: float = PAPER_SIGMA, kernel_size: int = RELEASED_KERNEL) -> None:
        super().__init__()
        line = gaussian_kernel1d(sigma, kernel_size)
        self.register_buffer("kernel", torch.outer(line, line).float())

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Smooth (N, K, H, W), each map by itself."""
        channels, side = maps.shape[1], self.kernel.shape[-1]
        kernel = self.kernel.to(maps.dtype).expand(channels, 1, side, side)
        return F.conv2d(maps, kernel, padding=side // 2, groups=channels)


def smooth(response: torch.Tensor, sigma: float, kernel_size: int) -> torch.Tensor:
    """Return ψ' = g_σ * ψ of (N, K, H, W); sigma 0 smooths nothing.

    g_σ is separable, and two banded products of large matrices, along the width for all rows of all
    maps, then along the height, cost less than a convolution.
    """
    maps = widened(response).contiguous()
    if sigma == 0 or kernel_size == 1:
        return maps
    height, width = (
        gaussian_matrix(side, sigma, kernel_size, maps.device, maps.dtype)
        for side in maps.shape[2:]
    )
    return height @ (maps @ width)


def gaussian_kernel1d(sigma: float, kernel_size: int) -> torch.Tensor:
    """Return the 1-D Gaussian of odd ``kernel_size``, float64, summing to 1."""
    if not sigma > 0 or kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(
            f"the Gaussian needs sigma > 0 and an odd kernel_size, got {sigma} and {kernel_size}"
        )
    half = kernel_size // 2
    weights = [math.exp(-(x * x) / (2 * sigma * sigma)) for x in range(-half, half + 1)]
    line = torch.tensor(weights, dtype=torch.float64, device="cpu")
    return line / line.sum()


@lru_cache(maxsize=32)
def gaussian_matrix(
    side: int, sigma: float, kernel_size: int, device: torch.device, dtype: torch.dtype
) -> torch.Tensor:
    """Return the 1-D g_σ with zero padding as a symmetric banded (side, side) matrix."""
    with torch.inference_mode(False), torch.no_grad():  # kept: it must not be an inference tensor
        line = gaussian_kernel1d(sigma, kernel_size)
        reach = min(kernel_size // 2, side - 1)
        matrix = line.new_zeros(side, side)
        for offset in range(-reach, reach + 1):
            matrix.diagonal(offset).fill_(line[kernel_size // 2 + offset])
        return matrix.to(device, dtype)
