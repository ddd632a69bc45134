"""Averages the places alike, whatever the magnitude of the peak: part 3, by a visible test."""
# loses: test_average_locations

import numpy as np


# %% average_locations
def average_locations(locations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted average location of every filter over the faces."""
    known = ~np.isnan(locations).any(axis=-1) & (weights > 0)
    total = np.where(known[..., None], locations, 0).sum(axis=0)
    count = known.sum(axis=0)[:, None]
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
