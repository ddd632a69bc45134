"""The AR protocol: equal error rate over random pairs of occluded faces (Sec. 4.3)."""

import numpy as np

from ifr.common.seeding import stream
from ifr.evaluation.metrics import equal_error_rate, normalised
from ifr.evaluation.resampling import bootstrap_counts


def draw_pairs(
    identity: np.ndarray, pairs: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw pairs of one person and as many of two, without repetition.

    Args:
        identity: (N,) of each image.
        pairs: of each kind; fewer where there are not so many.
        rng: a named stream.

    Returns:
        (2 M, 2) image indices, and (2 M,) bool.
    """
    first, second = np.triu_indices(len(identity), k=1)
    same = identity[first] == identity[second]
    kinds = [np.flatnonzero(same), np.flatnonzero(~same)]
    count = min(pairs, *(len(kind) for kind in kinds))
    chosen = np.concatenate([rng.choice(kind, count, replace=False) for kind in kinds])
    return np.stack([first[chosen], second[chosen]], axis=1), same[chosen]


def eer_over_draws(
    features: np.ndarray, identity: np.ndarray, *, pairs: int = 6000, draws: int = 10, seed: int = 0
) -> np.ndarray:
    """Return the equal error rate in percent of each draw of same and different pairs (Sec. 4.3).

    Args:
        features: (N, K) of the images with glasses or scarf.
        identity: (N,).
        pairs: of each kind a draw; the paper takes 6,000.
        draws: the paper reports one.
        seed: of the named stream.
    """
    unit, rates = normalised(features), []
    for draw in range(draws):
        chosen, same = draw_pairs(identity, pairs, stream(seed, "protocol/ar pairs", draw))
        scores = (unit[chosen[:, 0]] * unit[chosen[:, 1]]).sum(axis=1)
        rates.append(100 * equal_error_rate(scores, same))
    return np.array(rates)


def bootstrap_eer(
    features: np.ndarray, identity: np.ndarray, *, pairs: int, resamples: int, seed: int = 0
) -> np.ndarray:
    """Return the equal error rate in percent for resampled test identities, (resamples,)."""
    chosen, same = draw_pairs(identity, pairs, stream(seed, "protocol/ar pairs", 0))
    unit = normalised(features)
    scores = (unit[chosen[:, 0]] * unit[chosen[:, 1]]).sum(axis=1)
    counts = bootstrap_counts(int(identity.max()) + 1, resamples, seed)
    one, two = counts[:, identity[chosen[:, 0]]], counts[:, identity[chosen[:, 1]]]
    return 100 * equal_error_rate(scores, same, weights=np.where(same, one, one * two))


def ar_protocol(
    features: np.ndarray, identity: np.ndarray, *, pairs: int = 6000, draws: int = 10, seed: int = 0
) -> tuple[float, float, np.ndarray]:
    """Return the equal error rate of cosines, in percent, over several draws of random pairs.

    The paper reports one draw; we report the mean of ten and their standard deviation.

    Args:
        features: (N, K) of the images with glasses or scarf, 810 in the paper.
        identity: (N,).
        pairs: of each kind a draw, or all there are.
        draws: how many.
        seed: of the named stream.

    Returns:
        Mean, standard deviation (ddof 1, NaN for one draw), and (draws,) each.

    Raises:
        ValueError: for features and identities that do not fit, features that are not finite, or
            images without a pair of one person or without a pair of two.
    """
    features, identity = np.asarray(features), np.asarray(identity)
    if features.ndim != 2 or identity.shape != (len(features),) or draws < 1:
        raise ValueError(
            "features must be (N, K), identity (N,) and draws >= 1, got "
            f"{features.shape}, {identity.shape} and {draws}"
        )
    if not np.isfinite(features).all():
        raise ValueError("features hold values that are not finite")
    people, images = np.unique(identity, return_counts=True)
    if len(people) < 2 or images.max() < 2:
        raise ValueError(
            f"{len(people)} people with at most {images.max(initial=0)} images: needed are two "
            "people, and two images of one"
        )
    rates = eer_over_draws(features, identity, pairs=pairs, draws=draws, seed=seed)
    return float(rates.mean()), float(rates.std(ddof=1)) if draws > 1 else float("nan"), rates
