"""The LFW protocol: accuracy on each fold at the threshold that the other folds choose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ifr.evaluation.metrics import normalised

if TYPE_CHECKING:
    from ifr.datasets.pairs import PairList


def lfw_protocol(
    features: np.ndarray, pairs: PairList, *, thresholds: np.ndarray | None = None
) -> pd.DataFrame:
    """Return the accuracy on each fold, the threshold chosen on the other folds.

    A pair is called the same person when its cosine is at least the threshold. We try every
    threshold that tells scores apart: midway between neighbouring scores of the other folds, and
    plus and minus infinity. InsightFace tries 400 squared distances instead; pass
    ``thresholds=1 - np.arange(0, 4, 0.01) / 2`` to match. Of thresholds equally good we take the
    highest, as it does.

    Args:
        features: (N, K), one row an image.
        pairs: rows, truth and fold of each pair.
        thresholds: cosines to choose from; None for all that matter.

    Returns:
        One row a fold: fold, threshold, accuracy_percent, pairs.

    Raises:
        ValueError: with fewer than two folds, rows that do not exist, or features that are not
            finite.
    """
    features = np.asarray(features)
    folds = np.unique(pairs.folds)
    if len(folds) < 2:
        raise ValueError(f"the protocol needs at least 2 folds to choose on, got {len(folds)}")
    if pairs.pairs.min() < 0 or pairs.pairs.max() >= len(features):
        raise ValueError(
            f"pairs name rows {pairs.pairs.min()} to {pairs.pairs.max()}, but there are "
            f"{len(features)} features"
        )
    one, two = (normalised(features[side].astype(np.float64)) for side in pairs.pairs.T)
    scores = (one * two).sum(axis=1)
    if not np.isfinite(scores).all():
        raise ValueError(
            f"{int((~np.isfinite(scores)).sum())} of {len(scores)} pairs have features that are "
            "not finite"
        )
    rows = []
    for fold in folds:
        own = pairs.folds == fold
        chosen = best_threshold(scores[~own], pairs.same[~own], thresholds)
        right = (scores[own] >= chosen) == pairs.same[own]
        rows.append((int(fold), chosen, 100 * right.mean(), len(right)))
    return pd.DataFrame(rows, columns=["fold", "threshold", "accuracy_percent", "pairs"])


def best_threshold(
    scores: np.ndarray, same: np.ndarray, thresholds: np.ndarray | None = None
) -> float:
    """Return the threshold that is right for most pairs, the highest of equally good ones.

    Args:
        scores: (P,) similarities; a pair is accepted at or above the threshold.
        same: (P,) bool.
        thresholds: to choose from; None for infinity, every midpoint between neighbouring scores,
            and minus infinity.
    """
    if thresholds is None:
        levels = np.unique(scores)
        middle = (levels[:-1] + levels[1:]) / 2
        middle = np.where(middle > levels[:-1], middle, levels[1:])  # neighbouring floats
        thresholds = np.concatenate([[-np.inf], middle, [np.inf]])
    thresholds = np.sort(np.asarray(thresholds, np.float64))[::-1]
    genuine, impostor = np.sort(scores[same]), np.sort(scores[~same])
    accepted = len(genuine) - np.searchsorted(genuine, thresholds)
    rejected = np.searchsorted(impostor, thresholds)
    return float(thresholds[np.argmax(accepted + rejected)])


def lfw_summary(folds: pd.DataFrame, *, ddof: int = 1) -> dict[str, float]:
    """Return the mean accuracy over folds, its standard deviation and its standard error.

    The standard deviation divides by the folds less one, as LFW's report does, which prints the
    standard error, this by the root of the number of folds. InsightFace divides by the folds; pass
    ``ddof=0`` to match.

    Args:
        folds: of :func:`lfw_protocol`.
        ddof: 1 or 0.

    Returns:
        mean_percent, std_percent, standard_error_percent.
    """
    accuracy = folds["accuracy_percent"].to_numpy()
    std = float(accuracy.std(ddof=ddof))
    return dict(
        mean_percent=float(accuracy.mean()),
        std_percent=std,
        standard_error_percent=std / len(accuracy) ** 0.5,
    )
