"""Accepts scores above the threshold and not those equal to it: part 2, by a visible test."""
# loses: test_roc_curve

import numpy as np


# %% roc_curve
def roc_curve(scores: np.ndarray, same: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the false and the true accept rate at every threshold."""
    thresholds = np.append(np.inf, np.unique(scores)[::-1])
    accepted = scores > thresholds[:, None]
    return accepted[:, ~same].mean(axis=1), accepted[:, same].mean(axis=1), thresholds
