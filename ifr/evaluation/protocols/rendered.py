"""The template protocol of the rendered sets, and its interval over people."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ifr.common.errors import UserError
from ifr.datasets.index import TemplateTest
from ifr.evaluation.metrics import FARS, MEASURES, RANKS, mate_ranks, rank_accuracy, tars_at_fars
from ifr.evaluation.resampling import bootstrap_counts
from ifr.evaluation.templates import identification_scores

CONDITIONS = ("clean", "synthetic", "natural")
Splits = Sequence[TemplateTest]
# A false accept rate of 0.01 is decided among the impostors with the highest scores.
HIGHEST, LEAST_HIGHEST = 0.03, 1000
CHUNK = 200  # resamples at once


def evaluate_templates(features: np.ndarray, splits: Splits, **options: Any) -> pd.DataFrame:
    """Return split and ``MEASURES`` in percent; options are of :func:`split_scores`."""
    rows = []
    for split in splits:
        similarity, probes, gallery = search = _search(features, split, **options)
        ranks = [rank_accuracy(*search, k) for k in RANKS]
        tars = tars_at_fars(similarity.ravel(), (probes[:, None] == gallery).ravel(), FARS)
        rows.append(100 * np.array([*tars, *ranks]))
    return pd.DataFrame(rows, columns=list(MEASURES)).rename_axis("split").reset_index()


def bootstrap_templates(
    features: np.ndarray, splits: Splits, *, resamples: int = 1000, seed: int = 0, **options: Any
) -> pd.DataFrame:
    """Return ``MEASURES``, mean over splits, for people resampled by the seed, (resamples, 4)."""
    people = 1 + max(int(split.verify.subjects.max()) for split in splits)
    counts = bootstrap_counts(people, resamples, seed)
    total = np.zeros((resamples, len(MEASURES)))
    for split in splits:
        similarity, probes, gallery = search = _search(features, split, **options)
        drawn, ranks = counts[:, probes], mate_ranks(*search)
        mates = probes[:, None] == gallery
        tars = _resampled_tars(similarity, mates, drawn, counts[:, gallery]).T
        size = np.maximum(drawn.sum(axis=1), 1)
        total += np.stack([*tars, *((drawn * (ranks <= k)).sum(axis=1) / size for k in RANKS)], 1)
    return pd.DataFrame(100 * total / len(splits), columns=list(MEASURES))


def _resampled_tars(
    similarity: np.ndarray, mates: np.ndarray, probes: np.ndarray, gallery: np.ndarray
) -> np.ndarray:
    """Return true accept rates (resamples, F), of all pairs (P, G), each template drawn so often.

    As ``tars_at_fars`` with weights, at a tenth of the time: of the impostors only the highest are
    ordered, and those below them are accepted last, as one pair.
    """
    count = max(LEAST_HIGHEST, round(HIGHEST * similarity.size))
    strangers = similarity[~mates]
    level = np.partition(strangers, -count)[-count] if len(strangers) > count else -np.inf
    own, its = _highest_first(similarity, mates)  # a person's templates are drawn together
    genuine = similarity[own, its]
    impostors = _highest_first(similarity, ~mates & (similarity >= level))
    listed = np.append(similarity[impostors], -np.inf)
    rates = []
    for part in np.array_split(np.arange(len(probes)), -(-len(probes) // CHUNK)):
        one, two = probes[part], gallery[part]
        same = one[:, own].cumsum(axis=1)
        accepted = (one[:, impostors[0]] * two[:, impostors[1]]).cumsum(axis=1)
        total = one.sum(1) * two.sum(1) - (one[:, own] * two[:, its]).sum(1)
        tars = []
        for far in FARS:
            above = listed[(accepted <= far * total[:, None] + 1e-9).sum(axis=1)]  # none of these
            hits = np.searchsorted(-genuine, -above, side="left")
            got = np.take_along_axis(np.pad(same, ((0, 0), (1, 0))), hits[:, None], axis=1)[:, 0]
            tars.append(got / np.maximum(same[:, -1], 1))
        rates.append(np.stack(tars, axis=1))
    return np.concatenate(rates)


def _highest_first(scores: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return row and column of chosen scores, the highest first."""
    row, column = np.nonzero(chosen)
    order = np.argsort(-scores[row, column], kind="stable")
    return row[order], column[order]


def split_scores(
    features: np.ndarray, split: TemplateTest, **options: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and truth of all pairs, (P,) each, of the clean or the ``natural`` probes."""
    similarity, probes, gallery = _search(features, split, **options)
    return similarity.ravel(), (probes[:, None] == gallery).ravel()


def _search(
    features: np.ndarray, split: TemplateTest, natural: bool = False, score: str = "mean_cosine"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what ``mate_ranks`` takes."""
    [(probes, gallery)] = split.searches
    probes = probes.subset(probes.occluded == natural)[0]
    if len(probes) == 0:
        raise UserError(f"the split has no {'naturally occluded' if natural else 'clean'} probes")
    similarity = identification_scores(features, probes, gallery, score=score)
    return similarity, probes.subjects, gallery.subjects
