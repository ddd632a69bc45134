"""What an occlusion changes: features, and the peaks of filters (Fig. 1, 6 and 7)."""

from typing import Any

import numpy as np
from scipy.stats import permutation_test, rankdata

from ifr.common.seeding import stream
from ifr.datasets.rendered import OccludedPairs
from ifr.evaluation import normalised
from ifr.interpretation.peaks import Peaks
from ifr.landmarks import CROP_SIZE
from ifr.mesh import FaceMesh
from ifr.models.inputs import center_crop_points

Box = tuple[float, float, float, float]


def feature_difference(
    clean: np.ndarray, occluded: np.ndarray, *, normalise: bool = True
) -> np.ndarray:
    """Return |f(I) - f(Î)| of (N, K) features, (N, K); its mean over images is Figure 6.

    Features are scaled to length 1 as in the released code, unless ``normalise=False``.

    >>> feature_difference(np.array([[3.0, 4.0]]), np.array([[3.0, 0.0]]))
    array([[0.4, 0.8]])
    """
    if clean.shape != occluded.shape or clean.ndim != 2:
        raise ValueError(f"features must be (N, K) twice, got {clean.shape} and {occluded.shape}")
    if normalise:
        clean, occluded = normalised(clean), normalised(occluded)
    return np.abs(clean - occluded)


def gini(values: np.ndarray) -> float:
    """Return the Gini coefficient of non-negative values: 0 all alike, towards 1 a single one."""
    ordered = np.sort(np.asarray(values, np.float64))
    if ordered.size == 0 or ordered[0] < 0:
        raise ValueError("the Gini coefficient needs at least one value and none below 0")
    total, count = ordered.sum(), len(ordered)
    return float((2 * np.arange(1, count + 1) - count - 1) @ ordered / (count * (total or 1)))


def changed_share(difference: np.ndarray, of_largest: float = 0.1) -> np.ndarray:
    """Return the share of elements (..., K) that exceed a tenth of the face's largest, (...) (C20).

    >>> changed_share(np.array([[1.0, 0.05, 0.0, 0.2]])).tolist()
    [0.5]
    """
    return (difference > of_largest * difference.max(axis=-1, keepdims=True)).mean(axis=-1)


def distance_to_box(locations: np.ndarray, box: Box) -> np.ndarray:
    """Return the distance of (K, 2) locations to a rectangle x, y, width, height; 0 inside."""
    low = np.array(box[:2], np.float64)
    return np.linalg.norm(locations - np.clip(locations, low, low + box[2:]), axis=-1)


def occluder_proximity_correlation(
    difference: np.ndarray, locations: np.ndarray, box: Box, permutations: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Return how larger differences (K,) lie nearer the occluder (C21): Spearman, its p-value."""
    known, nearness = _nearness(locations, box)
    if known.sum() < 3:
        return 0.0, 1.0
    how: Any = dict(permutation_type="pairings", alternative="greater", n_resamples=permutations)
    how |= dict(vectorized=True, rng=stream(seed, "permutation/change follows place"))
    ranks = (_centred_ranks(difference[known]),)
    test = permutation_test(ranks, lambda drawn, axis: _correlation(drawn, nearness), **how)
    return float(test.statistic), float(test.pvalue)


def resampled_proximity_correlation(
    differences: np.ndarray, locations: np.ndarray, box: Box
) -> np.ndarray:
    """Return the correlation of :func:`occluder_proximity_correlation` for each of (B, K), (B,)."""
    known, nearness = _nearness(locations, box)
    return _correlation(_centred_ranks(differences[:, known]), nearness)


def _nearness(locations: np.ndarray, box: Box) -> tuple[np.ndarray, np.ndarray]:
    """Return which of (K, 2) locations are known, and the centred ranks of those by nearness."""
    known = ~np.isnan(locations).any(axis=1)
    return known, _centred_ranks(-distance_to_box(locations[known], box))


def _centred_ranks(values: np.ndarray) -> np.ndarray:
    """Return ranks along the last axis, ties averaged, less their mean."""
    ranks = rankdata(values, axis=-1)
    return ranks - ranks.mean(axis=-1, keepdims=True)


def _correlation(rows: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the correlation of centred (..., K) rows with (K,); 0 where either is constant."""
    scale = np.linalg.norm(rows, axis=-1) * np.linalg.norm(other)
    return np.divide(rows @ other, scale, out=np.zeros_like(scale), where=scale > 0)


def covered_filters(peaks: Peaks, pairs: OccludedPairs) -> tuple[np.ndarray, np.ndarray]:
    """Return which peaks the occluder will cover and which not (C24), (N, 2K); unplaced neither."""
    mesh, (places, weights) = FaceMesh.frontal(CROP_SIZE), peaks.both()
    landmarks = center_crop_points(np.asarray(pairs.clean.landmarks, np.float64)).numpy()
    known = (weights > 0) & ~np.isnan(places).any(axis=-1)
    on_face = mesh.transfer(np.nan_to_num(places), mesh.landmarks, landmarks)
    pixel = np.clip(np.floor(on_face), 0, CROP_SIZE - 1).astype(int)
    hidden = pairs.masks[np.arange(len(places))[:, None], pixel[..., 1], pixel[..., 0]]
    return known & hidden, known & ~hidden


def peak_moves(clean: Peaks, occluded: Peaks) -> np.ndarray:
    """Return how far each peak moves between twins, (N, 2K) pixels; NaN where one has no peak."""
    (before, one), (after, two) = clean.both(), occluded.both()
    moved = np.linalg.norm(after - before, axis=-1)
    return np.where((one > 0) & (two > 0), moved, np.nan)
