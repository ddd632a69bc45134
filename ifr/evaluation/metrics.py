"""Verification, identification and equal error rate from scores.

Scores are similarities: higher means more alike.
"""

from collections.abc import Sequence

import numpy as np

FARS = (0.01, 0.001)  # of Tables 4 to 6
RANKS = (1, 5)
MEASURES = ("tar_01_percent", "tar_001_percent", "rank_1_percent", "rank_5_percent")
INTERPOLATIONS = ("none", "nearest", "linear")


def normalised(features: np.ndarray) -> np.ndarray:
    """Return features (N, K) of unit length; a zero feature stays zero."""
    length = np.linalg.norm(features, axis=-1, keepdims=True)
    return features / np.maximum(length, 1e-12)


def roc(
    scores: np.ndarray, same: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the false and true accept rates at every threshold.

    Without weights the scores are sorted in their own precision and counted as integers: fifteen
    million float32 scores take some seconds and less than a gigabyte.

    Args:
        scores: (P,) similarities.
        same: (P,) bool, whether a pair is of one person.
        weights: (P,) or (B, P), how often each pair counts; 1 if None.

    Returns:
        far: (T + 1,) or (B, T + 1), from 0 up; tar: likewise; thresholds: (T + 1,), from
        infinity down: a pair is accepted when its score is at least the threshold.

    Raises:
        ValueError: for other shapes, NaN scores, or when all pairs are of one kind.
    """
    scores, same = np.asarray(scores), np.asarray(same)
    if scores.dtype not in (np.float32, np.float64):
        scores = scores.astype(np.float64)
    if scores.ndim != 1 or same.shape != scores.shape or same.dtype != bool:
        raise ValueError(
            f"scores and same must be (P,) floats and (P,) bools, got {scores.shape} and "
            f"{same.shape} {same.dtype}"
        )
    if np.isnan(scores).any():
        raise ValueError(f"{int(np.isnan(scores).sum())} of {len(scores)} scores are NaN")
    if same.all() or not same.any():
        raise ValueError("verification needs pairs of one person and pairs of two, got one kind")
    if weights is None:
        return _counted_roc(scores, same)
    order = np.argsort(-scores, kind="stable")
    ordered, genuine = scores[order], same[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))  # tied scores go together
    weights = np.asarray(weights, np.float64)[..., order]

    def rate(kind: np.ndarray) -> np.ndarray:
        total = np.cumsum(weights * kind, axis=-1)
        share = total[..., ends] / np.maximum(total[..., -1:], 1e-12)
        return np.concatenate([np.zeros((*share.shape[:-1], 1)), share], axis=-1)

    return rate(~genuine), rate(genuine), np.append(np.inf, ordered[ends].astype(np.float64))


def _counted_roc(scores: np.ndarray, same: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the curve of :func:`roc` for pairs that count once each."""
    ordered = np.sort(scores)
    first = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))  # of each run of ties
    levels = ordered[first]
    at = np.bincount(np.searchsorted(levels, scores[same]), minlength=len(levels))
    true = np.cumsum(at[::-1])  # accepted pairs of one person, from the highest level down
    false = len(scores) - first[::-1] - true
    tar, far = np.zeros((2, len(levels) + 1))
    np.divide(true, true[-1], out=tar[1:])
    np.divide(false, false[-1], out=far[1:])
    return far, tar, np.append(np.inf, levels[::-1].astype(np.float64))


def tar_at_far(
    scores: np.ndarray,
    same: np.ndarray,
    far: float,
    *,
    interpolate: str = "none",
    weights: np.ndarray | None = None,
) -> float | np.ndarray:
    """Return the true accept rate at a false accept rate, a share of 1.

    The paper does not say how it reads the curve, and the released code takes the nearest sample;
    we take the highest rate whose FAR is not above the one asked for; pass
    ``interpolate="nearest"`` to match the released code.

    Args:
        scores: (P,) similarities.
        same: (P,) bool.
        far: the false accept rate, between 0 and 1.
        interpolate: ``"none"``, ``"nearest"`` or ``"linear"``; of several thresholds equally near
            the highest.
        weights: (P,) or (B, P) as in :func:`roc`.

    Returns:
        A number, or (B,) for weights (B, P). With fewer than 1 / far impostor pairs it is the rate
        at which no impostor is accepted.

    Raises:
        ValueError: for a FAR outside [0, 1] or an unknown way to interpolate.
    """
    _check_reading((far,), interpolate)
    curve = roc(scores, same, weights)[:2]
    found = _read_curve(*curve, far, interpolate)
    return float(found) if np.ndim(found) == 0 else found


def tars_at_fars(
    scores: np.ndarray, same: np.ndarray, fars: Sequence[float], *, interpolate: str = "none"
) -> np.ndarray:
    """Return the true accept rate at each of several false accept rates, from one curve.

    Args and errors are those of :func:`tar_at_far`.

    Returns:
        (len(fars),) shares of 1.
    """
    _check_reading(fars, interpolate)
    curve = roc(scores, same)[:2]
    return np.array([float(_read_curve(*curve, far, interpolate)) for far in fars])


def _check_reading(fars: Sequence[float], interpolate: str) -> None:
    for far in fars:
        if not 0 <= far <= 1:
            raise ValueError(f"far must be a share between 0 and 1, got {far}")
    if interpolate not in INTERPOLATIONS:
        raise ValueError(f"interpolate must be none, nearest or linear, got {interpolate!r}")


def _read_curve(fars: np.ndarray, tars: np.ndarray, far: float, interpolate: str) -> np.ndarray:
    """Return the rate at ``far`` of a curve, or of each of a batch of curves."""
    if interpolate == "linear":
        rows = zip(np.atleast_2d(fars), np.atleast_2d(tars), strict=True)
        return np.array([np.interp(far, x, y) for x, y in rows]).reshape(fars.shape[:-1])
    if interpolate == "none":
        place = (fars <= far + 1e-12).sum(axis=-1, keepdims=True) - 1
    else:
        place = np.abs(fars - far).argmin(axis=-1)[..., None]
    return np.take_along_axis(tars, place, axis=-1)[..., 0]


def equal_error_rate(
    scores: np.ndarray, same: np.ndarray, *, weights: np.ndarray | None = None
) -> float | np.ndarray:
    """Return the rate at which false accepts and false rejects are equal, a share of 1.

    Between two thresholds both rates are taken as linear.

    Args:
        scores: (P,) similarities.
        same: (P,) bool.
        weights: (P,) or (B, P) as in :func:`roc`.
    """
    fars, tars, _ = roc(scores, same, weights)
    gap = fars - (1 - tars)  # rises from -1 to 1
    after = (gap < 0).sum(axis=-1, keepdims=True).clip(1, gap.shape[-1] - 1)
    g0, g1 = (np.take_along_axis(gap, after - k, axis=-1)[..., 0] for k in (1, 0))
    f0, f1 = (np.take_along_axis(fars, after - k, axis=-1)[..., 0] for k in (1, 0))
    rate = f0 + (f1 - f0) * np.where(g1 > g0, -g0 / np.where(g1 > g0, g1 - g0, 1), 0)
    return float(rate) if np.ndim(rate) == 0 else rate


def rank_hits(
    similarity: np.ndarray, probe_ids: np.ndarray, gallery_ids: np.ndarray, k: int
) -> np.ndarray:
    """Return for each probe with a mate whether the mate is among the ``k`` most alike.

    A mate tied with an impostor counts as behind it.

    Args:
        similarity: (Q, G).
        probe_ids: (Q,) subjects.
        gallery_ids: (G,) subjects.
        k: rank, at least 1.

    Returns:
        (Q,) float: 1, 0, or NaN for a probe without a mate.

    Raises:
        ValueError: for shapes that do not fit or ``k`` below 1.
    """
    if similarity.shape != (len(probe_ids), len(gallery_ids)) or k < 1:
        raise ValueError(
            f"similarity must be ({len(probe_ids)}, {len(gallery_ids)}) for these ids and k >= 1, "
            f"got {similarity.shape} and {k}"
        )
    mate = np.asarray(probe_ids)[:, None] == np.asarray(gallery_ids)
    best = np.where(mate, similarity, -np.inf).max(axis=1)
    ahead = ((similarity >= best[:, None]) & ~mate).sum(axis=1)
    return np.where(mate.any(axis=1), (ahead < k).astype(float), np.nan)


def rank_accuracy(
    similarity: np.ndarray, probe_ids: np.ndarray, gallery_ids: np.ndarray, k: int
) -> float:
    """Return the share of probes whose mate is among the ``k`` most alike, over probes with a mate.

    Args and errors are those of :func:`rank_hits`.
    """
    hits = rank_hits(similarity, probe_ids, gallery_ids, k)
    if np.isnan(hits).all():
        raise ValueError("no probe has a mate in the gallery")
    return float(np.nanmean(hits))
