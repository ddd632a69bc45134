"""What one part of the face can retrieve: the filters of eyes, mouth and nose (Sec. 4.4)."""

import numpy as np

from ifr.evaluation import bootstrap_mean, interval, normalised
from ifr.landmarks import GROUPS
from ifr.mesh import FaceMesh

PARTS = {  # name -> groups of landmarks, each with a box of its own
    "eyes": (("right_eye", "right_brow"), ("left_eye", "left_brow")),
    "mouth": (("mouth",),),
    "nose": (("nose",),),
}


def part_filters(
    locations: np.ndarray, mesh: FaceMesh, *, margin: float = 4.0
) -> dict[str, np.ndarray]:
    """Return the filters of eyes, mouth and nose by where they look on average (Sec. 4.4).

    A filter belongs to a part when its average location (K, 2) lies in the box of the part's
    frontal landmarks, widened by ``margin``; where boxes overlap, to the part with the nearer
    centre. Part name -> indices of its filters, possibly none.
    """
    distance = np.full((len(PARTS), len(locations)), np.inf)
    for row, boxes in enumerate(PARTS.values()):
        for names in boxes:
            points = np.concatenate([mesh.landmarks[GROUPS[name]] for name in names])
            low, high = points.min(axis=0) - margin, points.max(axis=0) + margin
            inside = ((locations >= low) & (locations <= high)).all(axis=1)
            away = np.linalg.norm(locations - points.mean(axis=0), axis=1)
            distance[row] = np.minimum(distance[row], np.where(inside, away, np.inf))
    owner = np.where(np.isfinite(distance.min(axis=0)), distance.argmin(axis=0), -1)
    return {part: np.flatnonzero(owner == row) for row, part in enumerate(PARTS)}


def part_retrieval(
    features: np.ndarray, identity: np.ndarray, filters: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return hits (N,) and order (N, N - 1) of the other images by one part alone (Sec. 4.4)."""
    if len(filters) == 0:
        raise ValueError("the part has no filter: no average location lies on it")
    part = normalised(features[:, filters])
    similarity = part @ part.T
    np.fill_diagonal(similarity, -np.inf)
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :-1]
    return (identity[order[:, 0]] == identity).astype(float), order


def retrieval_pairs(identity: np.ndarray, people: int, rng: np.random.Generator) -> np.ndarray:
    """Return indices of two random images of each of ``people`` random identities, (2 people,)."""
    known = [p for p in np.unique(identity) if (identity == p).sum() >= 2]
    chosen = rng.permutation(known)[:people]
    pairs = [rng.choice(np.flatnonzero(identity == p), 2, replace=False) for p in chosen]
    return np.concatenate(pairs)


def retrieval_rate(
    features: np.ndarray, identity: np.ndarray, filters: np.ndarray, *, resamples: int, seed: int
) -> tuple[float, float, float]:
    """Return rank-1 by some filters alone and its 95 % interval, percent; NaN without filters.

    For the interval people are drawn anew as queries; the images searched stay (Sec. 4.4).
    """
    if len(filters) == 0:
        return (float("nan"),) * 3
    hits = 100 * part_retrieval(features, identity, filters)[0]
    draws = bootstrap_mean(hits, identity, resamples=resamples, seed=seed)
    return (float(hits.mean()), *interval(draws))


def random_filters_rate(
    features: np.ndarray, identity: np.ndarray, count: int, rng: np.random.Generator
) -> float:
    """Return the mean rank-1 in percent of twenty draws of ``count`` filters, NaN for none."""
    if count == 0:
        return float("nan")
    drawn = (rng.choice(features.shape[1], count, replace=False) for _ in range(20))
    rates = [part_retrieval(features, identity, filters)[0] for filters in drawn]
    return 100 * float(np.mean(rates))
