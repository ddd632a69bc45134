"""Feature activation diversity (FAD): the mask τ, its loss Eq. 4, the identity loss Eq. 5."""

from collections.abc import Callable

import torch
from torch.nn import functional as F

from ifr.common.errors import UserError
from ifr.common.tensors import check_floating, widened

PAPER_KEEP = 260  # Sec. 4.1, of K = 320


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
        all_reduce_mean: averages the (K,) means of this part of a batch over all its parts, where
            several processes share a batch, so that each selects the same elements.

    Returns:
        (K,) bool, without gradient.

    >>> clean, occluded = torch.zeros(1, 3), torch.tensor([[0.5, -2.0, 1.0]])
    >>> feature_selection_mask(clean, occluded, keep=2)
    tensor([ True, False,  True])
    """
    _check_features(clean, occluded)
    with torch.no_grad():
        difference = (widened(clean) - widened(occluded)).abs().mean(dim=0)  # (K,)
        if all_reduce_mean is not None:
            difference = all_reduce_mean(difference)
        if threshold is not None:
            return difference < threshold
        if not 1 <= keep <= len(difference):
            raise UserError(
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

    The released code sums the batch mean of each selected element; a sum of means is the mean of
    sums, so ``"mean"`` is both the paper's form and the released one.

    >>> clean, occluded = torch.zeros(1, 3), torch.tensor([[0.5, -2.0, 1.0]])
    >>> feature_activation_diversity(clean, occluded, torch.tensor([True, False, True]))
    tensor(1.5000)
    """
    _check_features(clean, occluded)
    _check_mask(mask, clean)
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
    difference = (widened(clean) - widened(occluded)).abs()
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
    """
    _check_mask(mask, features)
    return F.cross_entropy(widened(classifier(torch.where(mask, features, 0))), labels)


def _check_features(clean: torch.Tensor, occluded: torch.Tensor) -> None:
    check_floating("clean", clean, "(N, K)")
    check_floating("occluded", occluded, "(N, K)")
    if clean.shape != occluded.shape or 0 in clean.shape:
        raise ValueError(
            "clean and occluded must be two (N, K) batches of the same faces, got shapes "
            f"{tuple(clean.shape)} and {tuple(occluded.shape)}"
        )


def _check_mask(mask: torch.Tensor, features: torch.Tensor) -> None:
    if not isinstance(mask, torch.Tensor) or mask.dtype != torch.bool:
        kind = mask.dtype if isinstance(mask, torch.Tensor) else type(mask).__name__
        raise TypeError(f"mask must be a bool tensor, got {kind}; use feature_selection_mask")
    if mask.shape not in (features.shape[1:], features.shape):
        raise ValueError(
            f"mask must be (K,) or (N, K) for features {tuple(features.shape)}, got shape "
            f"{tuple(mask.shape)}"
        )
