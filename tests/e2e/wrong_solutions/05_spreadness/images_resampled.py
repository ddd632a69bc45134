"""Draws images in place of people, an interval too narrow for repeated people: part 6 is lost."""
# loses: test_bootstrap_interval

from collections.abc import Callable

import numpy as np


# %% bootstrap_interval
def bootstrap_interval(
    statistic: Callable[[np.ndarray], float],
    identity: np.ndarray,
    resamples: int,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Return the 95 % percentile interval of a statistic, over people."""
    count = len(identity)
    values = [statistic(rng.integers(count, size=count)) for _ in range(resamples)]
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
