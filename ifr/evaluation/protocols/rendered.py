"""The template protocol of the procedural sets, and its spread over people."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ifr.datasets.template_splits import TemplateSplit
from ifr.evaluation.metrics import (
    FARS,
    MEASURES,
    RANKS,
    normalised,
    rank_accuracy,
    rank_hits,
    tar_at_far,
)
from ifr.evaluation.resampling import bootstrap_counts

CONDITIONS = ("clean", "synthetic", "natural")


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
    counts = bootstrap_counts(1 + max(int(s.gallery_ids.max()) for s in splits), resamples, seed)
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


def split_scores(
    features: np.ndarray, split: TemplateSplit, *, natural: bool = False, score: str = "mean_cosine"
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
