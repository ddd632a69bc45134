"""Scores of templates, sets of images and video frames of one person (IJB-A, IJB-C)."""

import numpy as np
from numpy.typing import ArrayLike
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
    features = _checked(features, templates.rows, templates.starts)
    group = np.repeat(np.arange(len(templates)), np.diff(templates.starts))
    if score == "media":
        names, medium = np.unique(templates.media, return_inverse=True)
        group = group * len(names) + medium
    _, group, counts = np.unique(group, return_inverse=True, return_counts=True)
    weights = (1 / counts[group]).astype(features.dtype)
    shape = (len(templates), len(features))
    return normalised(csr_array((weights, templates.rows, templates.starts), shape) @ features)


def score_pairs(unit: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Return the inner products of pairs (P, 2) of rows (T, K), cosines at unit length, (P,)."""
    unit = _checked(unit, pairs)
    first, second = np.ascontiguousarray(pairs.T)
    order = np.argsort(first, kind="stable")  # one product a row: fifteen million pairs in seconds
    bounds = np.searchsorted(first, np.arange(len(unit) + 1), sorter=order)
    scores = np.empty(len(pairs), unit.dtype)
    for row in np.flatnonzero(np.diff(bounds)):
        own = order[bounds[row] : bounds[row + 1]]
        scores[own] = unit[second[own]] @ unit[row]
    return scores


def verification_scores(
    features: np.ndarray, templates: Templates, pairs: np.ndarray, *, score: str
) -> np.ndarray:
    """Return the similarity of pairs (P, 2), the cosine of :func:`pooled_templates`, (P,).

    ``"directional_min"``, as released for IJB-A, is less the mean of the two directional mean
    minimum cosine distances.
    """
    if score != "directional_min":
        return score_pairs(pooled_templates(features, templates, score=score), pairs)
    _checked(templates.ids, pairs)
    unit = normalised(_checked(features, templates.rows, templates.starts))
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
    for templates in (probes, gallery):
        features = _checked(features, templates.rows, templates.starts)
    unit = normalised(features)
    theirs, starts, sizes = unit[gallery.rows].T, gallery.starts[:-1], np.diff(gallery.starts)
    similarity = np.empty((len(probes), len(gallery)), unit.dtype)
    for k, rows in enumerate(np.split(probes.rows, probes.starts[1:-1])):
        cosine = unit[rows] @ theirs  # of each image of the probe to each of the gallery
        forth = np.maximum.reduceat(cosine, starts, axis=1).mean(axis=0)
        back = np.add.reduceat(cosine.max(axis=0), starts) / sizes
        similarity[k] = (forth + back) / 2 - 1
    return similarity


def _checked(features: np.ndarray, rows: np.ndarray, starts: ArrayLike = ()) -> np.ndarray:
    """Return features as floats, if all rows named are there and finite, and no template empty."""
    features = np.asarray(features, np.result_type(features, np.float32))
    if not np.diff(starts).all():
        raise UserError("every template needs an image")
    if rows.size and (rows.min() < 0 or rows.max() >= len(features)):
        last = len(features) - 1
        raise UserError(f"rows 0 to {last} are there, got {rows.min()} to {rows.max()}")
    used = np.flatnonzero(np.bincount(rows.ravel(), minlength=len(features)))
    broken = used[~np.isfinite(features.reshape(len(features), -1).sum(axis=1, dtype=float))[used]]
    if len(broken):
        raise UserError(f"{len(broken)} features are not finite, the first is row {broken[0]}")
    return features
