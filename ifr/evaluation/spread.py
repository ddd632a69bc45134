"""How far a figure moves when other people had been drawn: the bootstrap over identities."""

import numpy as np

from ifr.seeding import stream


def resampled_counts(identities: int, resamples: int, seed: int) -> np.ndarray:
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
        (resamples, ...).
    """
    values = np.asarray(values, np.float64)
    people = int(identity.max()) + 1
    known = ~np.isnan(values)
    total = np.zeros((people, *values.shape[1:]))
    number = np.zeros_like(total)
    np.add.at(total, identity, np.where(known, values, 0))
    np.add.at(number, identity, known)
    counts = resampled_counts(people, resamples, seed).astype(np.float64)
    return np.tensordot(counts, total, 1) / np.maximum(np.tensordot(counts, number, 1), 1e-12)


def interval(samples: np.ndarray, share: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval that holds ``share`` of the samples."""
    low, high = np.nanquantile(samples, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)
