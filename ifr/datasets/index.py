"""What a reader returns: faces, counts, what is missing, and the pairs or templates compared."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ifr.datasets.face_set import FaceSet


@dataclass(frozen=True)
class Issue:
    """One thing that is missing, unreadable or out of place in a data set on disk."""

    kind: str  # a few words that group issues: "stray file", "missing image"
    where: str  # the file, line or template
    impact: str  # what is lost by it: "its 3 images cannot be in any pair"


@dataclass(frozen=True)
class DatasetIndex:
    """A data set as it lies on disk, before alignment.

    Images are decoded when read. Attributes: ``file``, the path below the root; ``subject``, which
    ``identity`` numbers in sorted order; and of some readers, in pixels, NaN where unknown,
    ``five_points`` (N, 5, 2) float32 like ``ARCFACE_TEMPLATE`` and ``box`` (N, 4) float32: x, y,
    width, height.
    """

    faces: FaceSet
    counts: dict[str, int]  # of images, identities and what else published_sets.csv has
    issues: tuple[Issue, ...] = ()
    protocol: Any = None  # what the format says of pairs, folds or templates


@dataclass(frozen=True, eq=False)
class PairList:
    """Pairs of faces of a set."""

    pairs: np.ndarray  # (P, 2) int64 rows of the set
    same: np.ndarray  # (P,) bool, whether a pair is of one person
    folds: np.ndarray  # (P,) int64, the fold of each pair, from 0 on

    def __post_init__(self) -> None:
        arrays = (self.pairs, self.same, self.folds)
        shapes, count = [array.shape for array in arrays], len(self.pairs)
        if shapes != [(count, 2), (count,), (count,)] or self.same.dtype != bool:
            came = f"{shapes} and same of {self.same.dtype}"
            raise ValueError(f"pairs, same and folds must be (P, 2), (P,) bool, (P,), got {came}")


@dataclass(frozen=True, eq=False)
class Templates:
    """T templates and the M faces they hold; template t has ``rows[starts[t] : starts[t + 1]]``."""

    ids: np.ndarray  # (T,) int64 template numbers as published, rising
    subjects: np.ndarray  # (T,) int64 subjects as published; -1 where unknown
    rows: np.ndarray  # (M,) int64 rows of the faces' set, one template after another
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
