"""Cosines between rows, as Eq. 1 and 2 sum them; a row of zeros is orthogonal to every other."""

from typing import Any

import torch
from torch import Tensor

EPS = 1e-12  # squared norm below which a row counts as zero


def inverse_norm(squared: Tensor) -> Tensor:
    """Return 1 / sqrt(x), and 0 with zero gradient where x is (nearly) 0."""
    real = squared > EPS
    return torch.where(real, torch.where(real, squared, 1).rsqrt(), 0)


def unit_rows(rows: Tensor) -> Tensor:
    """Return rows (..., K, P) of length one."""
    return rows * inverse_norm(rows.square().sum(dim=-1, keepdim=True))


def cosine_matrix(rows: Tensor) -> Tensor:
    """Return the cosines between rows (..., K, P), (..., K, K)."""
    unit = unit_rows(rows)
    return unit @ unit.transpose(-1, -2)


def without_diagonal(gram: Tensor) -> Tensor:
    """Set the diagonal of (..., K, K) to 0: the sums of Eq. 1 and 2 run over i ≠ j."""
    own = torch.eye(gram.shape[-1], dtype=torch.bool, device=gram.device)
    return gram.masked_fill(own, 0)


def sum_of_squared_cosines(rows: Tensor) -> Tensor:
    """Return Σ_{i≠j} cos²(s_i, s_j) over the rows s of each image (N, K, P), summed over images."""
    return without_diagonal(cosine_matrix(rows)).square().sum()


class SumOfSquaredCosines(torch.autograd.Function):
    """:func:`sum_of_squared_cosines` of ψ', from ψ and s = g_σ * g_σ * ψ, (N, K, P): twice as fast.

    g_σ with its zero padding is a symmetric matrix, so ψ'_i · ψ'_j = ψ_i · s_j: only one side is
    smoothed, and the gradient needs no smoothing at all. With C the cosines, 0 on the diagonal,
    dL/dψ_i = 4 / |ψ'_i| · (Σ_j C_ij s_j / |ψ'_j| - Σ_j C_ij² s_i / |ψ'_i|).
    """

    @staticmethod
    def forward(ctx: Any, maps: Tensor, twice: Tensor) -> Tensor:
        cosines = maps @ twice.transpose(1, 2)  # (N, K, K), inner products so far
        inverse = inverse_norm(cosines.diagonal(dim1=1, dim2=2))  # (N, K)
        cosines.mul_(inverse[:, :, None]).mul_(inverse[:, None, :])
        cosines.diagonal(dim1=1, dim2=2).zero_()  # i ≠ j
        own = cosines.square().sum(dim=-1)  # (N, K)
        ctx.save_for_backward(twice, cosines, inverse, own)
        return own.sum()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        twice, cosines, inverse, own = ctx.saved_tensors
        factors = cosines * (4 * gradient * inverse)[:, :, None] * inverse[:, None, :]
        factors.diagonal(dim1=1, dim2=2).copy_(-4 * gradient * own * inverse.square())
        # The factors are symmetric; in this order the gradient has its channels last, as ψ does.
        return (twice.transpose(1, 2) @ factors).transpose(1, 2), None
