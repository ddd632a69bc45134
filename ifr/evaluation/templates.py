"""Scores of templates, sets of images and video frames of one person (IJB-A, IJB-C)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array

from ifr.evaluation.metrics import normalised
from ifr.evaluation.pair_scores import check_pairs, fast, in_threads, score_pairs

if TYPE_CHECKING:
    from ifr.datasets.templates import Templates

SCORES = ("media", "mean_cosine", "directional_min")
CELLS = 2**24  # image-to-image cosines held at once


def template_index(templates: Templates) -> np.ndarray:
    """Return the template of each row, (M,)."""
    return np.repeat(np.arange(len(templates.ids)), np.diff(templates.starts))


def pooled_templates(
    features: np.ndarray, templates: Templates, *, score: str = "media"
) -> np.ndarray:
    """Return one feature of unit length for each template.

    Features are taken as they are; pass ``normalised(features)`` for images of equal weight.

    Args:
        features: (N, K), one row an image.
        templates: T templates.
        score: ``"media"``: the mean within each medium (a photograph, a video), summed over media;
            or ``"mean_cosine"``: the mean of all images, as released for IJB-C.

    Returns:
        (T, K); a template whose features cancel is zero.

    Raises:
        ValueError: for templates without images, rows that do not exist, features that are not
            finite, or another score.
    """
    if score not in ("media", "mean_cosine"):
        raise ValueError(f"score must be media or mean_cosine, got {score!r}")
    features = _checked(features, templates)
    owner = template_index(templates)
    if score == "media":
        names, medium = np.unique(templates.media, return_inverse=True)
        _, inverse, counts = np.unique(
            owner * len(names) + medium, return_inverse=True, return_counts=True
        )
        weights = 1 / counts[inverse]
    else:
        weights = 1 / np.diff(templates.starts)[owner]
    pool = csr_array(
        (weights.astype(features.dtype), templates.rows, templates.starts),
        shape=(len(templates.ids), len(features)),
    )
    return normalised(pool @ features)


def occluded_only(templates: Templates) -> tuple[Templates, np.ndarray]:
    """Return templates of their naturally occluded images alone, without those left empty.

    Returns:
        The templates, and (T,) int32: the new place of each old one, -1 where it is dropped.
    """
    keep = np.asarray(templates.occluded)
    sizes = np.bincount(template_index(templates)[keep], minlength=len(templates.ids))
    left = sizes > 0
    place = np.where(left, np.cumsum(left) - 1, -1).astype(np.int32)
    starts = np.concatenate([[0], np.cumsum(sizes[left])])
    return replace(
        templates,
        ids=templates.ids[left],
        subjects=templates.subjects[left],
        starts=starts,
        rows=templates.rows[keep],
        media=templates.media[keep],
        occluded=templates.occluded[keep],
    ), place


def occluded_pairs(
    templates: Templates, pairs: np.ndarray, same: np.ndarray
) -> tuple[Templates, np.ndarray, np.ndarray]:
    """Return templates, pairs and truth left of a comparison list by :func:`occluded_only`."""
    templates, place = occluded_only(templates)
    pairs = place[pairs]
    keep = (pairs >= 0).all(axis=1)
    return templates, pairs[keep], same[keep]


def verification_scores(
    features: np.ndarray, templates: Templates, pairs: np.ndarray, *, score: str
) -> np.ndarray:
    """Return the similarity of pairs of templates.

    Args:
        features: (N, K), one row an image.
        templates: T templates.
        pairs: (P, 2) indices of templates.
        score: ``"media"`` or ``"mean_cosine"``: the cosine of :func:`pooled_templates`; or
            ``"directional_min"``: less the mean of the two directional mean minimum cosine
            distances, as released for IJB-A.

    Returns:
        (P,) float32.
    """
    _check_score(score)
    if score != "directional_min":
        return score_pairs(pooled_templates(features, templates, score=score), pairs)
    check_pairs(pairs, len(templates.ids))
    unit = np.ascontiguousarray(normalised(_checked(features, templates)), np.float32)
    rows, starts = (np.ascontiguousarray(x, np.int64) for x in (templates.rows, templates.starts))
    return in_threads(
        lambda part, out: _directional(unit, rows, starts, part, out), np.ascontiguousarray(pairs)
    )


def identification_scores(
    features: np.ndarray, probes: Templates, gallery: Templates, *, score: str
) -> np.ndarray:
    """Return the similarity of every probe to every gallery template, (P, G).

    The scores are those of :func:`verification_scores`.
    """
    _check_score(score)
    if score != "directional_min":
        mine, theirs = (pooled_templates(features, t, score=score) for t in (probes, gallery))
        return mine @ theirs.T
    unit = normalised(_checked(_checked(features, probes), gallery))
    theirs = unit[gallery.rows].T
    sizes = np.diff(gallery.starts)
    result = np.empty((len(probes.ids), len(gallery.ids)), unit.dtype)
    for first, last in _chunks(probes.starts, max(1, CELLS // theirs.shape[1])):
        begin = probes.starts[first]
        cosine = unit[probes.rows[begin : probes.starts[last]]] @ theirs
        starts = probes.starts[first:last] - begin
        forth = np.maximum.reduceat(cosine, gallery.starts[:-1], axis=1)
        forth = np.add.reduceat(forth, starts, axis=0)
        forth /= np.diff(probes.starts[first : last + 1])[:, None]
        back = np.maximum.reduceat(cosine, starts, axis=0)
        back = np.add.reduceat(back, gallery.starts[:-1], axis=1) / sizes
        result[first:last] = (forth + back) / 2 - 1
    return result


def _check_score(score: str) -> None:
    if score not in SCORES:
        raise ValueError(f"score must be one of {', '.join(SCORES)}, got {score!r}")


def _checked(features: np.ndarray, templates: Templates) -> np.ndarray:
    """Return the features as floats, after checks against the templates."""
    features = np.asarray(features)
    if features.ndim != 2:
        raise ValueError(f"features must be (N, K), got {features.shape}")
    if features.dtype not in (np.float32, np.float64):
        features = features.astype(np.float32)
    sizes = np.diff(templates.starts)
    if len(sizes) == 0 or sizes.min() < 1:
        empty = f"template {templates.ids[sizes.argmin()]} has none" if len(sizes) else "none given"
        raise ValueError(f"every template needs an image: {empty}")
    rows = templates.rows
    if rows.min() < 0 or rows.max() >= len(features):
        raise ValueError(
            f"templates name rows {rows.min()} to {rows.max()}, but there are {len(features)} "
            "features"
        )
    finite = np.isfinite(features.sum(axis=1, dtype=np.float64))
    if not finite[rows].all():
        broken = np.unique(rows[~finite[rows]])
        raise ValueError(
            f"{len(broken)} images of the templates have features that are not finite, the first "
            f"is row {broken[0]}"
        )
    return features


def _chunks(starts: np.ndarray, images: int) -> list[tuple[int, int]]:
    """Return runs of templates, first and last plus one, of at most ``images`` or one template."""
    runs, first, count = [], 0, len(starts) - 1
    while first < count:
        last = int(np.searchsorted(starts, starts[first] + images, side="right")) - 1
        last = min(max(last, first + 1), count)
        runs.append((first, last))
        first = last
    return runs


@fast
def _directional(unit, rows, starts, pairs, out):
    for i in range(len(pairs)):
        a, b = pairs[i, 0], pairs[i, 1]
        most = np.full(starts[b + 1] - starts[b], np.float32(-2))
        forth = 0.0
        for p in range(starts[a], starts[a + 1]):
            best = np.float32(-2)
            for q in range(starts[b], starts[b + 1]):
                total = np.float32(0)
                for k in range(unit.shape[1]):
                    total += unit[rows[p], k] * unit[rows[q], k]
                best = max(best, total)
                most[q - starts[b]] = max(most[q - starts[b]], total)
            forth += best
        forth /= starts[a + 1] - starts[a]
        out[i] = (forth + most.mean()) / 2 - 1
