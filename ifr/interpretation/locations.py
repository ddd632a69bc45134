"""Each filter's average location, how steadily it keeps to it, and the spreadness d̄ (Fig. 5).

The *scatter* of a filter is how far its own peaks lie from its average location; *spreadness* is
how far the average locations of all filters lie apart.
"""

from typing import Any

import numpy as np

from ifr.evaluation import bootstrap_counts
from ifr.interpretation.peaks import SIGNS, Peaks
from ifr.landmarks import CROP_SIZE


def average_locations(
    locations: np.ndarray, weights: np.ndarray, *, scatter: str = "deviation"
) -> tuple[np.ndarray, np.ndarray]:
    """Return each filter's mean peak location (K, 2) and scatter (K,) over images (Fig. 5), pixels.

    Peaks (N, K, 2), NaN where there is none, count by their magnitudes (N, K); a filter that never
    answers gets NaN. The scatter is the paper's standard deviation; the released code calls the
    mean distance so: pass ``"distance"`` to match.
    """
    if scatter not in ("deviation", "distance"):
        raise ValueError(f"scatter must be deviation or distance, got {scatter!r}")
    known = ~np.isnan(locations).any(axis=-1)
    weights = np.where(known, weights, 0)
    total = weights.sum(axis=0)
    share = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
    places = np.nan_to_num(locations)
    mean = (share[..., None] * places).sum(axis=0)
    distance = np.linalg.norm(places - mean, axis=-1)
    power = 1 if scatter == "distance" else 2
    around = (share * distance**power).sum(axis=0) ** (1 / power)
    silent = total <= 0
    return np.where(silent[:, None], np.nan, mean), np.where(silent, np.nan, around)


def spreadness(locations: np.ndarray) -> float:
    """Return d̄: the mean distance of average locations (K, 2), but NaN, to their mean (Sec. 4.2).

    >>> spreadness(np.array([[0.0, 0.0], [6.0, 8.0]]))
    5.0
    """
    locations = np.asarray(locations, np.float64)
    if locations.ndim != 2 or locations.shape[1] != 2:
        raise ValueError(f"locations must be (K, 2), got {locations.shape}")
    known = locations[~np.isnan(locations).any(axis=1)]
    if len(known) == 0:
        raise ValueError("no filter has an average location")
    return float(np.linalg.norm(known - known.mean(axis=0), axis=1).mean())


def centre_distance(locations: np.ndarray) -> float:
    """Return the mean distance of average locations (K, 2) to the image centre, pixels (C03)."""
    return float(np.nanmean(np.linalg.norm(locations - CROP_SIZE / 2, axis=1)))


def peak_statistics(peaks: Peaks, *, scatter: str = "deviation") -> dict[str, Any]:
    """Return ``<sign>_`` location, scatter, dbar and mean_scatter, and the means of both signs."""
    result: dict[str, Any] = {}
    for sign in SIGNS:
        mean, around = average_locations(*peaks.of(sign), scatter=scatter)
        result[f"{sign}_location"], result[f"{sign}_scatter"] = mean, around
        result[f"{sign}_dbar"] = spreadness(mean)
        result[f"{sign}_mean_scatter"] = float(np.nanmean(around))
    for name in ("dbar", "mean_scatter"):
        result[name] = (result[f"positive_{name}"] + result[f"negative_{name}"]) / 2
    return result


def bootstrap_peaks(
    peaks: Peaks, identity: np.ndarray, *, resamples: int, seed: int
) -> dict[str, np.ndarray]:
    """Return dbar, mean_scatter and centre_distance for resampled identities, (resamples,) each."""
    people = int(identity.max()) + 1
    counts = bootstrap_counts(people, resamples, seed).astype(np.float64)
    total = {name: np.zeros(resamples) for name in ("dbar", "mean_scatter", "centre_distance")}
    for sign in SIGNS:
        places, weights = peaks.of(sign)
        known = ~np.isnan(places).any(axis=-1)
        weights, places = np.where(known, weights, 0)[..., None], np.nan_to_num(places)
        squares = (places**2).sum(-1, keepdims=True)
        moments = np.concatenate([weights, weights * places, weights * squares], axis=-1)
        # Sums are kept for each identity, so a resample is a weighted sum.
        sums = np.zeros((people, *moments.shape[1:]))
        np.add.at(sums, identity, moments)
        drawn = np.tensordot(counts, sums, 1)  # (B, K, 4): Σw, Σwx, Σwy, Σw|c|²
        weight = np.where(drawn[..., :1] > 0, drawn[..., :1], np.nan)
        mean = drawn[..., 1:3] / weight
        variance = drawn[..., 3] / weight[..., 0] - (mean**2).sum(-1)
        middle = np.nanmean(mean, axis=1, keepdims=True)
        total["dbar"] += np.nanmean(np.linalg.norm(mean - middle, axis=-1), axis=1) / 2
        total["mean_scatter"] += np.nanmean(np.sqrt(np.maximum(variance, 0)), axis=1) / 2
        off_centre = np.linalg.norm(mean - CROP_SIZE / 2, axis=-1)
        total["centre_distance"] += np.nanmean(off_centre, axis=1) / 2
    return total


def strongest_locations(peaks: Peaks) -> np.ndarray:
    """Return one average location for each filter: that of its stronger sign, (K, 2) pixels."""
    return _of_stronger_sign(peaks)[0]


def steady_filters(peaks: Peaks, count: int) -> np.ndarray:
    """Return ``count`` filters whose stronger sign keeps to its place, as :func:`pick_filters`."""
    return pick_filters(*_of_stronger_sign(peaks), count)


def _of_stronger_sign(peaks: Peaks) -> tuple[np.ndarray, np.ndarray]:
    """Return average location (K, 2) and scatter (K,) of each filter's stronger sign."""
    averages = [average_locations(*peaks.of(sign)) for sign in SIGNS]
    stronger = np.argmax([peaks.of(sign)[1].sum(axis=0) for sign in SIGNS], axis=0)
    columns = np.arange(len(stronger))
    locations, scatter = map(np.stack, zip(*averages, strict=True))
    return locations[stronger, columns], scatter[stronger, columns]


def pick_filters(locations: np.ndarray, scatter: np.ndarray, count: int) -> np.ndarray:
    """Return at most ``count`` filters of small scatter (K,), far apart, from top to bottom.

    Of the half with the smaller scatter the steadiest is taken first, then again and again the one
    farthest from those taken; never one whose location is NaN.
    """
    steady = np.flatnonzero(scatter <= np.nanmedian(scatter))
    steady = steady[np.argsort(scatter[steady], kind="stable")]
    taken = list(steady[:1])
    while len(taken) < min(count, len(steady)):
        gaps = locations[steady][:, None] - locations[taken]
        taken.append(steady[np.linalg.norm(gaps, axis=-1).min(axis=1).argmax()])
    return np.array(sorted(taken, key=lambda k: locations[k, 1]))


def consistency(
    locations: np.ndarray, weights: np.ndarray, groups: np.ndarray
) -> tuple[float, float]:
    """Return how far a filter's place moves between groups (N,) of images, and within them (C23).

    Means over filters, in pixels: the distance of a group's average location to the filter's, and
    the weighted scatter around the group's. A group may be an identity or a yaw bin.
    """
    overall, _ = average_locations(locations, weights)
    between, within = [], []
    for group in np.unique(groups):
        mean, scatter = average_locations(locations[groups == group], weights[groups == group])
        between.append(np.linalg.norm(mean - overall, axis=1))
        within.append(scatter)
    return float(np.nanmean(between)), float(np.nanmean(within))


def resampled_consistency(
    peaks: Peaks, groups: np.ndarray, identity: np.ndarray, *, resamples: int, seed: int
) -> tuple[float, np.ndarray]:
    """Return how far places move between groups (C23), mean of signs, and of resampled people."""

    def between(counts: np.ndarray) -> float:
        weighted = ((places, weights * counts[identity, None]) for places, weights in both)
        return float(np.mean([consistency(*one, groups)[0] for one in weighted]))

    both = [peaks.of(sign) for sign in SIGNS]
    people = int(identity.max()) + 1
    draws = bootstrap_counts(people, resamples, seed)
    return between(np.ones(people)), np.array([between(counts) for counts in draws])
