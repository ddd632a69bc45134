"""Takes the root of the mean squared distance where d̄ is a mean distance: part 5, hidden tests."""
# loses: test_spreadness

import numpy as np


# %% spreadness
def spreadness(locations: np.ndarray) -> float:
    """Return d̄ of the average locations of one sign."""
    return float(np.sqrt(np.nanvar(locations, axis=0).sum()))


def mean_spreadness(positive: np.ndarray, negative: np.ndarray) -> float:
    """Return the d̄ that Figure 5 quotes, the mean over both signs."""
    return (spreadness(positive) + spreadness(negative)) / 2
