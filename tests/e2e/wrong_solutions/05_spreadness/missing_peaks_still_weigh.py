"""Sums the weights of missing peaks too, though their places are left out: part 3, hidden tests."""
# loses: test_average_locations

import numpy as np


# %% average_locations
def average_locations(locations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted average location of every filter over the faces."""
    total = weights.sum(axis=0)[:, None]
    mean = np.nansum(weights[..., None] * locations, axis=0) / np.maximum(total, 1e-12)
    return np.where(total > 0, mean, np.nan)
