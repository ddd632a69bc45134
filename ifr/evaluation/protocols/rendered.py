"""The template protocol of the rendered sets, and its interval over people."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ifr.common.errors import UserError
from ifr.datasets.template_splits import TemplateSplit
from ifr.evaluation.metrics import FARS, MEASURES, RANKS, four_measures, rank_hits, tars_at_fars
from ifr.evaluation.resampling import bootstrap_counts
from ifr.evaluation.templates import identification_scores

CONDITIONS = ("clean", "synthetic", "natural")
Splits = Sequence[TemplateSplit]


def evaluate_templates(
    features: np.ndarray, splits: Splits, *, natural: bool = False, score: str = "mean_cosine"
) -> pd.DataFrame:
    """Return split and ``MEASURES``; ``natural`` takes naturally occluded probes, else clean."""
    rows = [four_measures(*_compare(features, split, natural, score)[1]) for split in splits]
    return pd.DataFrame(rows).rename_axis("split").reset_index()


def bootstrap_templates(
    features: np.ndarray,
    splits: Splits,
    *,
    natural: bool = False,
    score: str = "mean_cosine",
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return ``MEASURES``, mean over splits, for resampled test identities, (resamples, 4).

    The same seed draws the same people, so figures of two networks can be subtracted row by row.
    """
    people = 1 + max(int(split.gallery.subjects.max()) for split in splits)
    counts = bootstrap_counts(people, resamples, seed)
    total = np.zeros((resamples, len(MEASURES)))
    for split in splits:
        pairs, (scores, same, table, probes, gallery) = _compare(features, split, natural, score)
        drawn = counts[:, probes]
        one, two = drawn[:, pairs[:, 0]], counts[:, gallery[pairs[:, 1]]]
        weights = np.where(same, one, one * two)
        total[:, : len(FARS)] += tars_at_fars(scores, same, FARS, weights=weights).T
        for column, rank in enumerate(RANKS, start=len(FARS)):
            hits = rank_hits(table, probes, gallery, rank)
            total[:, column] += (drawn * hits).sum(axis=1) / np.maximum(drawn.sum(axis=1), 1)
    return pd.DataFrame(100 * total / len(splits), columns=list(MEASURES))


def split_scores(
    features: np.ndarray, split: TemplateSplit, *, natural: bool = False, score: str = "mean_cosine"
) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores and the truth of a split's pairs, (P,) each; see ``evaluate_templates``."""
    scores, same, *_ = _compare(features, split, natural, score)[1]
    return scores, same


def _compare(
    features: np.ndarray, split: TemplateSplit, natural: bool, score: str
) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Return the templates of each comparison, (M, 2), and what ``four_measures`` takes."""
    probes, index = split.probes.subset(split.probes.occluded == natural)
    if len(probes) == 0:
        raise UserError(f"the split has no {'naturally occluded' if natural else 'clean'} probes")
    similarity = identification_scores(features, probes, split.gallery, score=score)
    kept = index[split.pairs[:, 0]] >= 0
    pairs = np.stack([index[split.pairs[kept, 0]], split.pairs[kept, 1]], axis=1)
    scores = similarity[pairs[:, 0], pairs[:, 1]]
    return pairs, (scores, split.same[kept], similarity, probes.subjects, split.gallery.subjects)
