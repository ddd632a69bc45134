"""Pools the locations of both signs before d̄, so that their distance counts too: part 5 is lost."""
# loses: test_spreadness

import numpy as np


# %% spreadness
def spreadness(locations: np.ndarray) -> float:
    """Return d̄ of the average locations of one sign."""
    known = locations[~np.isnan(locations).any(axis=1)]
    return float(np.linalg.norm(known - known.mean(axis=0), axis=1).mean())


def mean_spreadness(positive: np.ndarray, negative: np.ndarray) -> float:
    """Return the d̄ that Figure 5 quotes, the mean over both signs."""
    return spreadness(np.concatenate([positive, negative]))
