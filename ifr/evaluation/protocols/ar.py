"""The AR protocol: equal error rate over random pairs of occluded faces (Sec. 4.3)."""

import numpy as np

from ifr.common.errors import UserError
from ifr.common.seeding import stream
from ifr.evaluation.metrics import equal_error_rate, normalised
from ifr.evaluation.resampling import bootstrap_counts
from ifr.evaluation.templates import score_pairs


def draw_pairs(
    identity: np.ndarray, pairs: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw up to ``pairs`` pairs of one person and as many of two, (2 M, 2), and truth (2 M,)."""
    first, second = np.triu_indices(len(identity), k=1)
    same = identity[first] == identity[second]
    kinds = [np.flatnonzero(same), np.flatnonzero(~same)]
    count = min(pairs, *(len(kind) for kind in kinds))
    chosen = np.concatenate([rng.choice(kind, count, replace=False) for kind in kinds])
    return np.stack([first[chosen], second[chosen]], axis=1), same[chosen]


def ar_protocol(
    features: np.ndarray, identity: np.ndarray, *, pairs: int = 6000, draws: int = 10, seed: int = 0
) -> np.ndarray:
    """Return the equal error rate of cosines, in percent, of each draw of random pairs, (draws,).

    The paper reports one draw, of 810 faces; we report mean and standard deviation of ten.
    """
    features, identity = np.asarray(features), np.asarray(identity)
    if features.ndim != 2 or identity.shape != (len(features),):
        shapes = f"{features.shape} and {identity.shape}"
        raise UserError(f"features must be (N, K) and identity (N,), got {shapes}")
    people, images = np.unique(identity, return_counts=True)
    if len(people) < 2 or images.max() < 2:
        given = f"{len(people)} people with at most {images.max(initial=0)} images"
        raise UserError(f"{given}: needed are two people, and two images of one")
    drawn = (_scored_draw(features, identity, pairs, seed, draw) for draw in range(draws))
    return np.array([100 * equal_error_rate(scores, same) for scores, same, _ in drawn])


def bootstrap_eer(
    features: np.ndarray, identity: np.ndarray, *, pairs: int, resamples: int, seed: int = 0
) -> np.ndarray:
    """Return the equal error rate in percent for resampled test identities, (resamples,)."""
    scores, same, chosen = _scored_draw(features, identity, pairs, seed, 0)
    counts = bootstrap_counts(int(identity.max()) + 1, resamples, seed)
    one, two = (counts[:, identity[side]] for side in chosen.T)
    weights = np.where(same, one, one * two)
    return 100 * np.asarray(equal_error_rate(scores, same, weights=weights))


def _scored_draw(
    features: np.ndarray, identity: np.ndarray, pairs: int, seed: int, draw: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return scores (P,), truth (P,) and images (P, 2) of one draw of pairs."""
    chosen, same = draw_pairs(identity, pairs, stream(seed, "protocol/ar pairs", draw))
    return score_pairs(normalised(features), chosen), same, chosen
