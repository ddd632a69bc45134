"""The IJB-C protocol: millions of comparisons, and identification against two galleries."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ifr.common.errors import UserError
from ifr.datasets.index import Templates
from ifr.datasets.readers.ijbc import IjbcProtocol
from ifr.evaluation.metrics import RANKS, mate_ranks, tars_at_fars
from ifr.evaluation.templates import occluded_pairs, pooled_templates, score_pairs

FARS_AT_SCALE = (1e-2, 1e-3, 1e-4, 1e-5)
PROBES = 2048  # searched at once


def ijbc_protocol(
    features: np.ndarray,
    protocol: IjbcProtocol,
    *,
    natural: bool = False,
    score: str = "mean_cosine",
    interpolate: str = "none",
    fars: Sequence[float] = FARS_AT_SCALE,
) -> pd.Series:
    """Return TAR at several FARs, rank-1 and rank-5 in percent (NaN without galleries), and counts.

    The paper reports TAR at FAR 0.01 and 0.001; the lower two are what IJB-C is used for. A rank
    is over the probes with a mate in one of the two galleries, which share no person, and the mean
    of both. The paper does not say how it scores templates; the default is the released score, and
    most others report ``score="media"``. The released code takes the sample of the curve nearest
    to a FAR; pass ``interpolate="nearest"`` to match. ``natural`` takes the images with any
    occlusion flag alone, as :func:`ijba_protocol` does.
    """
    verify, pairs, same, probes = protocol.verify, protocol.pairs, protocol.same, protocol.probes
    if natural:
        verify, pairs, same = occluded_pairs(verify, pairs, same)
        probes = None if probes is None else probes.subset(probes.occluded)[0]
    scores = score_pairs(pooled_templates(features, verify, score=score), pairs)
    tars = tars_at_fars(scores, same, fars, interpolate=interpolate)
    ranks, searched, mates = _identification(features, probes, protocol.galleries, score)
    digits = [f"{far:.10f}".rstrip("0").removeprefix("0.") for far in fars]  # 001 of 0.001
    names = [*(f"tar_{d}_percent" for d in digits), *(f"rank_{k}_percent" for k in RANKS)]
    percent = dict(zip(names, 100 * np.array([*tars, *ranks]), strict=True))
    counts = dict(genuine=int(same.sum()), impostor=int((~same).sum()), probes=searched)
    return pd.Series(percent | counts | dict(probes_with_mate=mates))


def _identification(
    features: np.ndarray, probes: Templates | None, galleries: Sequence[Templates], score: str
) -> tuple[np.ndarray, int, int]:
    """Return the share at each rank, mean of galleries, and how many probes, with a mate."""
    if probes is None or len(galleries) == 0:
        return np.full(len(RANKS), np.nan), 0, 0
    mine, shares = pooled_templates(features, probes, score=score), []
    for number, gallery in enumerate(galleries, start=1):
        known = np.flatnonzero(np.isin(probes.subjects, gallery.subjects))
        if len(known) == 0:
            raise UserError(f"IJB-C: no probe has a mate in gallery {number}")
        theirs = pooled_templates(features, gallery, score=score).T
        ranks = [
            mate_ranks(mine[some] @ theirs, probes.subjects[some], gallery.subjects)
            for some in np.split(known, range(PROBES, len(known), PROBES))
        ]
        shares.append([(np.concatenate(ranks) <= k).mean() for k in RANKS])
    with_mate = np.isin(probes.subjects, np.concatenate([g.subjects for g in galleries]))
    return np.mean(shares, axis=0), len(probes), int(with_mate.sum())
