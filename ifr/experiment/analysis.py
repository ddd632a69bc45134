"""What the notebooks on filters share: the faces they look at, their peaks, and occluded twins."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import rankdata

from ifr.common import seeding
from ifr.datasets import FaceSet
from ifr.evaluation import bootstrap_counts, bootstrap_mean, interval
from ifr.experiment.run import Run
from ifr.faces import build_identity, draw_shot, render
from ifr.interpretation import (
    SIGNS,
    Peaks,
    average_locations,
    consistency,
    distance_to_box,
    part_retrieval,
    peak_locations,
)
from ifr.landmarks import CROP_OFFSET
from ifr.models import InterpretableFaceNet, large_magnitude_filter

BATCH = 128  # faces whose response maps are held at once: 94 MB of 320 maps of 24 x 24 pixels
TWIN_SHOT = 500_000  # shot number of the twins, which no data set reaches


def clean_faces(run: Run, count: int | None = None, name: str = "templates") -> FaceSet:
    """Return random faces of held-out people at all poses, without an occluder (Sec. 4.2).

    Of a set that does not name occluders, such as photographs, any face may be drawn.

    Args:
        run: the run.
        count: how many; the profile's ``analysis_images`` if None, all there are if fewer.
        name: of the set.
    """
    everyone = run.data(name)
    worn = everyone.attributes.get("occluder", np.full(len(everyone), "none"))
    clean = np.flatnonzero(np.asarray(worn) == "none")
    count = min(count or run.profile.analysis_images, len(clean))
    chosen = seeding.stream(run.seed, "analysis/faces").choice(clean, count, replace=False)
    return everyone[np.sort(chosen)]


@torch.no_grad()
def network_peaks(
    model: InterpretableFaceNet,
    run: Run,
    faces: FaceSet,
    *,
    rate: float | None = None,
    box: tuple[float, float, float, float] | None = None,
) -> Peaks:
    """Return the peaks of every filter on faces, in the frontal 96-pixel frame.

    Args:
        model: in evaluation mode.
        run: whose mesh and input size are used.
        faces: with landmarks.
        rate: LMF rate; the network's own if None. Peaks do not depend on it, except that a filter
            may keep no response of one sign.
        box: rectangle of the frontal frame that is blackened on every face first.
    """
    rate = model.rate if rate is None else rate
    parts = []
    for first in range(0, len(faces), BATCH):
        some = faces[first : first + BATCH]
        images = run.images(some) if box is None else run.occluded_images(some, box)
        response = large_magnitude_filter(model.response(images).float(), rate)
        parts.append(peak_locations(response.numpy(), run.crop_landmarks(some), run.mesh96))
    return Peaks.joined(parts)


def filter_peaks(run: Run, variant: str, faces: FaceSet) -> Peaks:
    """Return the peaks of a trained variant on faces."""
    return network_peaks(run.model(variant), run, faces)


def strongest_locations(peaks: Peaks) -> np.ndarray:
    """Return one average location for each filter: that of its stronger sign, (K, 2) pixels."""
    locations = np.stack([average_locations(*peaks.of(sign))[0] for sign in SIGNS])
    weights = np.stack([peaks.of(sign)[1].sum(axis=0) for sign in SIGNS])
    return locations[weights.argmax(axis=0), np.arange(locations.shape[1])]


@dataclass(frozen=True, eq=False)
class OccludedPairs:
    """Faces photographed twice, without and with an occluder, all else alike.

    Attributes:
        clean: the faces without it, with landmarks.
        occluded: the same faces with it.
        masks: (N, 96, 96) bool, where the occluder colours the 96-pixel crop.
    """

    clean: FaceSet
    occluded: FaceSet
    masks: np.ndarray


def render_occluded_pairs(
    identity_seeds: np.ndarray, occluder: str, *, yaw: float | str = 0.0
) -> OccludedPairs:
    """Photograph people with and without an occluder (Fig. 1).

    Args:
        identity_seeds: (N,) seeds of the identities.
        occluder: a name in ``OCCLUDERS``.
        yaw: of all faces, degrees; or a name in ``YAWS``.
    """
    pairs = [
        [
            render(
                identity,
                draw_shot(
                    seed, TWIN_SHOT, yaw=yaw, expression="neutral", lighting="even", occluder=worn
                ),
            )
            for worn in ("none", occluder)
        ]
        for seed in map(int, identity_seeds)
        for identity in [build_identity(seed)]
    ]
    sets = [
        FaceSet(
            f"twins {name}",
            np.stack([pair[column].image for pair in pairs]),
            np.arange(len(pairs)),
            np.stack([pair[column].landmarks for pair in pairs]),
        )
        for column, name in enumerate(("clean", occluder))
    ]
    crop = slice(CROP_OFFSET, CROP_OFFSET + 96)
    masks = np.stack([pair[1].occluder_mask[crop, crop] for pair in pairs])
    return OccludedPairs(*sets, masks)


def as_pictures(images: torch.Tensor) -> np.ndarray:
    """Return network input (N, 3, S, S) in [-1, 1] as (N, S, S, 3) uint8 pictures."""
    scaled = (images.permute(0, 2, 3, 1) + 1) * 127.5
    return scaled.round().clamp(0, 255).byte().numpy()


def resampled_proximity_correlation(
    differences: np.ndarray, locations: np.ndarray, box: tuple[float, float, float, float]
) -> np.ndarray:
    """Return the rank correlation of change and nearness to the occluder for each resample (C21).

    Args:
        differences: (B, K) mean feature differences of B resamples.
        locations: (K, 2) average locations; filters with NaN do not count.
        box: the occluder in the frontal frame.

    Returns:
        (B,), as ``occluder_proximity_correlation`` gives it for one resample.
    """
    known = ~np.isnan(locations).any(axis=1)
    nearness = rankdata(-distance_to_box(locations[known], box))
    change = rankdata(differences[:, known], axis=1)
    nearness, change = nearness - nearness.mean(), change - change.mean(axis=1, keepdims=True)
    scale = np.linalg.norm(change, axis=1) * np.linalg.norm(nearness)
    return np.divide(change @ nearness, scale, out=np.zeros(len(change)), where=scale > 0)


def shifted_bootstrap_interval(samples: np.ndarray, value: float) -> tuple[float, float]:
    """Return the 95 % bootstrap interval, moved so that the samples' mean is the measured value.

    Drawing people anew adds noise, and noise itself spreads locations and raises maxima; without
    the shift such an interval may not even hold the value it is meant for.
    """
    low, high = interval(samples)
    bias = float(np.nanmean(samples)) - value
    return low - bias, high - bias


def pick_filters(locations: np.ndarray, spread: np.ndarray, count: int) -> np.ndarray:
    """Return ``count`` filters that keep to their place, far apart, ordered from top to bottom.

    Of the half with the smaller spread the steadiest is taken first, then again and again the one
    farthest from those taken.

    Args:
        locations: (K, 2) average locations; NaN is never taken.
        spread: (K,) pixels.
        count: how many; fewer if there are not as many.
    """
    steady = np.flatnonzero(spread <= np.nanmedian(spread))
    steady = steady[np.argsort(spread[steady], kind="stable")]
    taken = list(steady[:1])
    while len(taken) < min(count, len(steady)):
        gaps = locations[steady][:, None] - locations[taken]
        taken.append(steady[np.linalg.norm(gaps, axis=-1).min(axis=1).argmax()])
    return np.array(sorted(taken, key=lambda k: locations[k, 1]))


def map_scatter(response: np.ndarray) -> np.ndarray:
    """Return how far the magnitude of each map (N, K, h, w) lies from its own centre, pixels of 96.

    The root of the magnitude-weighted mean squared distance, (N, K); NaN for an all-zero map.
    """
    height, width = response.shape[2:]
    y, x = ((np.arange(size) + 0.5) * (96 / size) for size in (height, width))
    magnitude = np.abs(response)
    total = magnitude.sum(axis=(2, 3))
    share = magnitude / np.where(total > 0, total, np.nan)[..., None, None]
    across, down = share.sum(axis=2), share.sum(axis=3)
    variance = across @ x**2 - (across @ x) ** 2 + down @ y**2 - (down @ y) ** 2
    return np.sqrt(np.maximum(variance, 0))


def covered_filters(run: Run, peaks: Peaks, twins: OccludedPairs) -> tuple[np.ndarray, np.ndarray]:
    """Return the peaks of the clean twins the occluder will cover, and those it will not (C24).

    Args:
        run: whose mesh is used.
        peaks: of the clean twins.
        twins: the faces.

    Returns:
        For positive and negative peaks side by side: (N, 2K) bool covered, (N, 2K) bool uncovered.
        Peaks without a place are in neither.
    """
    landmarks = run.crop_landmarks(twins.clean)
    covered, uncovered = [], []
    for sign in SIGNS:
        places, weights = peaks.of(sign)
        known = (weights > 0) & ~np.isnan(places).any(axis=-1)
        there = run.mesh96.transfer(np.nan_to_num(places), run.mesh96.landmarks, landmarks)
        column, row = np.moveaxis(np.clip(np.floor(there), 0, 95).astype(int), -1, 0)
        hidden = twins.masks[np.arange(len(places))[:, None], row, column]
        covered.append(known & hidden)
        uncovered.append(known & ~hidden)
    return np.concatenate(covered, axis=1), np.concatenate(uncovered, axis=1)


def peak_moves(clean: Peaks, occluded: Peaks) -> np.ndarray:
    """Return how far each peak moves between twins, (N, 2K) pixels; NaN where one has no peak."""
    moves = []
    for sign in SIGNS:
        (before, one), (after, two) = clean.of(sign), occluded.of(sign)
        moved = np.linalg.norm(after - before, axis=-1)
        moves.append(np.where((one > 0) & (two > 0), moved, np.nan))
    return np.concatenate(moves, axis=1)


def resampled_consistency(
    peaks: Peaks, groups: np.ndarray, identity: np.ndarray, *, resamples: int, seed: int
) -> tuple[float, np.ndarray]:
    """Return how far a filter's place moves between groups of faces, also for resamples (C23).

    Args:
        peaks: of the faces; both signs are averaged.
        groups: (N,), such as yaw bins.
        identity: (N,).
        resamples: how often the people are drawn anew.
        seed: of the named stream.

    Returns:
        Pixels, and (resamples,) pixels.
    """

    def between(counts: np.ndarray) -> float:
        moved = [
            consistency(peaks.of(sign)[0], peaks.of(sign)[1] * counts[identity, None], groups)[0]
            for sign in SIGNS
        ]
        return float(np.mean(moved))

    people = int(identity.max()) + 1
    draws = bootstrap_counts(people, resamples, seed)
    return between(np.ones(people)), np.array([between(counts) for counts in draws])


def retrieval_rate(
    features: np.ndarray, identity: np.ndarray, filters: np.ndarray, *, resamples: int, seed: int
) -> tuple[float, float, float]:
    """Return rank-1 by some filters alone with its 95 % interval over people drawn anew (Sec. 4.4).

    Args:
        features: (N, K), two images of each person.
        identity: (N,) 0 to the number of people less one.
        filters: indices; none at all gives NaN.
        resamples: how often the queries' people are drawn anew; the images searched stay.
        seed: of the named stream.

    Returns:
        Percent: the rate, and both ends of the interval.
    """
    if len(filters) == 0:
        return (float("nan"),) * 3
    hits = 100 * part_retrieval(features, identity, filters)[0]
    draws = bootstrap_mean(hits, identity, resamples=resamples, seed=seed)
    return (float(hits.mean()), *interval(draws))


def random_filters_rate(
    features: np.ndarray,
    identity: np.ndarray,
    count: int,
    rng: np.random.Generator,
    *,
    draws: int = 20,
) -> float:
    """Return the mean rank-1 in percent of ``count`` filters drawn at random, NaN for none."""
    if count == 0:
        return float("nan")
    rates = [
        part_retrieval(features, identity, rng.choice(features.shape[1], count, replace=False))[0]
        for _ in range(draws)
    ]
    return 100 * float(np.mean(rates))
