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

    def rows_of(self, template: int) -> np.ndarray:
        """Return the rows of one template, by its place among ``ids``."""
        return self.rows[self.starts[template] : self.starts[template + 1]]


def group_templates(
    ids: np.ndarray,
    subjects: np.ndarray,
    rows: np.ndarray,
    media: np.ndarray,
    occluded: np.ndarray,
    source: str,
) -> Templates:
    """Put the lines of a table together into templates.

    Args:
        ids: (M,) template of each line.
        subjects: (M,) its subject.
        rows: (M,) its face.
        media: (M,) its medium.
        occluded: (M,) bool.
        source: the file, for the message.

    Raises:
        ValueError: if the lines of one template name several subjects.
    """
    order = np.argsort(ids, kind="stable")
    ids, subjects = np.asarray(ids)[order], np.asarray(subjects)[order]
    known, first = np.unique(ids, return_index=True)
    mixed = np.flatnonzero((ids[1:] == ids[:-1]) & (subjects[1:] != subjects[:-1]))
    if len(mixed):
        one, two = subjects[mixed[0]], subjects[mixed[0] + 1]
        raise ValueError(
            f"{source}: template {ids[mixed[0]]} is of subject {one} in one line and {two} in "
            "another; a template is of one subject"
        )
    return Templates(
        known.astype(np.int64),
        subjects[first].astype(np.int64),
        np.asarray(rows, np.int64)[order],
        np.asarray(media, np.int64)[order],
        np.append(first, len(ids)).astype(np.int64),
        np.asarray(occluded, bool)[order],
    )


def place_pairs(
    templates: Templates, first: np.ndarray, second: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int]:
    """Turn pairs of template numbers into places among templates.

    Args:
        templates: that are there.
        first: (P,) template numbers.
        second: (P,) template numbers.

    Returns:
        (P', 2) int32 places, each pair once; (P',) which of the P pairs they are; and how many
        pairs were left out as repeats. Pairs of a template that is not there are left out, too.
    """
    if not len(templates):
        return np.zeros((0, 2), np.int32), np.zeros(0, np.int64), 0
    sides = []
    for numbers in (first, second):
        place = np.searchsorted(templates.ids, numbers).clip(max=len(templates) - 1)
        sides.append(np.where(templates.ids[place] == numbers, place, -1).astype(np.int32))
    known = np.flatnonzero((sides[0] >= 0) & (sides[1] >= 0))
    pairs = np.stack([side[known] for side in sides], axis=1)
    # One number for each unordered pair; a stable sort keeps the first of the repeats.
    low, high = pairs.min(axis=1).astype(np.int64), pairs.max(axis=1)
    key = low * len(templates) + high
    order = np.argsort(key, kind="stable")
    again = np.zeros(len(key), bool)
    again[order[1:]] = key[order][1:] == key[order][:-1]
    return pairs[~again], known[~again], int(again.sum())
