"""The protocols of IJB-A and IJB-C: verification and identification of templates."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ifr.common.errors import UserError
from ifr.datasets.index import Templates, TemplateTest
from ifr.evaluation.metrics import FARS, SEARCH, percent_name, search_shares, tars_at_fars
from ifr.evaluation.protocols.report import DIFFERENT, ENTRIES, MATES, SAME, STRANGERS
from ifr.evaluation.templates import identification_scores, verification_scores

FARS_AT_SCALE = (1e-2, 1e-3, 1e-4, 1e-5)
Splits = Sequence[TemplateTest]


def present(test: TemplateTest, *, natural: bool = False, listed: bool = False) -> TemplateTest:
    """Return what is there of a test; or all that is ``listed``.

    With ``natural`` all but galleries keep their occluded images alone. A template without images
    is lost with its comparisons, and a probe with its mate: it is neither found nor a stranger.
    """

    def kept(templates: Templates, occluded: bool) -> tuple[Templates, np.ndarray]:
        keep = (templates.rows >= 0) | listed
        return templates.subset(keep & templates.occluded if occluded else keep)

    verify, index = kept(test.verify, natural)
    pairs = index[test.pairs]
    both = (pairs >= 0).all(axis=1)
    same, searches = test.same[both], []
    if not listed and (same.all() or not same.any()):
        counted = f"{same.sum()} genuine and {(~same).sum()} impostor comparisons"
        of = " of naturally occluded images" if natural else ""
        raise UserError(f"{counted}{of} are left; both kinds are needed")
    for probes, gallery in test.searches:
        probes, enrolled = kept(probes, natural)[0], kept(gallery, False)[0]
        gone = np.isin(probes.subjects, np.setdiff1d(gallery.subjects, enrolled.subjects))
        searches.append((probes.subset(np.repeat(~gone, np.diff(probes.starts)))[0], enrolled))
    return replace(test, verify=verify, pairs=pairs[both], same=same, searches=tuple(searches))


def template_counts(test: TemplateTest, *, natural: bool = False) -> pd.DataFrame:
    """Return how much of each kind a test lists, and how much of it is used."""
    part = f"split {test.split}" if test.split else "1:1"
    counts: dict[str, dict[tuple[str, str], int]] = {}
    for column in ("listed", "used"):
        found = present(test, natural=natural, listed=column == "listed")
        same, verify = found.same.sum(), found.verify
        own = {(part, SAME): same, (part, DIFFERENT): len(found.same) - same}
        own |= {(part, "templates"): len(verify), (part, "images"): len(verify.rows)}
        for number, (probes, gallery) in enumerate(found.searches, start=1):
            mates = np.isin(probes.subjects, gallery.subjects).sum()
            where = part if test.split else f"gallery {number}"
            own |= {(where, MATES): mates, (where, STRANGERS): len(probes) - mates}
            images = own.get((where, "images"), 0) + len(probes.rows) + len(gallery.rows)
            own |= {(where, ENTRIES): len(gallery), (where, "images"): images}
        if test.unknown:
            own[part, "pairs of unknown templates"] = test.unknown * (column == "listed")
        counts[column] = own
    table = pd.DataFrame(counts).rename_axis(["part", "kind"]).eval("lost = listed - used")
    return table.reset_index()


def ijba_protocol(
    features: np.ndarray, splits: Splits, score: str = "directional_min", **options: Any
) -> pd.DataFrame:
    """Return TAR at FAR, ranks and TPIRs in percent, and counts, of each split.

    The paper reports mean and standard deviation over splits, and no TPIR. Ranks are closed-set, of
    probes with a mate in the gallery. The paper names neither the score of two templates nor the
    way the curve is read; the defaults are the released score and the strict reading, see
    ``tars_at_fars``; pass ``interpolate="nearest"`` to match the released code. ``natural=True``
    takes the images with "at least one occluded area", see ``present``.
    """
    rows = []
    for test in splits:
        try:
            measures = _measures(features, test, FARS, score, **options)
        except UserError as error:
            raise UserError(f"IJB-A split {test.split}: {error}") from error
        rows.append(dict(split=test.split) | measures)
    return pd.DataFrame(rows)


def ijbc_protocol(
    features: np.ndarray,
    test: TemplateTest,
    score: str = "mean_cosine",
    fars: Sequence[float] = FARS_AT_SCALE,
    **options: Any,
) -> pd.Series:
    """Return what :func:`ijba_protocol` does, with its options, of one test.

    The paper reports TAR at FAR 0.01 and 0.001; the lower two are what IJB-C is used for. Ranks and
    TPIRs, NaN without galleries, are the mean of the two, which share no person; each has its own
    as ``gallery_1_rank_1_percent`` and so on. The default score is the released one, and most
    others report ``score="media"``.
    """
    if score == "directional_min":
        raise UserError("score is media or mean_cosine for IJB-C, not 'directional_min'")
    return pd.Series(_measures(features, test, fars, score, **options))


def _measures(
    features: np.ndarray, test: TemplateTest, fars: Sequence[float], score: str, **options: Any
) -> dict[str, float]:
    found = present(test, natural=options.pop("natural", False))
    scores = verification_scores(features, found.verify, found.pairs, score=score)
    tars = 100 * tars_at_fars(scores, found.same, fars, **options)
    shares, ids, mated = [], set[int](), set[int]()
    for probes, gallery in found.searches:
        similarity = identification_scores(features, probes, gallery, score=score)
        shares.append(search_shares(similarity, probes.subjects, gallery.subjects))
        ids |= set(probes.ids.tolist())
        mated |= set(probes.ids[np.isin(probes.subjects, gallery.subjects)].tolist())
    genuine, none = int(found.same.sum()), [np.full(len(SEARCH), np.nan)]
    measures = dict(zip((percent_name("tar", far) for far in fars), tars, strict=True))
    measures |= dict(zip(SEARCH, 100 * np.mean(shares or none, axis=0), strict=True))
    measures |= dict(genuine=genuine, impostor=len(found.same) - genuine)
    measures |= dict(probes=len(ids), probes_with_mate=len(mated))
    for number, own in enumerate(shares if len(shares) > 1 else (), start=1):
        names = (f"gallery_{number}_{name}" for name in SEARCH)
        measures |= dict(zip(names, 100 * np.array(own), strict=True))
    return measures
