"""The IJB-C protocol: millions of comparisons, and identification against two galleries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ifr.evaluation.metrics import RANKS, rank_hits, tars_at_fars
from ifr.evaluation.pair_scores import FARS_AT_SCALE, score_pairs
from ifr.evaluation.templates import occluded_only, occluded_pairs, pooled_templates

if TYPE_CHECKING:
    from ifr.datasets.readers.ijbc import IjbcProtocol
    from ifr.datasets.templates import Templates

PROBES = 2048  # searched at once


def far_name(far: float) -> str:
    """Return the column of a false accept rate: ``tar_001_percent`` for 0.001."""
    return f"tar_{format(far, '.10f').rstrip('0').removeprefix('0.')}_percent"


def ijbc_protocol(
    features: np.ndarray,
    protocol: IjbcProtocol,
    *,
    natural: bool = False,
    score: str = "mean_cosine",
    interpolate: str = "none",
    fars: Sequence[float] = FARS_AT_SCALE,
) -> pd.Series:
    """Return TAR at several FARs, rank-1 and rank-5.

    The paper reports TAR at FAR 0.01 and 0.001; the lower two are what IJB-C is used for. Every
    probe is searched in both galleries, which share no person: its mate is in one of them at most.
    A rank figure is over the probes with a mate in that gallery, and the mean of both galleries.
    The paper does not say how it scores templates; the default is the released score, and most
    others report ``score="media"``. The released code takes the sample of the curve nearest to a
    FAR; pass ``interpolate="nearest"`` to match.

    With ``natural`` verification and probe templates keep the images with any occlusion flag
    alone; those left empty are dropped with their comparisons; gallery templates stay whole.

    Args:
        features: (N, K), one row an image, as the protocol counts them.
        protocol: of ``ifr.datasets.readers.ijbc``.
        natural: take naturally occluded images alone.
        score: ``"mean_cosine"`` or ``"media"``, see ``pooled_templates``.
        interpolate: ``"none"``, ``"nearest"`` or ``"linear"``, see ``tar_at_far``.
        fars: false accept rates, above 0.

    Returns:
        ``tar_…_percent`` of each FAR, rank_1_percent, rank_5_percent (NaN where the protocol has no
        probes or galleries), genuine, impostor, probes, probes_with_mate.

    Raises:
        ValueError: for features that are not finite or too few, another score, or where no
            comparison of a kind or no probe with a mate is left.
    """
    verify, pairs, same, probes = protocol.verify, protocol.pairs, protocol.same, protocol.probes
    if natural:
        verify, pairs, same = occluded_pairs(verify, pairs, same)
        probes = None if probes is None else occluded_only(probes)[0]
    genuine = int(same.sum())
    if genuine in (0, len(same)):
        kind = " of naturally occluded images" if natural else ""
        raise ValueError(
            f"IJB-C: {genuine} genuine and {len(same) - genuine} impostor comparisons{kind}; each "
            "needs at least one"
        )
    scores = score_pairs(pooled_templates(features, verify, score=score), pairs)
    tars = tars_at_fars(scores, same, fars, interpolate=interpolate)
    del scores
    found = {far_name(far): 100 * tar for far, tar in zip(fars, tars, strict=True)}
    ranks, searched, mates = _identification(features, probes, protocol.galleries, score)
    found |= {f"rank_{k}_percent": 100 * rank for k, rank in zip(RANKS, ranks, strict=True)}
    return pd.Series(
        found
        | dict(
            genuine=genuine, impostor=len(same) - genuine, probes=searched, probes_with_mate=mates
        )
    )


def _identification(
    features: np.ndarray, probes: Templates | None, galleries: Sequence[Templates], score: str
) -> tuple[np.ndarray, int, int]:
    """Return the share at each rank, mean of galleries, and how many probes, with a mate."""
    if probes is None or len(galleries) == 0:
        return np.full(len(RANKS), np.nan), 0, 0
    present = [np.isin(probes.subjects, gallery.subjects) for gallery in galleries]
    for number, known in enumerate(present, start=1):
        if not known.any():
            raise ValueError(f"IJB-C: no probe has a mate in gallery {number}")
    mine = pooled_templates(features, probes, score=score)
    shares = []
    for gallery, known in zip(galleries, present, strict=True):
        theirs = pooled_templates(features, gallery, score=score).T
        chosen = np.flatnonzero(known)
        hits = []
        for first in range(0, len(chosen), PROBES):
            part = chosen[first : first + PROBES]
            similarity = mine[part] @ theirs
            who = probes.subjects[part]
            hits.append([rank_hits(similarity, who, gallery.subjects, k) for k in RANKS])
        shares.append(np.concatenate(hits, axis=1).mean(axis=1))
    return np.mean(shares, axis=0), len(probes.ids), int(np.any(present, axis=0).sum())
