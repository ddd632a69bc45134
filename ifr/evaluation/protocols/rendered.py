"""The template protocol of the rendered sets, and its interval over people."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ifr.common.errors import UserError
from ifr.datasets.template_splits import TemplateSplit
from ifr.evaluation.metrics import FARS, MEASURES, RANKS, mate_ranks, rank_accuracy, tars_at_fars
from ifr.evaluation.resampling import bootstrap_counts
from ifr.evaluation.templates import identification_scores

CONDITIONS = ("clean", "synthetic", "natural")
Splits = Sequence[TemplateSplit]
# A false accept rate of 0.01 is decided among the impostors with the highest scores.
HIGHEST, LEAST_HIGHEST = 0.03, 1000
CHUNK = 200  # resamples at once


def evaluate_templates(features: np.ndarray, splits: Splits, **options: Any) -> pd.DataFrame:
    """Return split and ``MEASURES`` in percent; options are of :func:`split_scores`."""
    rows = []
    for split in splits:
        _, scores, same, similarity, probes, gallery = _compare(features, split, **options)
        ranks = [rank_accuracy(similarity, probes, gallery, k) for k in RANKS]
        rows.append(100 * np.array([*tars_at_fars(scores, same, FARS), *ranks]))
    return pd.DataFrame(rows, columns=list(MEASURES)).rename_axis("split").reset_index()


def bootstrap_templates(
    features: np.ndarray, splits: Splits, *, resamples: int = 1000, seed: int = 0, **options: Any
) -> pd.DataFrame:
    """Return ``MEASURES``, mean over splits, for resampled test identities, (resamples, 4).

    The same seed draws the same people, so figures of two networks can be subtracted row by row.
    """
    people = 1 + max(int(split.gallery.subjects.max()) for split in splits)
    counts = bootstrap_counts(people, resamples, seed)
    total = np.zeros((resamples, len(MEASURES)))
    for split in splits:
        pairs, scores, same, similarity, probes, gallery = _compare(features, split, **options)
        drawn, ranks = counts[:, probes], mate_ranks(similarity, probes, gallery)
        tars = _resampled_tars(pairs, scores, same, drawn, counts[:, gallery]).T
        size = np.maximum(drawn.sum(axis=1), 1)
        total += np.stack([*tars, *((drawn * (ranks <= k)).sum(axis=1) / size for k in RANKS)], 1)
    return pd.DataFrame(100 * total / len(splits), columns=list(MEASURES))


def _resampled_tars(
    pairs: np.ndarray, scores: np.ndarray, same: np.ndarray, probes: np.ndarray, gallery: np.ndarray
) -> np.ndarray:
    """Return true accept rates (resamples, F), of all pairs of templates.

    ``probes`` and ``gallery`` are how often each is drawn, (resamples, P) and (resamples, G).
    Impostors below the highest count in all, as one pair that is accepted last.
    """
    count = max(LEAST_HIGHEST, round(HIGHEST * len(scores)))
    level = np.partition(scores[~same], -count)[-count] if (~same).sum() > count else -np.inf
    kept = np.flatnonzero(same | (scores >= level))
    (first, second), mates = pairs[kept].T, same[kept]
    own = pairs[same]  # a person's probe and gallery template are drawn together
    total = probes.sum(1) * gallery.sum(1) - (probes[:, own[:, 0]] * gallery[:, own[:, 1]]).sum(1)
    listed, truth = np.append(scores[kept], -np.inf), np.append(mates, False)
    rates = []
    for part in np.array_split(np.arange(len(probes)), -(-len(probes) // CHUNK)):
        one, two = probes[part][:, first], gallery[part][:, second]
        weights = np.where(mates, one, one * two)
        rest = total[part] - weights[:, ~mates].sum(1)
        weights = np.column_stack([weights, rest])
        rates.append(tars_at_fars(listed, truth, FARS, weights=weights).T)
    return np.concatenate(rates)


def split_scores(
    features: np.ndarray, split: TemplateSplit, **options: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores and the truth of a split's pairs, (P,) each.

    Of the clean probes, or ``natural``, those occluded; ``score`` is of ``identification_scores``.
    """
    _, scores, same, *_ = _compare(features, split, **options)
    return scores, same


def _compare(
    features: np.ndarray, split: TemplateSplit, natural: bool = False, score: str = "mean_cosine"
) -> tuple[np.ndarray, ...]:
    """Return templates (M, 2), scores and truth of pairs, and what ``mate_ranks`` takes."""
    probes, index = split.probes.subset(split.probes.occluded == natural)
    if len(probes) == 0:
        raise UserError(f"the split has no {'naturally occluded' if natural else 'clean'} probes")
    similarity = identification_scores(features, probes, split.gallery, score=score)
    pairs = np.stack([index[split.pairs[:, 0]], split.pairs[:, 1]], axis=1)
    same, pairs = split.same[pairs[:, 0] >= 0], pairs[pairs[:, 0] >= 0]
    search = similarity, probes.subjects, split.gallery.subjects
    return pairs, similarity[tuple(pairs.T)], same, *search
