"""Templates: several faces of one person that are compared as one (IJB-A and IJB-C)."""

from dataclasses import dataclass

import numpy as np


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
        """Return the templates of the rows to keep, (M,) bool, without those left empty.

        Also the new index of each old template, (T,) int32, -1 where it is left out.
        """
        owner = np.repeat(np.arange(len(self)), np.diff(self.starts))
        sizes = np.bincount(owner[keep], minlength=len(self))
        left = sizes > 0
        ids, subjects, starts = self.ids[left], self.subjects[left], np.cumsum([0, *sizes[left]])
        members = self.rows[keep], self.media[keep], starts, self.occluded[keep]
        index = np.where(left, np.cumsum(left) - 1, -1).astype(np.int32)
        return Templates(ids, subjects, *members), index
