"""The sum of squared cosines of Eq. 2 with its gradient written by hand: half of autograd's time.

It is ``ifr.losses.cosines.sum_of_squared_cosines`` of smoothed maps, value and gradient.
"""

from typing import Any

import torch
from torch import Tensor

from ifr.losses.cosines import inverse_norm


class SumOfSquaredCosines(torch.autograd.Function):
    """Σ_{i≠j} cos²(ψ'_i, ψ'_j), summed over images, of ψ and s = g_σ * g_σ * ψ, (N, K, P).

    g_σ with its zero padding is a symmetric matrix, so ψ'_i · ψ'_j = ψ_i · s_j: only one side is
    smoothed, and the gradient needs no smoothing at all. With C the cosines, 0 on the diagonal,
    dL/dψ_i = 4 / |ψ'_i| · (Σ_j C_ij s_j / |ψ'_j| - Σ_j C_ij² s_i / |ψ'_i|): one product more, where
    autograd takes two and several passes over (N, K, P).
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
