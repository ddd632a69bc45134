"""Verification, identification and equal error rate from scores: higher means more alike."""

from collections.abc import Sequence

import numpy as np

from ifr.common.errors import UserError

FARS = (0.01, 0.001)  # of Tables 4 to 6
RANKS = (1, 5)
MEASURES = ("tar_01_percent", "tar_001_percent", "rank_1_percent", "rank_5_percent")


def normalised(features: np.ndarray) -> np.ndarray:
    """Return features (N, K) of unit length; a zero feature stays zero."""
    length = np.linalg.norm(features, axis=-1, keepdims=True)
    return features / np.maximum(length, 1e-12)


def roc(
    scores: np.ndarray, same: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return FAR and TAR, (T + 1,) or (B, T + 1), at thresholds (T + 1,) from infinity down.

    A pair is accepted when its score (P,) is at least the threshold. ``weights``, (P,) or (B, P),
    are how often each pair counts.

    >>> far, tar, thresholds = roc(np.array([0.9, 0.7, 0.4]), np.array([True, False, True]))
    >>> far.tolist(), tar.tolist(), thresholds.tolist()
    ([0.0, 0.0, 1.0, 1.0], [0.0, 0.5, 0.5, 1.0], [inf, 0.9, 0.7, 0.4])
    """
    scores, same = np.asarray(scores), np.asarray(same)
    if scores.ndim != 1 or same.shape != scores.shape or same.dtype != bool:
        given = f"{scores.shape} and {same.shape} {same.dtype}"
        raise UserError(f"scores and same must be (P,) floats and (P,) bools, got {given}")
    if np.isnan(scores).any():
        raise UserError(f"{int(np.isnan(scores).sum())} of {len(scores)} scores are NaN")
    if same.all() or not same.any():
        raise UserError("verification needs pairs of one person and pairs of two, got one kind")
    order = np.argsort(-scores)
    levels = scores[order]
    last = np.flatnonzero(np.append(levels[1:] != levels[:-1], True))  # tied scores go together
    if weights is None:
        genuine = np.cumsum(same[order])[last]
        impostor = last + 1 - genuine
    else:
        counts = ((weights * kind)[..., order] for kind in (same, ~same))
        genuine, impostor = (np.cumsum(count, axis=-1)[..., last] for count in counts)

    def rate(accepted: np.ndarray) -> np.ndarray:
        share = accepted / np.maximum(accepted[..., -1:], 1e-12)
        return np.concatenate([np.zeros((*share.shape[:-1], 1)), share], axis=-1)

    return rate(impostor), rate(genuine), np.append(np.inf, levels[last])


def tar_at_far(
    scores: np.ndarray,
    same: np.ndarray,
    far: float,
    *,
    interpolate: str = "none",
    weights: np.ndarray | None = None,
) -> float | np.ndarray:
    """Return the true accept rate at a false accept rate, a share of 1; (B,) for weights (B, P).

    The paper does not say how it reads the curve, and the released code takes the nearest sample;
    we take the highest rate whose FAR is not above the one asked for; pass
    ``interpolate="nearest"`` to match the released code, or ``"linear"``. With fewer than 1 / far
    impostor pairs it is the rate at which no impostor is accepted.

    >>> tar_at_far(np.array([0.9, 0.7, 0.4]), np.array([True, False, True]), far=0.01)
    0.5
    """
    rate = tars_at_fars(scores, same, (far,), interpolate=interpolate, weights=weights)[0]
    return float(rate) if np.ndim(rate) == 0 else rate


def tars_at_fars(
    scores: np.ndarray,
    same: np.ndarray,
    fars: Sequence[float],
    *,
    interpolate: str = "none",
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """Return :func:`tar_at_far` at each of F rates from one curve, (F,) or (F, B)."""
    if outside := [far for far in fars if not 0 <= far <= 1]:
        raise UserError(f"far must be a share between 0 and 1, got {outside[0]}")
    if interpolate not in ("none", "nearest", "linear"):
        raise UserError(f"interpolate must be none, nearest or linear, got {interpolate!r}")
    x, y, _ = roc(scores, same, weights)
    if interpolate == "linear":
        read = np.vectorize(np.interp, signature="(f),(t),(t)->(f)")
        return np.moveaxis(read(fars, x, y), -1, 0)
    if interpolate == "nearest":
        index = [np.abs(x - far).argmin(axis=-1) for far in fars]
    else:
        index = [(x <= far + 1e-12).sum(axis=-1) - 1 for far in fars]
    return np.take_along_axis(y[None], np.array(index)[..., None], axis=-1)[..., 0]


def equal_error_rate(
    scores: np.ndarray, same: np.ndarray, *, weights: np.ndarray | None = None
) -> float | np.ndarray:
    """Return the rate at which false accepts and rejects are equal, linear between thresholds.

    >>> equal_error_rate(np.array([4.0, 2.0, 3.0, 1.0]), np.array([True, True, False, False]))
    0.5
    """
    fars, tars, _ = roc(scores, same, weights)
    gap = fars - (1 - tars)  # rises from -1 to 1
    after = (gap < 0).sum(axis=-1, keepdims=True).clip(1, gap.shape[-1] - 1)
    g0, g1 = (np.take_along_axis(gap, after - k, axis=-1)[..., 0] for k in (1, 0))
    f0, f1 = (np.take_along_axis(fars, after - k, axis=-1)[..., 0] for k in (1, 0))
    rate = f0 + (f1 - f0) * np.where(g1 > g0, -g0 / np.where(g1 > g0, g1 - g0, 1), 0)
    return float(rate) if np.ndim(rate) == 0 else rate


def mate_ranks(
    similarity: np.ndarray, probe_ids: np.ndarray, gallery_ids: np.ndarray
) -> np.ndarray:
    """Return each mate's rank in similarities (Q, G), behind impostors it ties with; NaN for none.

    >>> mate_ranks(np.array([[0.9, 0.1], [0.8, 0.8]]), np.array([7, 8]), np.array([7, 8]))
    array([1., 2.])
    """
    if similarity.shape != (shape := (len(probe_ids), len(gallery_ids))):
        raise UserError(f"similarity must be {shape} for these ids, got {similarity.shape}")
    mate = np.asarray(probe_ids)[:, None] == np.asarray(gallery_ids)
    best = np.where(mate, similarity, -np.inf).max(axis=1)
    ahead = ((similarity >= best[:, None]) & ~mate).sum(axis=1)
    return np.where(mate.any(axis=1), ahead + 1.0, np.nan)


def rank_hits(
    similarity: np.ndarray, probe_ids: np.ndarray, gallery_ids: np.ndarray, k: int
) -> np.ndarray:
    """Return whether each probe's mate is among the ``k`` most alike: 1, 0, or NaN without one."""
    if k < 1:
        raise UserError(f"k >= 1, got {k}")
    ranks = mate_ranks(similarity, probe_ids, gallery_ids)
    return np.where(np.isnan(ranks), np.nan, ranks <= k)


def rank_accuracy(
    similarity: np.ndarray, probe_ids: np.ndarray, gallery_ids: np.ndarray, k: int
) -> float:
    """Return the share of probes with a mate whose mate is among the ``k`` most alike."""
    hits = rank_hits(similarity, probe_ids, gallery_ids, k)
    if np.isnan(hits).all():
        raise UserError("no probe has a mate in the gallery")
    return float(np.nanmean(hits))


def four_measures(
    scores: np.ndarray, same: np.ndarray, *search: np.ndarray, interpolate: str = "none"
) -> dict[str, float]:
    """Return ``MEASURES`` in percent; ``search`` is what :func:`mate_ranks` takes."""
    tars = tars_at_fars(scores, same, FARS, interpolate=interpolate)
    similarity, probe_ids, gallery_ids = search
    ranks = [rank_accuracy(similarity, probe_ids, gallery_ids, k) for k in RANKS]
    return dict(zip(MEASURES, 100 * np.array([*tars, *ranks]), strict=True))
