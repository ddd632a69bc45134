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

    A pair is accepted when its cosine is at least the threshold. We try every threshold that tells
    scores apart: midway between neighbouring scores of the other folds, and plus and minus
    infinity. InsightFace tries 400 squared distances instead; pass
    ``thresholds=1 - np.arange(0, 4, 0.01) / 2`` to match.
    """
    folds = np.unique(pairs.folds)
    if len(folds) < 2:
        raise UserError(f"the protocol needs at least 2 folds to choose on, got {len(folds)}")
    scores = score_pairs(normalised(np.asarray(features, np.float64)), pairs.pairs)
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

    >>> best_threshold(np.array([0.75, 0.5, 0.25]), np.array([True, True, False]))
    0.375
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
