"""Takes the plain mean of distances, without the weights of the peaks: part 4, a visible test."""
# loses: test_filter_spread

import numpy as np


# %% filter_spread
def filter_spread(
    locations: np.ndarray, weights: np.ndarray, centres: np.ndarray, kind: str
) -> np.ndarray:
    """Return how far the peaks of every filter lie from its average location."""
    distance = np.linalg.norm(locations - centres, axis=-1)
    if kind == "distance":
        return np.nanmean(distance, axis=0)
    return np.sqrt(np.nanmean(distance**2, axis=0))
