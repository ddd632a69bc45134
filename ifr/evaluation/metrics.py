"""Verification, identification and equal error rate from scores: higher means more alike."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ifr.common.errors import UserError

FARS = (0.01, 0.001)  # of Tables 4 to 6
RANKS = (1, 5)
FPIRS = (0.1, 0.01)  # of open-set identification
LEAST_ERRORS = 10  # false accepts that a rate must rest on: fewer say little about it
SEARCH = ("rank_1_percent", "rank_5_percent", "tpir_1_percent", "tpir_01_percent")
MEASURES = ("tar_01_percent", "tar_001_percent", "rank_1_percent", "rank_5_percent")


def percent_name(measure: str, rate: float) -> str:
    """Return the column of a measure at an error rate, such as ``tar_001_percent`` at 0.001."""
    return f"{measure}_{f'{rate:.10f}'.rstrip('0').removeprefix('0.')}_percent"


def normalised(features: np.ndarray) -> np.ndarray:
    """Return features (N, K) of unit length; a zero feature stays zero."""
    return features / np.maximum(np.linalg.norm(features, axis=-1, keepdims=True), 1e-12)


def roc(
    scores: np.ndarray, same: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return FAR and TAR, (T + 1,) or (B, T + 1), at thresholds (T + 1,) from infinity down.

    A pair (P,) is accepted from its score on; ``weights``, (P,) or (B, P), are how often it counts.

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
    rates = []
    for kind in (~same, same):
        counts = (kind if weights is None else weights * kind)[..., order]
        accepted = np.cumsum(counts, axis=-1)[..., last]
        share = accepted / np.maximum(accepted[..., -1:], 1e-12)
        rates.append(np.concatenate([np.zeros((*share.shape[:-1], 1)), share], axis=-1))
    return rates[0], rates[1], np.append(np.inf, levels[last])


def tar_at_far(
    scores: np.ndarray, same: np.ndarray, far: float, **options: Any
) -> float | np.ndarray:
    """Return :func:`tars_at_fars`, with its options, at one rate; (B,) for weights (B, P)."""
    rate = tars_at_fars(scores, same, (far,), **options)[0]
    return float(rate) if np.ndim(rate) == 0 else rate


def tars_at_fars(
    scores: np.ndarray,
    same: np.ndarray,
    fars: Sequence[float],
    *,
    interpolate: str = "none",
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """Return the true accept rates at F false accept rates, shares of 1, (F,) or (F, B).

    The paper does not say how it reads the curve, and the released code takes the nearest sample;
    we take the highest rate whose FAR is not above the one asked for; pass
    ``interpolate="nearest"`` to match the released code, or ``"linear"``. With fewer than 1 / far
    impostor pairs it is the rate at which no impostor is accepted. ``weights`` are of :func:`roc`.
    """
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
    curves = np.stack([fars - (1 - tars), fars])  # the gap rises from -1 to 1
    after = (curves[:1] < 0).sum(axis=-1, keepdims=True).clip(1, fars.shape[-1] - 1)
    (g0, f0), (g1, f1) = (np.take_along_axis(curves, after - k, axis=-1)[..., 0] for k in (1, 0))
    rate = f0 + (f1 - f0) * np.where(g1 > g0, -g0 / np.where(g1 > g0, g1 - g0, 1), 0)
    return float(rate) if np.ndim(rate) == 0 else rate


def mate_ranks(
    similarity: np.ndarray, probe_ids: np.ndarray, gallery_ids: np.ndarray
) -> np.ndarray:
    """Return each mate's rank in similarities (Q, G), ties with impostors lost; NaN for none."""
    if similarity.shape != (shape := (len(probe_ids), len(gallery_ids))):
        raise UserError(f"similarity must be {shape} for these ids, got {similarity.shape}")
    mate = np.asarray(probe_ids)[:, None] == np.asarray(gallery_ids)
    best = np.where(mate, similarity, -np.inf).max(axis=1)
    ahead = ((similarity >= best[:, None]) & ~mate).sum(axis=1)
    return np.where(mate.any(axis=1), ahead + 1.0, np.nan)


def rank_accuracy(
    similarity: np.ndarray, probe_ids: np.ndarray, gallery_ids: np.ndarray, k: int
) -> float:
    """Return the share of probes with a mate whose mate is among the ``k`` most alike."""
    ranks = mate_ranks(similarity, probe_ids, gallery_ids)
    if k < 1 or np.isnan(ranks).all():
        raise UserError(f"k >= 1, got {k}" if k < 1 else "no probe has a mate in the gallery")
    return float((ranks[~np.isnan(ranks)] <= k).mean())


def tpir_at_fpir(
    similarity: np.ndarray, probe_ids: np.ndarray, gallery_ids: np.ndarray, fpir: float
) -> float:
    """Return the share of probes with a mate that open-set search identifies; NaN if undefined.

    A probe with a mate is identified when its mate is first, tied with nobody else, and at least at
    the threshold; one without is a false positive when its highest score is. The threshold lets
    pass no more than the share ``fpir`` of the latter, ties together, as ``tar_at_far`` reads it.
    """
    if not 0 <= fpir < 1:
        raise UserError(f"fpir must be a share, at least 0 and below 1, got {fpir}")
    ranks = mate_ranks(similarity, probe_ids, gallery_ids)
    mated = ~np.isnan(ranks)
    if mated.all() or not mated.any():
        return float("nan")
    highest = np.where(ranks > 1, -np.inf, similarity.max(axis=1))
    return float(tars_at_fars(highest, mated, (fpir,))[0])


def search_shares(similarity: np.ndarray, probes: np.ndarray, gallery: np.ndarray) -> list[float]:
    """Return ``SEARCH`` as shares of 1, of what :func:`mate_ranks` takes."""
    ranks = [rank_accuracy(similarity, probes, gallery, k) for k in RANKS]
    return ranks + [tpir_at_fpir(similarity, probes, gallery, fpir) for fpir in FPIRS]
