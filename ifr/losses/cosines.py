"""Cosines between rows, as Eq. 1 and 2 sum them; a row of zeros is orthogonal to every other."""

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
