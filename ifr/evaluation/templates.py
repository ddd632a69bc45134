"""Scores of templates, sets of images and video frames of one person (IJB-A, IJB-C)."""

import numpy as np
from scipy.sparse import csr_array

from ifr.common.errors import UserError
from ifr.datasets.index import Templates
from ifr.evaluation.metrics import normalised


def pooled_templates(
    features: np.ndarray, templates: Templates, *, score: str = "media"
) -> np.ndarray:
    """Return one feature of unit length for each of T templates of features (N, K), (T, K).

    ``"media"`` sums over media (a photograph, a video) the mean within each; ``"mean_cosine"``
    takes the mean of all images, as released for IJB-C. Features are taken as they are; pass
    ``normalised(features)`` for images of equal weight. A template whose features cancel is zero.
    """
    if score not in ("media", "mean_cosine"):
        raise UserError(f"score is media or mean_cosine (IJB-A: or directional_min), not {score!r}")
    features = _checked(features, templates)
    group = np.repeat(np.arange(len(templates)), np.diff(templates.starts))
    if score == "media":
        names, medium = np.unique(templates.media, return_inverse=True)
        group = group * len(names) + medium
    _, group, counts = np.unique(group, return_inverse=True, return_counts=True)
    weights = (1 / counts[group]).astype(features.dtype)
    shape = (len(templates), len(features))
    return normalised(csr_array((weights, templates.rows, templates.starts), shape) @ features)


def score_pairs(unit: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Return the inner product of pairs (P, 2) of rows of (T, K), the cosine at unit length, (P,).

    >>> score_pairs(np.array([[1.0, 0.0], [0.6, 0.8]]), np.array([[0, 1], [1, 1]]))
    array([0.6, 1. ])
    """
    _check_pairs(pairs, len(unit))
    first, second = np.ascontiguousarray(pairs.T)
    order = np.argsort(first, kind="stable")  # one product a row: fifteen million pairs in seconds
    bounds = np.searchsorted(first, np.arange(len(unit) + 1), sorter=order)
    scores = np.empty(len(pairs), unit.dtype)
    for row in np.flatnonzero(np.diff(bounds)):
        own = order[bounds[row] : bounds[row + 1]]
        with np.errstate(invalid="ignore"):  # refused below
            scores[own] = unit[second[own]] @ unit[row]
    if broken := int((~np.isfinite(scores)).sum()):
        raise UserError(f"{broken} of {len(scores)} pairs have features that are not finite")
    return scores


def occluded_pairs(
    templates: Templates, pairs: np.ndarray, same: np.ndarray
) -> tuple[Templates, np.ndarray, np.ndarray]:
    """Return templates of naturally occluded images alone, with what is left of pairs and truth."""
    templates, index = templates.subset(templates.occluded)
    pairs = index[pairs]
    keep = (pairs >= 0).all(axis=1)
    pairs, same = pairs[keep], same[keep]
    if same.all() or not same.any():
        counted = f"{same.sum()} genuine and {(~same).sum()} impostor comparisons"
        raise UserError(f"{counted} of naturally occluded images; both kinds are needed")
    return templates, pairs, same


def verification_scores(
    features: np.ndarray, templates: Templates, pairs: np.ndarray, *, score: str
) -> np.ndarray:
    """Return the similarity of pairs (P, 2), the cosine of :func:`pooled_templates`, (P,).

    ``"directional_min"``, as released for IJB-A, is less the mean of the two directional mean
    minimum cosine distances.
    """
    if score != "directional_min":
        return score_pairs(pooled_templates(features, templates, score=score), pairs)
    _check_pairs(pairs, len(templates))
    unit = normalised(_checked(features, templates))
    rows = np.split(templates.rows, templates.starts[1:-1])
    scores = np.empty(len(pairs), unit.dtype)
    for k, (a, b) in enumerate(pairs):
        cosine = unit[rows[a]] @ unit[rows[b]].T
        scores[k] = (cosine.max(axis=0).mean() + cosine.max(axis=1).mean()) / 2 - 1
    return scores


def identification_scores(
    features: np.ndarray, probes: Templates, gallery: Templates, *, score: str
) -> np.ndarray:
    """Return :func:`verification_scores` of every probe and gallery template, (P, G)."""
    if score != "directional_min":
        mine, theirs = (pooled_templates(features, t, score=score) for t in (probes, gallery))
        return mine @ theirs.T
    unit = normalised(_checked(_checked(features, probes), gallery))
    theirs, starts, sizes = unit[gallery.rows].T, gallery.starts[:-1], np.diff(gallery.starts)
    similarity = np.empty((len(probes), len(gallery)), unit.dtype)
    for k, rows in enumerate(np.split(probes.rows, probes.starts[1:-1])):
        cosine = unit[rows] @ theirs  # of each image of the probe to each of the gallery
        forth = np.maximum.reduceat(cosine, starts, axis=1).mean(axis=0)
        back = np.add.reduceat(cosine.max(axis=0), starts) / sizes
        similarity[k] = (forth + back) / 2 - 1
    return similarity


def _check_pairs(pairs: np.ndarray, count: int) -> None:
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iu":
        raise UserError(f"pairs must be (P, 2) integers, got {pairs.shape} {pairs.dtype}")
    if len(pairs) and (pairs.min() < 0 or pairs.max() >= count):
        given = f"{pairs.min()} to {pairs.max()}"
        raise UserError(f"pairs must name rows 0 to {count - 1}, got {given}")


def _checked(features: np.ndarray, templates: Templates) -> np.ndarray:
    """Return the features as floats, if every template has images and these finite features."""
    features = np.asarray(features, np.result_type(features, np.float32))
    sizes, rows = np.diff(templates.starts), templates.rows
    if len(sizes) == 0 or sizes.min() < 1:
        empty = f"template {templates.ids[sizes.argmin()]} has none" if len(sizes) else "none left"
        raise UserError(f"every template needs an image: {empty}")
    if rows.min() < 0 or rows.max() >= len(features):
        named = f"rows {rows.min()} to {rows.max()}"
        raise UserError(f"templates name {named}, but there are {len(features)} features")
    broken = np.unique(rows[~np.isfinite(features.sum(axis=1, dtype=np.float64))[rows]])
    if len(broken):
        counted = f"{len(broken)} images of the templates have features"
        raise UserError(f"{counted} that are not finite, the first is row {broken[0]}")
    return features
