"""The IJB-A protocol: verification and open-set identification of templates, ten splits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ifr.evaluation.metrics import FARS, MEASURES, RANKS, rank_accuracy, tars_at_fars
from ifr.evaluation.templates import (
    identification_scores,
    occluded_only,
    occluded_pairs,
    verification_scores,
)

if TYPE_CHECKING:
    from ifr.datasets.readers.ijba import IjbaProtocol, IjbaSplit


def ijba_protocol(
    features: np.ndarray,
    protocol: IjbaProtocol,
    *,
    natural: bool = False,
    score: str = "directional_min",
    interpolate: str = "none",
) -> pd.DataFrame:
    """Return the four figures of each split; the paper reports mean and standard deviation.

    Identification is open-set: a probe whose person is not in the gallery does not count, and a
    mate tied with another person is behind it. The paper names neither the score of two templates
    nor the way the curve is read; the defaults are the released score and the strict reading, see
    ``tar_at_far``; pass ``interpolate="nearest"`` to match the released code.

    The paper's natural occlusions are images with "at least one occluded area". With ``natural``
    verification and probe templates keep their occluded images alone; those left empty are dropped
    with their comparisons; gallery templates stay whole.

    Args:
        features: (N, K), one row an image, as the protocol counts them.
        protocol: of ``ifr.datasets.readers.ijba``.
        natural: take naturally occluded images alone.
        score: ``"directional_min"``, ``"mean_cosine"`` or ``"media"``, see ``verification_scores``.
        interpolate: ``"none"``, ``"nearest"`` or ``"linear"``, see ``tar_at_far``.

    Returns:
        One row a split: split, tar_01_percent, tar_001_percent, rank_1_percent, rank_5_percent,
        genuine and impostor (comparisons), probes, probes_with_mate.

    Raises:
        ValueError: for features that are not finite or too few, or a split where no comparison of
            a kind or no probe with a mate is left; the message names the split.
    """
    rows = []
    for split in protocol.splits:
        try:
            rows.append(_one_split(features, split, natural, score, interpolate))
        except ValueError as error:
            raise ValueError(f"IJB-A split {split.number}: {error}") from error
    return pd.DataFrame(rows)


def _one_split(
    features: np.ndarray, split: IjbaSplit, natural: bool, score: str, interpolate: str
) -> dict[str, float]:
    verify, pairs, same, probes = split.verify, split.pairs, split.same, split.probes
    if natural:
        verify, pairs, same = occluded_pairs(verify, pairs, same)
        probes = occluded_only(probes)[0]
    mates = int(np.isin(probes.subjects, split.gallery.subjects).sum())
    genuine = int(same.sum())
    impostor = len(same) - genuine
    if min(genuine, impostor, mates) == 0:
        kind = " of naturally occluded images" if natural else ""
        raise ValueError(
            f"{genuine} genuine and {impostor} impostor comparisons and {mates} probes with a mate"
            f"{kind}; each needs at least one"
        )
    scores = verification_scores(features, verify, pairs, score=score)
    tars = tars_at_fars(scores, same, FARS, interpolate=interpolate)
    similarity = identification_scores(features, probes, split.gallery, score=score)
    ranks = [rank_accuracy(similarity, probes.subjects, split.gallery.subjects, k) for k in RANKS]
    figures = zip(MEASURES, 100 * np.array([*tars, *ranks]), strict=True)
    return dict(
        split=split.number,
        **dict(figures),
        genuine=genuine,
        impostor=impostor,
        probes=len(probes.ids),
        probes_with_mate=mates,
    )
