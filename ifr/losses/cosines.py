"""Cosines between rows, as Eq. 1 and 2 sum them; a row of zeros is orthogonal to every other."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

EPS = 1e-12  # squared norm below which a row counts as zero
PIECE = 16  # images whose maps are worked on together, so that they stay in a CPU's cache


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
    """:func:`sum_of_squared_cosines` of ψ' = g_σ * ψ, from ψ (N, K, H, W), made cheap.

    ``smooth_twice`` gives s = g_σ * g_σ * ψ. g_σ with its zero padding is a symmetric matrix, so
    ψ'_i · ψ'_j = ψ_i · s_j: only one side is smoothed, and the gradient needs no smoothing. With
    y_i = Σ_{j≠i} (ψ_i · s_j) s_j / |ψ'_j|², o_i = Σ_{j≠i} cos²(ψ'_i, ψ'_j) = ψ_i · y_i / |ψ'_i|²
    and dL/dψ_i = 4 (y_i - o_i s_i) / |ψ'_i|².
    """

    @staticmethod
    def forward(ctx: Any, response: Tensor, smooth_twice: Callable[[Tensor], Tensor]) -> Tensor:
        gradient, total = torch.empty_like(response), response.new_zeros(())
        pieces = zip(response.split(PIECE), gradient.split(PIECE), strict=True)
        for psi, psi_gradient in pieces:
            maps, twice = (x.flatten(2).transpose(1, 2) for x in (psi, smooth_twice(psi)))
            products = twice.transpose(1, 2) @ maps  # ψ'_j · ψ'_i, (n, K, K)
            own = products.diagonal(dim1=1, dim2=2)
            inverse = inverse_norm(own).square()[:, None]  # 1 / |ψ'|², (n, 1, K)
            own.zero_()  # i ≠ j
            weighted = twice * inverse
            sums = weighted @ products  # y, (n, P, K)
            each = (maps * sums).sum(dim=1, keepdim=True).mul_(inverse)  # o
            total += each.sum()
            slope = sums.mul_(inverse).sub_(weighted.mul_(each)).mul_(4)
            psi_gradient.copy_(slope.transpose(1, 2).view_as(psi))
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.saved_tensors[0], None
