"""Selects the images of the drawn people, so one drawn twice counts once: part 6, visible test."""
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
    people, values = np.unique(identity), []
    for _ in range(resamples):
        drawn = rng.choice(people, size=len(people))
        values.append(statistic(np.flatnonzero(np.isin(identity, drawn))))
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
