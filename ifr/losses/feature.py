"""Feature activation diversity (FAD): the mask τ, its loss Eq. 4, the identity loss Eq. 5."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ifr.common.errors import UserError
from ifr.common.tensors import check_floating, widened

PAPER_KEEP = 260  # Sec. 4.1, of K = 320


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
