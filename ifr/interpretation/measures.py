"""Where filters look, what an occlusion changes, and what one part of a face can retrieve.

Positions are pixels of the frontal 96×96 frame, x then y, whatever the size of the network input.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from ifr.common.seeding import stream
from ifr.evaluation import bootstrap_counts, normalised
from ifr.landmarks import GROUPS
from ifr.mesh import FaceMesh

FRAME = 96
SIGNS = ("positive", "negative")
PARTS = ("eyes", "mouth", "nose")


@dataclass(frozen=True, eq=False)
class Peaks:
    """The highest and lowest response of every map, in the frontal frame.

    Attributes:
        positive: (N, K, 2) places of the highest responses; NaN where a peak cannot be placed.
        negative: (N, K, 2) places of the lowest responses.
        positive_weight: (N, K) magnitude of the highest response; 0 where there is no positive one
            or its place is NaN.
        negative_weight: (N, K) likewise for the lowest.
    """

    positive: np.ndarray
    negative: np.ndarray
    positive_weight: np.ndarray
    negative_weight: np.ndarray

    def of(self, sign: str) -> tuple[np.ndarray, np.ndarray]:
        """Return places (N, K, 2) and weights (N, K) of ``"positive"`` or ``"negative"`` peaks."""
        if sign not in SIGNS:
            raise ValueError(f"sign must be positive or negative, got {sign!r}")
        return getattr(self, sign), getattr(self, f"{sign}_weight")

    def __getitem__(self, rows) -> "Peaks":
        """Return the peaks of some of the images."""
        return Peaks(
            self.positive[rows],
            self.negative[rows],
            self.positive_weight[rows],
            self.negative_weight[rows],
        )

    @staticmethod
    def joined(parts: Iterable["Peaks"]) -> "Peaks":
        """Return the peaks of several batches as one."""
        names = ("positive", "negative", "positive_weight", "negative_weight")
        parts = list(parts)
        return Peaks(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))


def peak_locations(
    response: np.ndarray, landmarks: np.ndarray, mesh: FaceMesh, *, place: str = "centre"
) -> Peaks:
    """Find the peaks of LMF(ψ) and warp them to the frontal face (Sec. 4.2).

    Args:
        response: (N, K, h, w), after LMF.
        landmarks: (N, 68, 2) pixels of the 96-pixel crop of each face.
        mesh: the frontal mesh of that frame.
        place: ``"centre"`` of the cell that answers most. The released code takes its upper left
            corner, index × 4; pass ``"corner"`` to match.

    Returns:
        The peaks of each image; of equal responses the first counts.

    Raises:
        ValueError: for shapes that do not fit, or responses that are not finite.
    """
    response = np.asarray(response, np.float32)
    if response.ndim != 4 or len(response) != len(landmarks):
        raise ValueError(
            f"response must be (N, K, h, w) with landmarks of the same N faces, got "
            f"{response.shape} and {np.shape(landmarks)}"
        )
    if not np.isfinite(response).all():
        raise ValueError("response holds values that are not finite")
    if place not in ("centre", "corner"):
        raise ValueError(f"place must be centre or corner, got {place!r}")
    images, filters, height, width = response.shape
    flat = response.reshape(images, filters, height * width)
    found = {}
    for sign, index in (("positive", flat.argmax(-1)), ("negative", flat.argmin(-1))):
        value = np.take_along_axis(flat, index[..., None], -1)[..., 0]
        shift = 0.5 if place == "centre" else 0.0
        cell = np.stack([index % width + shift, index // width + shift], axis=-1)
        points = cell * (FRAME / np.array([width, height]))
        frontal = mesh.transfer(points, np.asarray(landmarks, np.float64), mesh.landmarks)
        inside = ((frontal >= 0) & (frontal <= FRAME)).all(axis=-1)  # released: else dropped
        strength = np.maximum(value if sign == "positive" else -value, 0)
        found[sign] = np.where(inside[..., None], frontal, np.nan)
        found[f"{sign}_weight"] = np.where(inside, strength, 0)
    return Peaks(**found)


def average_locations(
    locations: np.ndarray, weights: np.ndarray, *, spread: str = "deviation"
) -> tuple[np.ndarray, np.ndarray]:
    """Return each filter's weighted mean peak location and its spread over images (Fig. 5).

    Args:
        locations: (N, K, 2), NaN where there is none.
        weights: (N, K) magnitudes of the peaks.
        spread: ``"deviation"``: square root of the weighted mean squared distance to the mean, the
            paper's standard deviation. ``"distance"``: the weighted mean distance, what the
            released code calls std.

    Returns:
        (K, 2) pixels and (K,) pixels; NaN for a filter that never answers.
    """
    if spread not in ("deviation", "distance"):
        raise ValueError(f"spread must be deviation or distance, got {spread!r}")
    known = ~np.isnan(locations).any(axis=-1)
    weights = np.where(known, weights, 0)
    total = weights.sum(axis=0)
    share = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
    places = np.nan_to_num(locations)
    mean = (share[..., None] * places).sum(axis=0)
    distance = np.linalg.norm(places - mean, axis=-1)
    if spread == "distance":
        scatter = (share * distance).sum(axis=0)
    else:
        scatter = np.sqrt((share * distance**2).sum(axis=0))
    silent = total <= 0
    return np.where(silent[:, None], np.nan, mean), np.where(silent, np.nan, scatter)


def spreadness(locations: np.ndarray) -> float:
    """Return d̄: the mean distance of average locations to their mean, pixels (Sec. 4.2).

    Args:
        locations: (K, 2); filters with NaN do not count.

    Raises:
        ValueError: for another shape, or when no filter has a location.
    """
    locations = np.asarray(locations, np.float64)
    if locations.ndim != 2 or locations.shape[1] != 2:
        raise ValueError(f"locations must be (K, 2), got {locations.shape}")
    known = locations[~np.isnan(locations).any(axis=1)]
    if len(known) == 0:
        raise ValueError("no filter has an average location")
    return float(np.linalg.norm(known - known.mean(axis=0), axis=1).mean())


def peak_statistics(peaks: Peaks, *, spread: str = "deviation") -> dict[str, np.ndarray | float]:
    """Return average locations, spreads, d̄ (the mean of both signs) and the mean spread."""
    result: dict[str, np.ndarray | float] = {}
    for sign in SIGNS:
        mean, scatter = average_locations(*peaks.of(sign), spread=spread)
        result[f"{sign}_location"], result[f"{sign}_spread"] = mean, scatter
        result[f"{sign}_dbar"] = spreadness(mean)
        result[f"{sign}_mean_spread"] = float(np.nanmean(scatter))
    result["dbar"] = (result["positive_dbar"] + result["negative_dbar"]) / 2
    result["mean_spread"] = (result["positive_mean_spread"] + result["negative_mean_spread"]) / 2
    return result


def bootstrap_peaks(
    peaks: Peaks, identity: np.ndarray, *, resamples: int, seed: int
) -> dict[str, np.ndarray]:
    """Return d̄, mean spread and centre distance for resampled identities, (resamples,) each.

    Sums over images are kept for each identity, so a resample is a weighted sum. Both signs are
    averaged.
    """
    people = int(identity.max()) + 1
    counts = bootstrap_counts(people, resamples, seed).astype(np.float64)
    total = {name: np.zeros(resamples) for name in ("dbar", "mean_spread", "centre_distance")}
    for sign in SIGNS:
        places, weights = peaks.of(sign)
        known = ~np.isnan(places).any(axis=-1)
        weights, places = np.where(known, weights, 0), np.nan_to_num(places)
        moments = np.concatenate(
            [
                weights[..., None],
                weights[..., None] * places,
                weights[..., None] * (places**2).sum(-1, keepdims=True),
            ],
            axis=-1,
        )
        sums = np.zeros((people, *moments.shape[1:]))
        np.add.at(sums, identity, moments)
        drawn = np.tensordot(counts, sums, 1)  # (B, K, 4): Σw, Σwx, Σwy, Σw|c|²
        weight = np.where(drawn[..., :1] > 0, drawn[..., :1], np.nan)
        mean = drawn[..., 1:3] / weight
        variance = drawn[..., 3] / weight[..., 0] - (mean**2).sum(-1)
        middle = np.nanmean(mean, axis=1, keepdims=True)
        total["dbar"] += np.nanmean(np.linalg.norm(mean - middle, axis=-1), axis=1) / 2
        total["mean_spread"] += np.nanmean(np.sqrt(np.maximum(variance, 0)), axis=1) / 2
        distance = np.linalg.norm(mean - FRAME / 2, axis=-1)
        total["centre_distance"] += np.nanmean(distance, axis=1) / 2
    return total


def centre_distance(locations: np.ndarray) -> float:
    """Return the mean distance of average locations (K, 2) to the image centre, pixels (C03)."""
    return float(np.nanmean(np.linalg.norm(locations - FRAME / 2, axis=1)))


def peak_share(response: np.ndarray, keep: int) -> np.ndarray:
    """Return the share of each map's total magnitude in its ``keep`` largest responses (C05).

    Args:
        response: (N, K, h, w) before LMF.
        keep: how many, 24 of 576 in the paper.

    Returns:
        (N, K), 1 for a map whose whole answer fits; NaN for an all-zero map.
    """
    magnitude = np.abs(response.reshape(*response.shape[:2], -1))
    largest = np.partition(magnitude, -keep, axis=-1)[..., -keep:].sum(axis=-1)
    total = magnitude.sum(axis=-1)
    return np.divide(largest, total, out=np.full_like(total, np.nan), where=total > 0)


def feature_difference(
    clean: np.ndarray, occluded: np.ndarray, *, normalise: bool = True
) -> np.ndarray:
    """Return |f(I) - f(Î)| of each image and element; its mean over images is Figure 6.

    Args:
        clean: (N, K) features.
        occluded: (N, K) features of the same faces, occluded.
        normalise: L2-normalise each feature first, as the released code does; the paper does not
            say, and features of unlike networks could not be compared otherwise.

    Returns:
        (N, K).

    Raises:
        ValueError: if the shapes differ.
    """
    if clean.shape != occluded.shape or clean.ndim != 2:
        raise ValueError(
            f"features must be two (N, K) arrays, got {clean.shape} and {occluded.shape}"
        )
    if normalise:
        clean, occluded = normalised(clean), normalised(occluded)
    return np.abs(clean - occluded)


def gini(values: np.ndarray) -> float:
    """Return the Gini coefficient of non-negative values: 0 all alike, towards 1 a single one."""
    ordered = np.sort(np.asarray(values, np.float64))
    if ordered.size == 0 or ordered[0] < 0:
        raise ValueError("the Gini coefficient needs at least one value and none below 0")
    total, count = ordered.sum(), len(ordered)
    if total == 0:
        return 0.0
    return float((2 * np.arange(1, count + 1) - count - 1) @ ordered / (count * total))


def changed_share(difference: np.ndarray, of_largest: float = 0.1) -> float:
    """Return the share of elements (K,) whose difference exceeds a tenth of the largest (C20)."""
    return float((difference > of_largest * difference.max()).mean())


def distance_to_box(locations: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    """Return the distance of (K, 2) locations to a rectangle x, y, width, height; 0 inside."""
    low = np.array(box[:2], np.float64)
    high = low + box[2:]
    return np.linalg.norm(np.maximum(np.maximum(low - locations, locations - high), 0), axis=-1)


def occluder_proximity_correlation(
    difference: np.ndarray,
    locations: np.ndarray,
    box: tuple[float, float, float, float],
    *,
    permutations: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return how strongly larger differences lie nearer the occluder (C21).

    Args:
        difference: (K,) mean feature difference.
        locations: (K, 2) average locations.
        box: the occluder in the frontal frame.
        permutations: of the filters, behind the p-value.
        seed: of the named stream.

    Returns:
        Spearman's rank correlation of difference with the negative distance, 1 when the nearest
        change most; and the share of permutations with a correlation at least as high.
    """
    known = ~np.isnan(locations).any(axis=1)
    nearness = -distance_to_box(locations[known], box)
    change = difference[known]
    if len(change) < 3 or np.ptp(nearness) == 0 or np.ptp(change) == 0:
        return 0.0, 1.0
    observed = float(spearmanr(change, nearness).statistic)
    rng = stream(seed, "permutation/change follows place")
    ranks = np.argsort(np.argsort(change))
    rank_near = np.argsort(np.argsort(nearness))
    shuffled = np.array(
        [np.corrcoef(rng.permutation(ranks), rank_near)[0, 1] for _ in range(permutations)]
    )
    return observed, float((1 + (shuffled >= observed).sum()) / (1 + permutations))


def consistency(
    locations: np.ndarray, weights: np.ndarray, groups: np.ndarray
) -> tuple[float, float]:
    """Return how far a filter's place moves between groups, and within them (C23).

    Args:
        locations: (N, K, 2) peaks in the frontal frame.
        weights: (N, K).
        groups: (N,) group of each image: its identity, or its yaw bin.

    Returns:
        The mean over filters of the distance between a group's average location and the filter's,
        and of the weighted spread around the group's, pixels.
    """
    overall, _ = average_locations(locations, weights)
    between, within = [], []
    for group in np.unique(groups):
        mean, scatter = average_locations(locations[groups == group], weights[groups == group])
        between.append(np.linalg.norm(mean - overall, axis=1))
        within.append(scatter)
    return float(np.nanmean(between)), float(np.nanmean(within))


def peak_shift(clean: np.ndarray, occluded: np.ndarray, covered: np.ndarray) -> tuple[float, float]:
    """Return how far peaks move when an occluder is put on, inside and outside of it (C24).

    Args:
        clean: (N, K, 2) peaks without the occluder.
        occluded: (N, K, 2) peaks of the twins with it.
        covered: (N, K) whether the clean peak lies where the occluder will be.

    Returns:
        Mean distance in pixels for covered and for uncovered peaks; NaN when there are none.
    """
    moved = np.linalg.norm(occluded - clean, axis=-1)
    known = ~np.isnan(moved)
    means = [
        moved[known & which].mean() if (known & which).any() else np.nan
        for which in (covered, ~covered)
    ]
    return float(means[0]), float(means[1])


def part_filters(locations: np.ndarray, mesh: FaceMesh, *, margin: float = 4.0) -> dict:
    """Return the filters of eyes, mouth and nose by where they look on average (Sec. 4.4).

    A filter belongs to a part when its average location lies in the part's box of frontal
    landmarks,
    widened by ``margin``; where boxes overlap, to the part whose centre is nearer.

    Args:
        locations: (K, 2) average locations in the frontal frame.
        mesh: the frontal mesh of that frame.
        margin: pixels.

    Returns:
        Part name -> indices of its filters; possibly empty.
    """
    landmarks = mesh.landmarks
    groups = {
        "eyes": [
            np.r_[GROUPS["right_eye"], GROUPS["right_brow"]],
            np.r_[GROUPS["left_eye"], GROUPS["left_brow"]],
        ],
        "mouth": [np.r_[GROUPS["mouth"]]],
        "nose": [np.r_[GROUPS["nose"]]],
    }
    distance = np.full((len(PARTS), len(locations)), np.inf)
    for row, part in enumerate(PARTS):
        for group in groups[part]:
            points = landmarks[group]
            low, high = points.min(axis=0) - margin, points.max(axis=0) + margin
            with np.errstate(invalid="ignore"):
                inside = ((locations >= low) & (locations <= high)).all(axis=1)
            away = np.linalg.norm(locations - points.mean(axis=0), axis=1)
            distance[row] = np.minimum(distance[row], np.where(inside, away, np.inf))
    owner = np.where(np.isfinite(distance.min(axis=0)), distance.argmin(axis=0), -1)
    return {part: np.flatnonzero(owner == row) for row, part in enumerate(PARTS)}


def part_retrieval(
    features: np.ndarray, identity: np.ndarray, filters: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Retrieve by the elements of one part alone (Sec. 4.4).

    Args:
        features: (N, K), two images of each person.
        identity: (N,).
        filters: indices of the part's filters; all others are masked out.

    Returns:
        hits (N,) float, whether the nearest other image is of the same person; and order
        (N, N - 1), the other images from the most alike down.

    Raises:
        ValueError: if the part has no filter.
    """
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
