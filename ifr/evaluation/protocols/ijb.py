"""The protocols of IJB-A and IJB-C: verification and identification of templates."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ifr.common.errors import UserError
from ifr.datasets.index import Templates
from ifr.datasets.readers.ijba import IjbaProtocol, IjbaSplit
from ifr.datasets.readers.ijbc import IjbcProtocol
from ifr.evaluation.metrics import FARS, SEARCH, percent_name, search_shares, tars_at_fars
from ifr.evaluation.protocols.report import DIFFERENT, ENTRIES, MATES, SAME, STRANGERS
from ifr.evaluation.templates import identification_scores, verification_scores

FARS_AT_SCALE = (1e-2, 1e-3, 1e-4, 1e-5)
Part = IjbaSplit | IjbcProtocol


@dataclass(frozen=True, eq=False)
class Present:
    """Templates of which there are images, with their comparisons and searches."""

    verify: Templates
    pairs: np.ndarray  # (P, 2) indices of ``verify``
    same: np.ndarray  # (P,) bool
    searches: list[tuple[Templates, Templates]]  # probes, and the gallery they are searched in

    @property
    def rows(self) -> np.ndarray:
        """The rows of all images that are compared."""
        searched = (templates.rows for search in self.searches for templates in search)
        return np.unique(np.concatenate([self.verify.rows, *searched]))


def present(part: Part, *, natural: bool = False, listed: bool = False) -> Present:
    """Return what is there of a split of IJB-A, or of IJB-C; or all that is ``listed``.

    With ``natural`` all but galleries keep their occluded images alone. A template without images
    is lost with its comparisons, and a probe with its mate: it is neither found nor a stranger.
    """

    def kept(templates: Templates, occluded: bool) -> tuple[Templates, np.ndarray]:
        keep = (templates.rows >= 0) | listed
        return templates.subset(keep & templates.occluded if occluded else keep)

    verify, index = kept(part.verify, natural)
    pairs = index[part.pairs]
    both = (pairs >= 0).all(axis=1)
    same, searches = part.same[both], []
    if not listed and (same.all() or not same.any()):
        counted = f"{same.sum()} genuine and {(~same).sum()} impostor comparisons"
        of = " of naturally occluded images" if natural else ""
        raise UserError(f"{counted}{of} are left; both kinds are needed")
    if part.probes is not None:
        probes = kept(part.probes, natural)[0]
        for gallery in (part.gallery,) if isinstance(part, IjbaSplit) else part.galleries:
            enrolled = kept(gallery, False)[0]
            gone = np.isin(probes.subjects, np.setdiff1d(gallery.subjects, enrolled.subjects))
            searched = probes.subset(np.repeat(~gone, np.diff(probes.starts)))[0]
            searches.append((searched, enrolled))
    return Present(verify, pairs[both], same, searches)


def template_counts(part: Part, *, natural: bool = False) -> pd.DataFrame:
    """Return how much of each kind a split of IJB-A, or IJB-C, lists, and how much is used."""
    both = {name: _count(part, natural, name == "listed") for name in ("listed", "used")}
    return pd.DataFrame(both).eval("lost = listed - used").reset_index()


def _count(part: Part, natural: bool, listed: bool) -> pd.Series:
    found = present(part, natural=natural, listed=listed)
    one = f"split {part.number}" if isinstance(part, IjbaSplit) else "1:1"
    rows = [(one, SAME, found.same.sum()), (one, DIFFERENT, (~found.same).sum())]
    rows += [(one, "templates", len(found.verify)), (one, "images", len(found.verify.rows))]
    for number, (probes, gallery) in enumerate(found.searches, start=1):
        mates, enrolled = np.isin(probes.subjects, gallery.subjects).sum(), len(gallery)
        counts = {MATES: mates, STRANGERS: len(probes) - mates, ENTRIES: enrolled}
        counts["images"] = len(probes.rows) + len(gallery.rows)
        where = one if isinstance(part, IjbaSplit) else f"gallery {number}"
        rows += [(where, kind, count) for kind, count in counts.items()]
    rows += [(one, "pairs of unknown templates", part.unknown * listed)] if part.unknown else []
    table = pd.DataFrame(rows, columns=["part", "kind", "count"])
    return table.groupby(["part", "kind"], sort=False)["count"].sum()


def ijba_protocol(
    features: np.ndarray, protocol: IjbaProtocol, score: str = "directional_min", **options: Any
) -> pd.DataFrame:
    """Return TAR at FAR, ranks and TPIRs in percent, and counts, of each split.

    The paper reports mean and standard deviation over splits, and no TPIR. Ranks are closed-set, of
    probes with a mate in the gallery. The paper names neither the score of two templates nor the
    way the curve is read; the defaults are the released score and the strict reading, see
    ``tars_at_fars``; pass ``interpolate="nearest"`` to match the released code. ``natural=True``
    takes the images with "at least one occluded area", see ``present``.
    """
    rows = []
    for split in protocol.splits:
        try:
            measures = _measures(features, split, FARS, score, **options)
        except UserError as error:
            raise UserError(f"IJB-A split {split.number}: {error}") from error
        rows.append(dict(split=split.number) | measures)
    return pd.DataFrame(rows)


def ijbc_protocol(
    features: np.ndarray,
    protocol: IjbcProtocol,
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
    return pd.Series(_measures(features, protocol, fars, score, **options))


def _measures(
    features: np.ndarray, part: Part, fars: Sequence[float], score: str, **options: Any
) -> dict[str, float]:
    found = present(part, natural=options.pop("natural", False))
    scores = verification_scores(features, found.verify, found.pairs, score=score)
    tars = 100 * tars_at_fars(scores, found.same, fars, **options)
    measures = dict(zip((percent_name("tar", far) for far in fars), tars, strict=True))
    shares, ids, mated = [], set[int](), set[int]()
    for probes, gallery in found.searches:
        similarity = identification_scores(features, probes, gallery, score=score)
        shares.append(search_shares(similarity, probes.subjects, gallery.subjects))
        ids |= set(probes.ids.tolist())
        mated |= set(probes.ids[np.isin(probes.subjects, gallery.subjects)].tolist())
    mean = 100 * np.mean(shares or [[np.nan] * len(SEARCH)], axis=0)
    genuine = int(found.same.sum())
    measures |= dict(zip(SEARCH, mean, strict=True), genuine=genuine)
    measures |= dict(impostor=len(found.same) - genuine, probes=len(ids))
    measures["probes_with_mate"] = len(mated)
    for number, own in enumerate(shares if len(shares) > 1 else (), start=1):
        names = (f"gallery_{number}_{name}" for name in SEARCH)
        measures |= dict(zip(names, 100 * np.array(own), strict=True))
    return measures
