"""How far a figure moves with the people that were drawn: the bootstrap over identities."""

import numpy as np
from scipy.stats import sem
from scipy.stats import t as student

from ifr.common.errors import UserError
from ifr.common.seeding import stream


def bootstrap_counts(identities: int, resamples: int, seed: int) -> np.ndarray:
    """Return how often each identity is drawn in each resample, (resamples, identities)."""
    rng = stream(seed, "bootstrap/identities")
    return rng.multinomial(identities, np.full(identities, 1 / identities), size=resamples)


def bootstrap_mean(
    values: np.ndarray, identity: np.ndarray, *, resamples: int = 1000, seed: int = 0
) -> np.ndarray:
    """Return the mean of values (N, ...) but NaN for resampled people, (resamples, ...)."""
    known, people = ~np.isnan(values), int(identity.max()) + 1
    total, number = np.zeros((2, people, *values.shape[1:]))
    np.add.at(total, identity, np.where(known, values, 0))
    np.add.at(number, identity, known)
    counts = bootstrap_counts(people, resamples, seed).astype(np.float64)
    sums, number = np.tensordot(counts, total, 1), np.tensordot(counts, number, 1)
    return np.divide(sums, number, out=np.full_like(sums, np.nan), where=number > 0)


def interval(samples: np.ndarray, share: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval that holds ``share`` of the samples."""
    low, high = np.nanquantile(samples, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


def shifted_bootstrap_interval(
    samples: np.ndarray, value: float, *, bounds: tuple[float, float] | None = None
) -> tuple[float, float]:
    """Return the 95 % bootstrap interval, moved so that the samples' mean is the measured value.

    Drawing people anew adds noise, which itself spreads locations and raises maxima: unmoved it may
    not even hold its value. ``bounds``, as (0, 100), are what the quantity can be.
    """
    ends = np.array(interval(samples)) + value - np.nanmean(samples)
    low, high = ends if bounds is None else np.clip(ends, *bounds)
    return float(low), float(high)


def fold_interval(differences: np.ndarray, share: float = 0.95) -> tuple[float, float, float]:
    """Return the mean of (F,) figures of folds and the ends of its interval by Student's t."""
    if len(differences) < 2:
        raise UserError(f"an interval over folds needs (F,) of at least 2, {differences.shape}")
    mean, error = float(differences.mean()), sem(differences)
    reach = float(student.ppf((1 + share) / 2, len(differences) - 1) * error)
    return mean, mean - reach, mean + reach
