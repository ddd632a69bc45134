"""How far a figure moves when other people had been drawn: the bootstrap over identities."""

import numpy as np
from scipy.stats import t as student

from ifr.common.seeding import stream


def bootstrap_counts(identities: int, resamples: int, seed: int) -> np.ndarray:
    """Return how often each identity is drawn in each resample, (resamples, identities)."""
    rng = stream(seed, "bootstrap/identities")
    return rng.multinomial(identities, np.full(identities, 1 / identities), size=resamples)


def bootstrap_mean(
    values: np.ndarray, identity: np.ndarray, *, resamples: int = 1000, seed: int = 0
) -> np.ndarray:
    """Return the mean of per-image values for resampled identities.

    Args:
        values: (N,) or (N, ...) one entry an image; NaN entries do not count.
        identity: (N,) 0 to the number of identities less one.
        resamples: how many.
        seed: of the named stream; the same people for the same seed.

    Returns:
        (resamples, ...); NaN where a resample holds no value.
    """
    values = np.asarray(values, np.float64)
    people = int(identity.max()) + 1
    known = ~np.isnan(values)
    total = np.zeros((people, *values.shape[1:]))
    number = np.zeros_like(total)
    np.add.at(total, identity, np.where(known, values, 0))
    np.add.at(number, identity, known)
    counts = bootstrap_counts(people, resamples, seed).astype(np.float64)
    sums, number = np.tensordot(counts, total, 1), np.tensordot(counts, number, 1)
    return np.divide(sums, number, out=np.full_like(sums, np.nan), where=number > 0)


def interval(samples: np.ndarray, share: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval that holds ``share`` of the samples."""
    low, high = np.nanquantile(samples, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


def fold_interval(differences: np.ndarray, share: float = 0.95) -> tuple[float, float, float]:
    """Return the mean of a figure over folds with its interval by Student's t.

    Args:
        differences: (F,) one figure for each fold, such as the difference of two networks.
        share: of the interval.

    Returns:
        The mean, and both ends: mean ± t standard errors with F - 1 degrees of freedom.

    Raises:
        ValueError: for fewer than two folds.
    """
    differences = np.asarray(differences, np.float64)
    if differences.ndim != 1 or len(differences) < 2:
        raise ValueError(f"an interval over folds needs (F,) of at least 2, {differences.shape}")
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    reach = float(student.ppf((1 + share) / 2, len(differences) - 1) * error)
    mean = float(differences.mean())
    return mean, mean - reach, mean + reach
