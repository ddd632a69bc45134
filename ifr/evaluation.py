"""Recognition metrics: verification, identification, equal error rate, and their spread.

Scores are similarities: higher means more alike.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import nn

from ifr.datasets.protocols import TemplateSplit
from ifr.seeding import stream

FARS = (0.01, 0.001)  # of Tables 4 to 6
RANKS = (1, 5)
MEASURES = ("tar_01_percent", "tar_001_percent", "rank_1_percent", "rank_5_percent")
CONDITIONS = ("clean", "synthetic", "natural")


@torch.no_grad()
def extract_features(model: nn.Module, images: torch.Tensor, *, batch: int = 256) -> np.ndarray:
    """Return the features f(I) of preprocessed images.

    Args:
        model: a network in evaluation mode.
        images: (N, 3, S, S) in [-1, 1], on any device.
        batch: images at once.

    Returns:
        (N, K) float32.

    Raises:
        ValueError: if the network is in training mode, where batch norm mixes the images.
    """
    if model.training:
        raise ValueError("the network is in training mode: call model.eval() first")
    device = next(model.parameters()).device
    parts = [
        model(part.to(device).contiguous(memory_format=torch.channels_last)).float().cpu()
        for part in images.split(batch)
    ]
    return torch.cat(parts).numpy()


def normalised(features: np.ndarray) -> np.ndarray:
    """Return features (N, K) of unit length; a zero feature stays zero."""
    length = np.linalg.norm(features, axis=-1, keepdims=True)
    return features / np.maximum(length, 1e-12)


def roc(
    scores: np.ndarray, same: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the false and true accept rates at every threshold.

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
    scores, same = np.asarray(scores, np.float64), np.asarray(same)
    if scores.ndim != 1 or same.shape != scores.shape or same.dtype != bool:
        raise ValueError(
            f"scores and same must be (P,) floats and (P,) bools, got {scores.shape} and "
            f"{same.shape} {same.dtype}"
        )
    if np.isnan(scores).any():
        raise ValueError(f"{int(np.isnan(scores).sum())} of {len(scores)} scores are NaN")
    if same.all() or not same.any():
        raise ValueError("verification needs pairs of one person and pairs of two, got one kind")
    order = np.argsort(-scores, kind="stable")
    ordered, genuine = scores[order], same[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))  # tied scores go together
    weights = np.ones(len(scores)) if weights is None else np.asarray(weights, np.float64)
    weights = weights[..., order]

    def rate(kind: np.ndarray) -> np.ndarray:
        total = np.cumsum(weights * kind, axis=-1)
        share = total[..., ends] / np.maximum(total[..., -1:], 1e-12)
        return np.concatenate([np.zeros((*share.shape[:-1], 1)), share], axis=-1)

    return rate(~genuine), rate(genuine), np.append(np.inf, ordered[ends])


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
        interpolate: ``"none"``, ``"nearest"`` or ``"linear"``.
        weights: (P,) or (B, P) as in :func:`roc`.

    Returns:
        A number, or (B,) for weights (B, P). With fewer than 1 / far impostor pairs it is the rate
        at which no impostor is accepted.

    Raises:
        ValueError: for a FAR outside [0, 1] or an unknown way to interpolate.
    """
    if not 0 <= far <= 1:
        raise ValueError(f"far must be a share between 0 and 1, got {far}")
    fars, tars, _ = roc(scores, same, weights)
    if interpolate == "none":
        place = (fars <= far + 1e-12).sum(axis=-1, keepdims=True) - 1
        found = np.take_along_axis(tars, place, axis=-1)[..., 0]
    elif interpolate == "nearest":
        place = np.abs(fars - far).argmin(axis=-1)[..., None]
        found = np.take_along_axis(tars, place, axis=-1)[..., 0]
    elif interpolate == "linear":
        rows = zip(np.atleast_2d(fars), np.atleast_2d(tars), strict=True)
        found = np.array([np.interp(far, x, y) for x, y in rows]).reshape(fars.shape[:-1])
    else:
        raise ValueError(f"interpolate must be none, nearest or linear, got {interpolate!r}")
    return float(found) if np.ndim(found) == 0 else found


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


def template_similarity(
    features: np.ndarray,
    probes: Sequence[np.ndarray],
    gallery: Sequence[np.ndarray],
    *,
    score: str = "mean_cosine",
) -> np.ndarray:
    """Return the similarity of every probe template to every gallery template.

    Args:
        features: (N, K) of all images.
        probes: image indices of each probe template.
        gallery: image indices of each gallery template.
        score: ``"mean_cosine"``: cosine of the mean features (released for IJB-C), or
            ``"directional_min"``: less the mean of the two directional mean minimum cosine
            distances (released for IJB-A).

    Returns:
        (P, G).
    """
    if score == "mean_cosine":
        p, g = (
            normalised(np.stack([features[i].mean(axis=0) for i in t])) for t in (probes, gallery)
        )
        return p @ g.T
    if score != "directional_min":
        raise ValueError(f"score must be mean_cosine or directional_min, got {score!r}")
    unit = normalised(features)
    result = np.empty((len(probes), len(gallery)))
    for row, mine in enumerate(probes):
        for column, theirs in enumerate(gallery):
            cosine = unit[mine] @ unit[theirs].T
            result[row, column] = (cosine.max(axis=0).mean() + cosine.max(axis=1).mean()) / 2 - 1
    return result


def evaluate_templates(
    features: np.ndarray,
    splits: Sequence[TemplateSplit],
    *,
    natural: bool = False,
    score: str = "mean_cosine",
) -> pd.DataFrame:
    """Return the four reported figures of each split, in percent.

    Args:
        features: (N, K) of the held-out set; those of occluded images for synthetic occlusion.
        splits: from ``template_splits``.
        natural: take the probes with a natural occluder; else those without.
        score: of two templates, see :func:`template_similarity`.

    Returns:
        Columns split, tar_01_percent, tar_001_percent, rank_1_percent, rank_5_percent.
    """
    rows = []
    for number, split in enumerate(splits):
        similarity, keep, scores, same, _ = _compare(features, split, natural, score)
        row = dict(split=number)
        for far, name in zip(FARS, MEASURES[:2], strict=True):
            row[name] = 100 * tar_at_far(scores, same, far)
        for rank, name in zip(RANKS, MEASURES[2:], strict=True):
            accuracy = rank_accuracy(similarity, split.probe_ids[keep], split.gallery_ids, rank)
            row[name] = 100 * accuracy
        rows.append(row)
    return pd.DataFrame(rows)


def bootstrap_templates(
    features: np.ndarray,
    splits: Sequence[TemplateSplit],
    *,
    natural: bool = False,
    score: str = "mean_cosine",
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the four figures, mean over splits, for resampled test identities.

    The same seed draws the same people, so figures of two networks can be subtracted row by row.
    The weight of a pair is the product of how often its two people were drawn.

    Returns:
        (resamples, 4): the columns of :func:`evaluate_templates` but ``split``.
    """
    counts = resampled_counts(1 + max(int(s.gallery_ids.max()) for s in splits), resamples, seed)
    total = np.zeros((resamples, len(MEASURES)))
    for split in splits:
        similarity, keep, scores, same, pairs = _compare(features, split, natural, score)
        probe, gallery = split.probe_ids[pairs[:, 0]], split.gallery_ids[pairs[:, 1]]
        weights = np.where(same, counts[:, probe], counts[:, probe] * counts[:, gallery])
        for column, far in enumerate(FARS):
            total[:, column] += tar_at_far(scores, same, far, weights=weights)
        owner = counts[:, split.probe_ids[keep]]
        for column, rank in enumerate(RANKS, start=len(FARS)):
            hits = rank_hits(similarity, split.probe_ids[keep], split.gallery_ids, rank)
            total[:, column] += (owner * hits).sum(axis=1) / np.maximum(owner.sum(axis=1), 1)
    return pd.DataFrame(100 * total / len(splits), columns=list(MEASURES))


def verification_scores(
    features: np.ndarray,
    split: TemplateSplit,
    *,
    natural: bool = False,
    score: str = "mean_cosine",
) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores and the truth of a split's pairs, (P,) each; see ``evaluate_templates``."""
    _, _, scores, same, _ = _compare(features, split, natural, score)
    return scores, same


def _compare(features: np.ndarray, split: TemplateSplit, natural: bool, score: str):
    """Return similarity (P', G), kept probes, and scores, truth and pairs of the kept pairs."""
    keep = np.flatnonzero(split.probe_occluded == natural)
    if len(keep) == 0:
        kind = "naturally occluded" if natural else "clean"
        raise ValueError(f"the split has no {kind} probe templates")
    chosen = [split.probes[i] for i in keep]
    similarity = template_similarity(features, chosen, split.gallery, score=score)
    wanted = np.isin(split.pairs[:, 0], keep)
    pairs = split.pairs[wanted]
    rows = np.searchsorted(keep, pairs[:, 0])
    return similarity, keep, similarity[rows, pairs[:, 1]], split.same[wanted], pairs


def resampled_counts(identities: int, resamples: int, seed: int) -> np.ndarray:
    """Return how often each identity is drawn in each resample, (resamples, identities)."""
    rng = stream(seed, "bootstrap/identities")
    return rng.multinomial(identities, np.full(identities, 1 / identities), size=resamples)


def draw_pairs(
    identity: np.ndarray, pairs: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw pairs of one person and as many of two, without repetition.

    Args:
        identity: (N,) of each image.
        pairs: of each kind; fewer where there are not so many.
        rng: a named stream.

    Returns:
        (2 M, 2) image indices, and (2 M,) bool.
    """
    first, second = np.triu_indices(len(identity), k=1)
    same = identity[first] == identity[second]
    kinds = [np.flatnonzero(same), np.flatnonzero(~same)]
    count = min(pairs, *(len(kind) for kind in kinds))
    chosen = np.concatenate([rng.choice(kind, count, replace=False) for kind in kinds])
    return np.stack([first[chosen], second[chosen]], axis=1), same[chosen]


def eer_over_draws(
    features: np.ndarray, identity: np.ndarray, *, pairs: int = 6000, draws: int = 10, seed: int = 0
) -> np.ndarray:
    """Return the equal error rate in percent of each draw of same and different pairs (Sec. 4.3).

    Args:
        features: (N, K) of the images with glasses or scarf.
        identity: (N,).
        pairs: of each kind a draw; the paper takes 6,000.
        draws: the paper reports one.
        seed: of the named stream.
    """
    unit, rates = normalised(features), []
    for draw in range(draws):
        chosen, same = draw_pairs(identity, pairs, stream(seed, "protocol/ar pairs", draw))
        scores = (unit[chosen[:, 0]] * unit[chosen[:, 1]]).sum(axis=1)
        rates.append(100 * equal_error_rate(scores, same))
    return np.array(rates)


def bootstrap_eer(
    features: np.ndarray, identity: np.ndarray, *, pairs: int, resamples: int, seed: int = 0
) -> np.ndarray:
    """Return the equal error rate in percent for resampled test identities, (resamples,)."""
    chosen, same = draw_pairs(identity, pairs, stream(seed, "protocol/ar pairs", 0))
    unit = normalised(features)
    scores = (unit[chosen[:, 0]] * unit[chosen[:, 1]]).sum(axis=1)
    counts = resampled_counts(int(identity.max()) + 1, resamples, seed)
    one, two = counts[:, identity[chosen[:, 0]]], counts[:, identity[chosen[:, 1]]]
    return 100 * equal_error_rate(scores, same, weights=np.where(same, one, one * two))


def bootstrap_mean(
    values: np.ndarray, identity: np.ndarray, *, resamples: int = 1000, seed: int = 0
) -> np.ndarray:
    """Return the mean of per-image values for resampled identities.

    Args:
        values: (N,) or (N, ...) one entry an image; NaN entries do not count.
        identity: (N,) 0 to the number of identities less one.
        resamples: how many.
        seed: of the named stream; the same people for the same seed.

    Returns:
        (resamples, ...).
    """
    values = np.asarray(values, np.float64)
    people = int(identity.max()) + 1
    known = ~np.isnan(values)
    total = np.zeros((people, *values.shape[1:]))
    number = np.zeros_like(total)
    np.add.at(total, identity, np.where(known, values, 0))
    np.add.at(number, identity, known)
    counts = resampled_counts(people, resamples, seed).astype(np.float64)
    return np.tensordot(counts, total, 1) / np.maximum(np.tensordot(counts, number, 1), 1e-12)


def interval(samples: np.ndarray, share: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval that holds ``share`` of the samples."""
    low, high = np.nanquantile(samples, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)
