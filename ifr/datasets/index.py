"""What a reader returns: faces, counts, what is missing, and the pairs or templates compared."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ifr.common.errors import UserError
from ifr.datasets.face_set import FaceSet

ABSENT = -1  # the row of a face that a protocol lists and that is not there
KEYS = ("file", "subject")  # attributes that tell which face of a data set a prepared one is


@dataclass(frozen=True)
class Issue:
    """One thing that is missing, unreadable or out of place in a data set on disk."""

    kind: str  # a few words that group issues: "stray file", "missing image"
    where: str  # the file, line or template
    impact: str  # what is lost by it: "its 3 images cannot be in any pair"


@dataclass(frozen=True, eq=False)
class PairList:
    """Pairs of faces of a set, all that are listed."""

    pairs: np.ndarray  # (P, 2) int64 rows of the set, ABSENT for a face that is not there
    same: np.ndarray  # (P,) bool, whether a pair is of one person
    folds: np.ndarray  # (P,) int64, the fold of each pair, from 0 on

    @property
    def formed(self) -> np.ndarray:
        """Whether both faces of each pair are there, (P,) bool."""
        return np.all(self.pairs >= 0, axis=1)


@dataclass(frozen=True, eq=False)
class Templates:
    """T templates and the M faces they list; template t has ``rows[starts[t] : starts[t + 1]]``."""

    ids: np.ndarray  # (T,) int64 template numbers as published, rising
    subjects: np.ndarray  # (T,) int64 subjects as published; -1 where unknown
    rows: np.ndarray  # (M,) int64 rows of the set, template after template; or ABSENT
    media: np.ndarray  # (M,) int64, alike for faces of one medium of a template, as of one video
    starts: np.ndarray  # (T + 1,) int64
    occluded: np.ndarray  # (M,) bool, natural occlusion by the rule of the reader

    def __len__(self) -> int:
        return len(self.ids)

    def subset(self, keep: np.ndarray) -> tuple["Templates", np.ndarray]:
        """Return templates of the rows to keep, (M,) bool, and each old one's new index or -1."""
        owner = np.repeat(np.arange(len(self)), np.diff(self.starts))
        sizes = np.bincount(owner[keep], minlength=len(self))
        left = sizes > 0
        ids, subjects, starts = self.ids[left], self.subjects[left], np.cumsum([0, *sizes[left]])
        members = self.rows[keep], self.media[keep], starts, self.occluded[keep]
        index = np.where(left, np.cumsum(left) - 1, -1).astype(np.int32)
        return Templates(ids, subjects, *members), index


@dataclass(frozen=True, eq=False)
class TemplateTest:
    """Templates compared, and probes searched in galleries: IJB-C's test, or one like IJB-A's."""

    verify: Templates
    pairs: np.ndarray  # (P, 2) int32 indices of ``verify``
    same: np.ndarray  # (P,) bool, whether the two subjects are one
    searches: tuple[tuple[Templates, Templates], ...]  # probes, and the gallery they are sought in
    split: int = 0  # from 1 on; 0 of a test without splits
    unknown: int = 0  # comparisons of templates that no table names

    @property
    def rows(self) -> np.ndarray:
        """The rows of all images that are compared."""
        searched = (templates.rows for search in self.searches for templates in search)
        return np.unique(np.concatenate([self.verify.rows, *searched]))


Protocol = PairList | TemplateTest | tuple[TemplateTest, ...]


@dataclass(frozen=True)
class DatasetIndex:
    """A data set as it lies on disk, before alignment.

    Attributes: ``file``, the path below the root; ``subject``, which ``identity`` numbers; of some
    readers, in pixels, ``five_points`` (N, 5, 2) and ``box`` (N, 4): x, y, width, height; or NaN.
    """

    faces: FaceSet
    counts: dict[str, int]  # of images, identities and what else published_sets.csv has
    issues: tuple[Issue, ...] = ()
    protocol: Protocol | None = None  # what the format says of pairs, folds or templates


def prepared_rows(index: DatasetIndex, faces: FaceSet) -> np.ndarray:
    """Return each face's row in a prepared set, or ABSENT, by names: their order may change."""
    if missing := [key for key in KEYS if key not in faces.attributes]:
        lacking = f"set {faces.name!r} has no attribute {missing[0]!r}"
        raise UserError(f"{lacking}: a protocol takes what ifr data prepare makes of its data set")
    sets = [[one.attributes[key].astype(str) for key in KEYS] for one in (faces, index.faces)]
    prepared, listed = map(pd.MultiIndex.from_arrays, sets)
    rows = prepared.get_indexer(listed).astype(np.int64)
    nameless = not any(index.faces.attributes["subject"])  # numbers alone, in a file of many
    if (rows == ABSENT).all() or (nameless and faces.name != index.faces.name):
        expected, came = f"{index.faces.name}, {listed[0][0]}", f"{faces.name}, {prepared[0][0]}"
        fault = f"the set was made of another data set: expected {expected}, got {came}"
        raise UserError(f"{fault}; give what ifr data prepare made of this one")
    return rows


def on_rows(protocol: Any, new_row: np.ndarray) -> Any:
    """Return a protocol, or templates, with the new row, (N,), of its N faces; ABSENT for gone."""
    if isinstance(protocol, tuple):
        return tuple(on_rows(part, new_row) for part in protocol)
    if isinstance(protocol, TemplateTest):
        verify, searches = on_rows((protocol.verify, protocol.searches), new_row)
        return replace(protocol, verify=verify, searches=searches)
    moved = np.append(new_row, ABSENT)  # ABSENT points at the last
    name = "pairs" if isinstance(protocol, PairList) else "rows"
    return replace(protocol, **{name: moved[getattr(protocol, name)]})
