"""Spatial activation diversity (SAD): the filter loss of Eq. 1, the response loss of Eq. 2."""

from functools import lru_cache, partial

import numpy as np
import torch
from scipy.linalg import toeplitz
from torch import Tensor

from ifr.common.errors import UserError
from ifr.common.tensors import check_floating, widened, without_autocast
from ifr.losses.cosines import (
    SumOfSquaredCosines,
    cosine_matrix,
    sum_of_squared_cosines,
    unit_rows,
    without_diagonal,
)

FORMS = ("paper", "released")
PAPER_SIGMA = 1.5  # Sec. 3.3
RELEASED_KERNEL = 3  # the paper gives no size


def filter_diversity(weight: Tensor, form: str = "paper") -> Tensor:
    """Return the SAD filter loss (Eq. 1) of F, (K, C, kh, kw): 0 when the filters are orthogonal.

    Σ_{i≠j} |Σ_p cos(F_i^p, F_j^p)|; F_i^p is the column of C weights at place p.

    The paper compares different filters; the released code takes the mean squared cosine of the
    kh·kw columns inside each filter; pass ``form="released"`` to match it.

    >>> filter_diversity(torch.ones(4, 5, 3, 3))  # 9 places · 4 · 3 ordered pairs, all alike
    tensor(108.)
    """
    check_floating("weight", weight, "(K, C, kh, kw)")
    _check_form(form)
    if form == "paper":
        return without_diagonal(filter_cosines(weight)).abs().sum()
    with without_autocast(weight):
        columns = _unit_columns(weight)  # (K, P, C)
        filters, places = columns.shape[:2]
        if places < 2:
            raise UserError("form 'released' compares the places of a filter: 1×1 filters have 1")
        gram = columns @ columns.transpose(1, 2)  # (K, P, P)
        return without_diagonal(gram).square().sum() / (filters * places * (places - 1))


def filter_cosines(weight: Tensor) -> Tensor:
    """Return Σ_p cos(F_i^p, F_j^p) of Eq. 1 for filters (K, C, kh, kw), as a (K, K) matrix."""
    with without_autocast(weight):
        rows = _unit_columns(weight).flatten(1)  # (K, P*C): the sum over p is one inner product
        return rows @ rows.T


def _unit_columns(weight: Tensor) -> Tensor:
    return unit_rows(widened(weight).flatten(2).transpose(1, 2))  # F_i^p, (K, P, C)


def response_diversity(
    response: Tensor,
    sigma: float = PAPER_SIGMA,
    form: str = "paper",
    *,
    kernel_size: int = RELEASED_KERNEL,
    fast: bool = True,
) -> Tensor:
    """Return the SAD response loss (Eq. 2): how much the filters answer at the same places.

    Σ_{i≠j} cos²(ψ'_i, ψ'_j) with ψ' = g_σ * ψ of ψ (N, K, H, W), averaged over the batch; LMF is
    the caller's. A map of zeros gives 0 and gets no gradient (the released code gives NaN).

    The paper sums the K(K-1) ordered pairs; the released code takes their mean; pass
    ``form="released"`` to match it. The paper gives no ``kernel_size``; we take the released 3;
    pass 9 to reach 2.7 σ. ``fast`` is the same with a gradient written by hand.

    >>> response_diversity(torch.ones(2, 5, 4, 4))  # 5 · 4 ordered pairs, all alike
    tensor(20.0000)
    """
    check_floating("response", response, "(N, K, H, W)")
    _check_form(form)
    images, filters = response.shape[:2]
    if filters < 2 or 0 in response.shape:
        raise ValueError(f"response must have N >= 1 and K >= 2, got shape {tuple(response.shape)}")
    with without_autocast(response):
        if fast:
            smooth_twice = partial(smooth, sigma=sigma, kernel_size=kernel_size, times=2)
            total = SumOfSquaredCosines.apply(widened(response), smooth_twice)
        else:
            total = sum_of_squared_cosines(smooth(response, sigma, kernel_size).flatten(2))
    loss = total / images
    return loss if form == "paper" else loss / (filters * (filters - 1))


def response_cosines(
    response: Tensor, sigma: float = PAPER_SIGMA, *, kernel_size: int = RELEASED_KERNEL
) -> Tensor:
    """Return cos(ψ'_i, ψ'_j) of Eq. 2 for each image of (N, K, H, W), (N, K, K)."""
    with without_autocast(response):
        return cosine_matrix(smooth(response, sigma, kernel_size).flatten(2))


def smooth(response: Tensor, sigma: float, kernel_size: int, times: int = 1) -> Tensor:
    """Return ψ' = g_σ * ψ of (N, K, H, W), smoothed once or more often; sigma 0 smooths nothing."""
    maps = widened(response).permute(0, 2, 3, 1)  # the networks here leave the channels last
    # g_σ is separable, and two banded products cost less than a convolution.
    if sigma != 0 and kernel_size != 1:
        options = (sigma, kernel_size, maps.device, maps.dtype)
        once = (gaussian_matrix(side, *options) for side in maps.shape[1:3])
        height, width = (matrix.matrix_power(times) for matrix in once)
        maps = width @ (height @ maps.flatten(2)).view(maps.shape)
    return maps.permute(0, 3, 1, 2)


@lru_cache(maxsize=32)
def gaussian_matrix(
    side: int, sigma: float, kernel_size: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Return the 1-D g_σ, summing to 1, zero-padded, as a symmetric banded (side, side) matrix."""
    if not sigma > 0 or kernel_size < 1 or kernel_size % 2 == 0:
        got = f"{sigma} and {kernel_size}"
        raise UserError(f"the Gaussian needs sigma > 0 and an odd kernel_size, got {got}")
    distance = np.arange(max(side, kernel_size))
    line = np.exp(-(distance**2) / (2 * sigma**2)) * (distance <= kernel_size // 2)
    line /= 2 * line.sum() - line[0]  # the kernel has both sides
    with torch.inference_mode(False):  # kept: it must not be an inference tensor
        return torch.from_numpy(toeplitz(line[:side])).to(device, dtype)


def _check_form(form: str) -> None:
    if form not in FORMS:
        raise UserError(f"form must be 'paper' or 'released', got {form!r}")
