"""The paper's losses: SAD (Eq. 1 and 2), FAD (Eq. 4) and the masked identity loss (Eq. 5).

All are computed in fp32 or better, also under autocast, and have finite values and gradients for
all-zero maps and filters, which count as orthogonal to everything.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import nn
from torch.nn import functional as F

PAPER_SIGMA = 1.5  # Sec. 3.3
RELEASED_KERNEL = 3  # the paper gives no size
PAPER_KEEP = 260  # Sec. 4.1, of K = 320
FORMS = ("paper", "released")
EPS = 1e-12  # squared norm below which a vector counts as zero


def filter_diversity(weight: torch.Tensor, form: str = "paper") -> torch.Tensor:
    """Return the SAD filter loss (Eq. 1): how alike the filters are, 0 when they are orthogonal.

    Args:
        weight: (K, C, kh, kw), the filters F of Ψ; F_i^p is the column of C weights at place p.
        form: ``"paper"``: Σ_{i≠j} |Σ_p cos(F_i^p, F_j^p)|, between filters.
            ``"released"``: squared cosines between the kh·kw columns inside one filter, mean over
            their pairs and over the filters.

    Returns:
        A scalar; an all-zero column contributes 0 and gets no gradient.

    Raises:
        TypeError: if ``weight`` is not a floating tensor.
        ValueError: for another shape or form, or the released form of 1×1 filters (no pairs).

    The paper compares different filters; the released code never compares two filters; pass
    ``form="released"`` to match it.
    """
    _require_floats(weight, "weight", "(K, C, kh, kw)")
    _require_form(form)
    if weight.ndim != 4:
        raise ValueError(f"weight must be (K, C, kh, kw), got shape {tuple(weight.shape)}")
    if form == "paper":
        return _without_diagonal(filter_cosines(weight)).abs().sum()
    with _full_precision(weight):
        columns = _unit_columns(weight)  # (K, P, C)
        count, places = columns.shape[:2]
        if places < 2:
            raise ValueError(
                "form 'released' compares the places of a filter: 1×1 filters have one"
            )
        gram = columns @ columns.transpose(1, 2)  # (K, P, P)
        return _without_diagonal(gram).square().sum() / (count * places * (places - 1))


def filter_cosines(weight: torch.Tensor) -> torch.Tensor:
    """Return Σ_p cos(F_i^p, F_j^p) of Eq. 1 for filters (K, C, kh, kw), as a (K, K) matrix."""
    with _full_precision(weight):
        rows = _unit_columns(weight).flatten(1)  # (K, P*C): the sum over p is one inner product
        return rows @ rows.T


def _unit_columns(weight: torch.Tensor) -> torch.Tensor:
    columns = _wide(weight).flatten(2).transpose(1, 2)  # F_i^p, (K, P, C)
    return columns * _inverse_norm(columns.square().sum(dim=-1, keepdim=True))


def response_diversity(
    response: torch.Tensor,
    sigma: float = PAPER_SIGMA,
    form: str = "paper",
    *,
    kernel_size: int = RELEASED_KERNEL,
) -> torch.Tensor:
    """Return the SAD response loss (Eq. 2): how much the filters answer at the same places.

    Σ_{i≠j} cos²(ψ'_i, ψ'_j) with ψ' = g_σ * ψ, averaged over the batch. LMF is the caller's: pass
    ``large_magnitude_filter(response)`` for ψ' = g_σ * LMF(ψ) of Sec. 3.1.

    Args:
        response: (N, K, H, W).
        sigma: of the Gaussian g_σ, in responses; 0 smooths nothing.
        form: ``"paper"``: the sum over the K(K-1) ordered pairs. ``"released"``: the mean over the
            K(K-1)/2 pairs, the paper's figure divided by K(K-1).
        kernel_size: odd side of g_σ in responses, zero-padded. The paper gives no size; we take the
            released code's 3; pass 9 for a kernel that reaches 2.7 σ.

    Returns:
        A scalar; an all-zero map contributes 0 and gets no gradient (the released code gives NaN).

    Raises:
        TypeError: if ``response`` is not a floating tensor.
        ValueError: for another shape or form, fewer than two maps, or a bad sigma or kernel.
    """
    _require_floats(response, "response", "(N, K, H, W)")
    _require_form(form)
    if response.ndim != 4 or response.shape[1] < 2 or 0 in response.shape:
        raise ValueError(
            "response must be (N, K, H, W) with N >= 1 and K >= 2 maps to compare, got shape "
            f"{tuple(response.shape)}"
        )
    images, count = response.shape[:2]
    with _full_precision(response):
        smoothed = _smoothed(response, sigma, kernel_size)
        total = _SumOfSquaredCosines.apply(smoothed.flatten(2)) / images
    return total if form == "paper" else total / (count * (count - 1))


def response_cosines(
    response: torch.Tensor, sigma: float = PAPER_SIGMA, *, kernel_size: int = RELEASED_KERNEL
) -> torch.Tensor:
    """Return cos(ψ'_i, ψ'_j) of Eq. 2 for each image of (N, K, H, W), (N, K, K)."""
    with _full_precision(response):
        rows = _smoothed(response, sigma, kernel_size).flatten(2)  # ψ', (N, K, H*W)
        rows = rows * _inverse_norm(rows.square().sum(dim=-1, keepdim=True))
        return rows @ rows.transpose(1, 2)


def _smoothed(response: torch.Tensor, sigma: float, kernel_size: int) -> torch.Tensor:
    """Return ψ' = g_σ * ψ; g_σ is separable, and two banded products cost less than a convolution.

    Both products are of large matrices: along the width for all rows of all maps, then along the
    height.
    """
    maps = _wide(response).contiguous()
    if sigma == 0 or kernel_size == 1:
        return maps
    height, width = (
        gaussian_matrix(side, sigma, kernel_size, maps.device, maps.dtype)
        for side in maps.shape[2:]
    )
    return height @ (maps @ width)


class _SumOfSquaredCosines(torch.autograd.Function):
    """Σ_{i≠j} cos²(s_i, s_j) over the rows s of each image (N, K, P), summed over the images.

    The gradient is one product more of the size of the forward one, where that of
    ``response_cosines`` takes two and several passes over (N, K, P): with C the cosines, 0 on the
    diagonal, dL/ds_i = 4 / |s_i| · (Σ_j C_ij s_j / |s_j| - Σ_j C_ij² s_i / |s_i|).
    """

    @staticmethod
    def forward(ctx, rows: torch.Tensor) -> torch.Tensor:
        """Return the sum; a row of zeros counts as orthogonal to all."""
        cosines = rows @ rows.transpose(1, 2)  # (N, K, K), inner products so far
        inverse = _inverse_norm(cosines.diagonal(dim1=1, dim2=2))  # (N, K)
        cosines.mul_(inverse[:, :, None]).mul_(inverse[:, None, :])
        cosines.diagonal(dim1=1, dim2=2).zero_()  # i ≠ j
        own = cosines.square().sum(dim=-1)  # (N, K)
        ctx.save_for_backward(rows, cosines, inverse, own)
        return own.sum()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        """Return the gradient of the rows."""
        rows, cosines, inverse, own = ctx.saved_tensors
        factors = cosines * (4 * gradient * inverse)[:, :, None] * inverse[:, None, :]
        factors.diagonal(dim1=1, dim2=2).copy_(-4 * gradient * own * inverse.square())
        return factors @ rows


def feature_selection_mask(
    clean: torch.Tensor,
    occluded: torch.Tensor,
    keep: int = PAPER_KEEP,
    *,
    threshold: float | None = None,
    all_reduce_mean: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> torch.Tensor:
    """Return the feature selection mask τ of a batch that shares one occlusion (Sec. 3.2, 3.3).

    Args:
        clean: (N, K) features f(I_n).
        occluded: (N, K) features f(Î_n) of the same faces, occluded.
        keep: t as a count: the ``keep`` elements with the smallest mean |f_i(I_n) - f_i(Î_n)|; of
            equal ones the first.
        threshold: t as a value, instead of ``keep``: the elements whose mean is below it.
        all_reduce_mean: averages the (K,) means of this part of a batch over all its parts, where several
            processes share a batch, so that each selects the same elements.

    Returns:
        (K,) bool, without gradient.

    Raises:
        TypeError: if the features are not floating tensors.
        ValueError: if the shapes differ, or ``keep`` is outside 1..K.
    """
    _require_features(clean, occluded)
    with torch.no_grad():
        difference = (_wide(clean) - _wide(occluded)).abs().mean(dim=0)  # (K,)
        if all_reduce_mean is not None:
            difference = all_reduce_mean(difference)
        if threshold is not None:
            return difference < threshold
        if not 1 <= keep <= len(difference):
            raise ValueError(
                f"keep must be between 1 and the {len(difference)} features there are, got {keep}; "
                f"the paper keeps 260 of 320, here {round(260 / 320 * len(difference))}"
            )
        order = difference.argsort(stable=True)  # topk would break ties as it likes
        mask = torch.zeros_like(difference, dtype=torch.bool)
        mask[order[:keep]] = True
        return mask


def feature_activation_diversity(
    clean: torch.Tensor, occluded: torch.Tensor, mask: torch.Tensor, *, reduction: str = "mean"
) -> torch.Tensor:
    """Return the FAD loss (Eq. 4): Σ_i |τ_i (f_i(I) - f_i(Î))|.

    Args:
        clean: (N, K) features f(I).
        occluded: (N, K) features f(Î).
        mask: (K,) or (N, K) bool, τ; see :func:`feature_selection_mask`.
        reduction: over the pairs: ``"mean"``, ``"sum"``, or ``"none"`` for (N,).

    Returns:
        A scalar, or (N,).

    Raises:
        TypeError: if the features are not floating or the mask is not bool.
        ValueError: if the shapes differ or the reduction is unknown.

    The released code sums the batch mean of each selected element; a sum of means is the mean of
    sums, so ``"mean"`` is both the paper's form and the released one.
    """
    _require_features(clean, occluded)
    _require_mask(mask, clean)
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
    difference = (_wide(clean) - _wide(occluded)).abs()
    each = torch.where(mask, difference, 0).sum(dim=1)  # (N,)
    return each if reduction == "none" else getattr(each, reduction)()


def masked_identity_loss(
    classifier: Callable[[torch.Tensor], torch.Tensor],
    features: torch.Tensor,
    mask: torch.Tensor,
    labels: torch.Tensor,
) -> torch.Tensor:
    """Return the identity loss of the occluded branch (Eq. 5): -log P_c(τ ⊙ f(Î)), batch mean.

    Args:
        classifier: (N, K) to logits (N, classes); the one of the clean branch, shared.
        features: (N, K) features f(Î).
        mask: (K,) or (N, K) bool, τ; the classifier sees 0 where it is False.
        labels: (N,) identities.

    Raises:
        TypeError: if the mask is not bool.
        ValueError: if the shapes do not fit.
    """
    _require_mask(mask, features)
    return F.cross_entropy(_wide(classifier(torch.where(mask, features, 0))), labels)


class GaussianSmoothing(nn.Module):
    """g_σ as a channel-wise convolution with zero padding: the readable form of Eq. 2's smoothing.

    Args:
        sigma: in responses.
        kernel_size: odd side of the kernel, which sums to 1.
    """

    def __init__(self, sigma: float = PAPER_SIGMA, kernel_size: int = RELEASED_KERNEL):
        super().__init__()
        line = gaussian_kernel1d(sigma, kernel_size)
        self.register_buffer("kernel", torch.outer(line, line).float())

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Smooth (N, K, H, W), each map by itself."""
        channels, side = maps.shape[1], self.kernel.shape[-1]
        kernel = self.kernel.to(maps.dtype).expand(channels, 1, side, side)
        return F.conv2d(maps, kernel, padding=side // 2, groups=channels)


def gaussian_kernel1d(sigma: float, kernel_size: int) -> torch.Tensor:
    """Return the 1-D Gaussian of odd ``kernel_size``, float64, summing to 1.

    Raises:
        ValueError: if sigma is not positive or the size is not odd and positive.
    """
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


def _inverse_norm(squared: torch.Tensor) -> torch.Tensor:
    """Return 1 / sqrt(x), and 0 with zero gradient where x is (nearly) 0."""
    real = squared > EPS
    return torch.where(real, torch.where(real, squared, 1).rsqrt(), 0)


def _without_diagonal(gram: torch.Tensor) -> torch.Tensor:
    """Set the diagonal of (..., K, K) to 0: the sums of Eq. 1 and 2 run over i ≠ j."""
    own = torch.eye(gram.shape[-1], dtype=torch.bool, device=gram.device)
    return gram.masked_fill(own, 0)


def _wide(values: torch.Tensor) -> torch.Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _full_precision(values: torch.Tensor) -> torch.autocast:
    return torch.autocast(values.device.type, enabled=False)


def _require_floats(values: torch.Tensor, name: str, shape: str) -> None:
    if not isinstance(values, torch.Tensor) or not values.is_floating_point():
        kind = values.dtype if isinstance(values, torch.Tensor) else type(values).__name__
        raise TypeError(f"{name} must be a floating tensor {shape}, got {kind}")


def _require_form(form: str) -> None:
    if form not in FORMS:
        raise ValueError(f"form must be 'paper' or 'released', got {form!r}")


def _require_features(clean: torch.Tensor, occluded: torch.Tensor) -> None:
    _require_floats(clean, "clean", "(N, K)")
    _require_floats(occluded, "occluded", "(N, K)")
    if clean.ndim != 2 or clean.shape != occluded.shape or 0 in clean.shape:
        raise ValueError(
            "clean and occluded must be two (N, K) batches of the same faces, got shapes "
            f"{tuple(clean.shape)} and {tuple(occluded.shape)}"
        )


def _require_mask(mask: torch.Tensor, features: torch.Tensor) -> None:
    if not isinstance(mask, torch.Tensor) or mask.dtype != torch.bool:
        kind = mask.dtype if isinstance(mask, torch.Tensor) else type(mask).__name__
        raise TypeError(f"mask must be a bool tensor, got {kind}; use feature_selection_mask")
    if tuple(mask.shape) not in {tuple(features.shape[1:]), tuple(features.shape)}:
        raise ValueError(
            f"mask must be (K,) or (N, K) for features {tuple(features.shape)}, got shape "
            f"{tuple(mask.shape)}"
        )
