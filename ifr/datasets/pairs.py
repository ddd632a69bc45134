"""Verification pairs in folds: the protocol of LFW and of InsightFace's ``.bin`` files."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class PairList:
    """Pairs of faces of a set.

    Attributes:
        pairs: (P, 2) int64 rows of the set.
        same: (P,) bool, whether a pair is of one person.
        folds: (P,) int64, the fold of each pair, from 0 on.
    """

    pairs: np.ndarray
    same: np.ndarray
    folds: np.ndarray

    def __post_init__(self) -> None:
        count = len(self.pairs)
        shapes = (self.pairs.shape, self.same.shape, self.folds.shape)
        if shapes != ((count, 2), (count,), (count,)) or self.same.dtype != bool:
            raise ValueError(
                "pairs, same and folds must be (P, 2), (P,) bools and (P,), got "
                f"{shapes[0]}, {shapes[1]} {self.same.dtype} and {shapes[2]}"
            )
