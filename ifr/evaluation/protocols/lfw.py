"""The LFW protocol: accuracy on each fold at the threshold that the other folds choose."""

import numpy as np
import pandas as pd

from ifr.common.errors import UserError
from ifr.datasets.index import PairList
from ifr.evaluation.metrics import normalised
from ifr.evaluation.templates import score_pairs


def lfw_protocol(
    features: np.ndarray, pairs: PairList, *, thresholds: np.ndarray | None = None
) -> pd.DataFrame:
    """Return the accuracy on each fold, the threshold chosen on the other folds.

    A pair is accepted when its cosine is at least the threshold, see :func:`best_threshold`. A fold
    without pairs that can be formed has no accuracy; ``pair_counts`` tells how many are lost.
    """
    formed, unit = pairs.formed, normalised(np.asarray(features, np.float64))
    folds = np.unique(pairs.folds)
    if (filled := len(np.unique(pairs.folds[formed]))) < 2:
        needed = "the protocol needs at least 2 folds with pairs to choose on"
        raise UserError(f"{needed}, got {filled} of {len(folds)}")
    scores, rows = np.full(len(formed), np.nan), []
    scores[formed] = score_pairs(unit, pairs.pairs[formed])
    for fold in folds:
        own, rest = (formed & kind for kind in (pairs.folds == fold, pairs.folds != fold))
        if len(np.unique(pairs.same[rest])) < 2:
            fault = f"all pairs outside of fold {fold + 1} are of one kind"
            raise UserError(f"{fault}; a threshold is chosen on pairs of one person and of two")
        chosen = best_threshold(scores[rest], pairs.same[rest], thresholds)
        right = (scores[own] >= chosen) == pairs.same[own]
        rows.append((int(fold), chosen, 100 * right.mean() if len(right) else np.nan, len(right)))
    return pd.DataFrame(rows, columns=["fold", "threshold", "accuracy_percent", "pairs"])


def best_threshold(
    scores: np.ndarray, same: np.ndarray, thresholds: np.ndarray | None = None
) -> float:
    """Return the threshold that is right for most pairs, the highest of equally good ones.

    We try every one midway between neighbouring scores, and infinities. InsightFace tries 400
    squared distances instead; pass ``thresholds=1 - np.arange(0, 4, 0.01) / 2`` to match.
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
