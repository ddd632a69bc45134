"""Templates: several faces of one person that are compared as one (IJB-A and IJB-C)."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Templates:
    """Templates and the faces each holds.

    Attributes:
        ids: (T,) int64 template numbers as published, rising.
        subjects: (T,) int64 subjects as published; -1 where unknown.
        rows: (M,) int64 rows of the faces' set, one template after another.
        media: (M,) int64; rows of one template with the same number are of one medium, such as
            frames of one video.
        starts: (T + 1,) int64: template t holds ``rows[starts[t] : starts[t + 1]]``.
        occluded: (M,) bool, natural occlusion by the rule of the reader.
    """

    ids: np.ndarray
    subjects: np.ndarray
    rows: np.ndarray
    media: np.ndarray
    starts: np.ndarray
    occluded: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def subset(self, keep: np.ndarray) -> tuple["Templates", np.ndarray]:
        """Return the templates of some of the rows, without those left empty.

        Args:
            keep: (M,) bool, the rows that stay, such as ``occluded``.

        Returns:
            The templates, and (T,) int32: the new index of each old one, -1 where it is left out.
        """
        owner = np.repeat(np.arange(len(self)), np.diff(self.starts))
        sizes = np.bincount(owner[keep], minlength=len(self))
        left = sizes > 0
        smaller = Templates(
            self.ids[left],
            self.subjects[left],
            self.rows[keep],
            self.media[keep],
            np.concatenate([[0], np.cumsum(sizes[left])]),
            self.occluded[keep],
        )
        return smaller, np.where(left, np.cumsum(left) - 1, -1).astype(np.int32)
