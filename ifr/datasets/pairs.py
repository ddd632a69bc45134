"""Verification pairs in folds: the protocol of LFW and of InsightFace's ``.bin`` files."""

from dataclasses import dataclass

import numpy as np


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
