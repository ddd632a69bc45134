"""The Gaussian g_σ of Eq. 2 as banded matrices."""

from functools import lru_cache

import numpy as np
import torch
from scipy.linalg import toeplitz
from torch import Tensor

from ifr.common.errors import UserError
from ifr.common.tensors import widened

PAPER_SIGMA = 1.5  # Sec. 3.3
RELEASED_KERNEL = 3  # the paper gives no size


def smooth(response: Tensor, sigma: float, kernel_size: int, times: int = 1) -> Tensor:
    """Return ψ' = g_σ * ψ of (N, K, H, W), smoothed once or more often; sigma 0 smooths nothing.

    g_σ is separable, and two banded products, along the height and the width of all maps of an
    image at once, cost less than a convolution.
    """
    maps = widened(response).permute(0, 2, 3, 1)  # the networks here leave the channels last
    if sigma != 0 and kernel_size != 1:
        height, width = (
            gaussian_matrix(side, sigma, kernel_size, maps.device, maps.dtype).matrix_power(times)
            for side in maps.shape[1:3]
        )
        maps = width @ (height @ maps.flatten(2)).view(maps.shape)
    return maps.permute(0, 3, 1, 2)


@lru_cache(maxsize=32)
def gaussian_matrix(
    side: int, sigma: float, kernel_size: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Return the 1-D g_σ, summing to 1, zero-padded, as a symmetric banded (side, side) matrix."""
    if not sigma > 0 or kernel_size < 1 or kernel_size % 2 == 0:
        raise UserError(
            f"the Gaussian needs sigma > 0 and an odd kernel_size, got {sigma} and {kernel_size}"
        )
    distance = np.arange(max(side, kernel_size))
    line = np.exp(-(distance**2) / (2 * sigma**2)) * (distance <= kernel_size // 2)
    line /= 2 * line.sum() - line[0]  # the kernel has both sides
    with torch.inference_mode(False):  # kept: it must not be an inference tensor
        return torch.from_numpy(toeplitz(line[:side])).to(device, dtype)
