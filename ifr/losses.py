"""The paper's losses: SAD (Eq. 1 and 2), FAD (Eq. 4) and the masked identity loss (Eq. 5).

All are computed in fp32 or better, and all-zero maps and filters are orthogonal to everything.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from scipy.linalg import toeplitz
from torch import Tensor
from torch.nn import functional as F

from ifr.common.errors import UserError
from ifr.common.tensors import check_floating, widened, without_autocast

FORMS = ("paper", "released")
PAPER_SIGMA = 1.5  # Sec. 3.3
RELEASED_KERNEL = 3  # the paper gives no size
PAPER_KEEP = 260  # Sec. 4.1, of K = 320
EPS = 1e-12  # squared norm below which a row counts as zero
PIECE = 16  # images whose maps are worked on together, so that they stay in a CPU's cache


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
    filters, places = len(weight), weight[0, 0].numel()
    if places < 2:
        raise UserError("form 'released' compares the places of a filter: 1×1 filters have 1")
    with without_autocast(weight):
        return sum_of_squared_cosines(_columns(weight)) / (filters * places * (places - 1))


def filter_cosines(weight: Tensor) -> Tensor:
    """Return Σ_p cos(F_i^p, F_j^p) of Eq. 1 for filters (K, C, kh, kw), as a (K, K) matrix."""
    with without_autocast(weight):
        rows = unit_rows(_columns(weight)).flatten(1)  # the sum over p is one inner product
        return rows @ rows.T


def _columns(weight: Tensor) -> Tensor:
    return widened(weight).flatten(2).transpose(1, 2)  # F_i^p, (K, P, C)


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


def feature_selection_mask(
    clean: Tensor,
    occluded: Tensor,
    keep: int = PAPER_KEEP,
    *,
    threshold: float | None = None,
    all_reduce_mean: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Return τ, (K,) bool, of the features of faces that share one occlusion (Sec. 3.2, 3.3).

    It selects the ``keep`` elements (t as a count) with the smallest mean |f_i(I_n) - f_i(Î_n)|, of
    equal ones the first; or, with ``threshold`` (t as a value), those whose mean is below it.
    ``all_reduce_mean`` averages the (K,) means over the processes that share a batch.

    >>> clean, occluded = torch.zeros(1, 3), torch.tensor([[0.5, -2.0, 1.0]])
    >>> feature_selection_mask(clean, occluded, keep=2)
    tensor([ True, False,  True])
    """
    with torch.no_grad():
        difference = _difference(clean, occluded).mean(dim=0)  # (K,)
        if all_reduce_mean is not None:
            difference = all_reduce_mean(difference)
        if threshold is not None:
            return difference < threshold
        if not 1 <= keep <= len(difference):
            count, paper = len(difference), f"260 of 320, here {round(260 / 320 * len(difference))}"
            wanted = f"between 1 and the {count} features there are (the paper's: {paper})"
            raise UserError(f"keep must be {wanted}, got {keep}")
        order = difference.argsort(stable=True)  # topk would break ties as it likes
        return torch.zeros_like(difference, dtype=torch.bool).index_fill_(0, order[:keep], True)


def feature_activation_diversity(
    clean: Tensor, occluded: Tensor, mask: Tensor, *, reduction: str = "mean"
) -> Tensor:
    """Return the FAD loss (Eq. 4): Σ_i |τ_i (f_i(I) - f_i(Î))|, with τ (K,) or (N, K).

    Over the pairs it is reduced by ``"mean"``, ``"sum"``, or ``"none"`` for (N,). The released sum
    of batch means is the mean of sums: ``"mean"`` is the paper's form and the released one.

    >>> clean, occluded = torch.zeros(1, 3), torch.tensor([[0.5, -2.0, 1.0]])
    >>> feature_activation_diversity(clean, occluded, torch.tensor([True, False, True]))
    tensor(1.5000)
    """
    difference = _difference(clean, occluded)
    _check_mask(mask, clean)
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
    each = torch.where(mask, difference, 0).sum(dim=1)  # (N,)
    return each if reduction == "none" else getattr(each, reduction)()


def masked_identity_loss(
    classifier: Callable[[Tensor], Tensor], features: Tensor, mask: Tensor, labels: Tensor
) -> Tensor:
    """Return the occluded branch's identity loss (Eq. 5), the batch mean of -log P_c(τ ⊙ f(Î))."""
    _check_mask(mask, features)
    return F.cross_entropy(widened(classifier(torch.where(mask, features, 0))), labels)


def _difference(clean: Tensor, occluded: Tensor) -> Tensor:
    """Return |f(I) - f(Î)|, (N, K), of two batches that fit."""
    check_floating("clean", clean, "(N, K)")
    check_floating("occluded", occluded, "(N, K)")
    if clean.shape != occluded.shape or 0 in clean.shape:
        got = f"{tuple(clean.shape)} and {tuple(occluded.shape)}"
        raise ValueError(f"clean and occluded must be (N, K) of the same faces, got {got}")
    return (widened(clean) - widened(occluded)).abs()


def _check_mask(mask: Tensor, features: Tensor) -> None:
    if mask.dtype != torch.bool:
        raise TypeError(f"mask must be a bool tensor, got {mask.dtype}; use feature_selection_mask")
    if mask.shape not in (features.shape[1:], features.shape):
        wanted, got = f"(K,) or (N, K) for features {tuple(features.shape)}", tuple(mask.shape)
        raise ValueError(f"mask must be {wanted}, got shape {got}")


def unit_rows(rows: Tensor) -> Tensor:
    """Return rows (..., K, P) of length one; those of zeros stay, orthogonal to every other."""
    return rows * _inverse_norm(rows.square().sum(dim=-1, keepdim=True))


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


def _inverse_norm(squared: Tensor) -> Tensor:
    """Return 1 / sqrt(x), and 0 with zero gradient where x is (nearly) 0."""
    real = squared > EPS
    return torch.where(real, torch.where(real, squared, 1).rsqrt(), 0)


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
            inverse = _inverse_norm(own).square()[:, None]  # 1 / |ψ'|², (n, 1, K)
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
