"""Where each filter answers, its average location, and the spreadness d̄ (Sec. 4.2, Fig. 5).

Places are pixels of the frontal crop. The *scatter* of a filter is how far its own peaks lie from
its average location; *spreadness* is how far the average locations of all filters lie apart.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial import Delaunay

from ifr.common.errors import UserError
from ifr.datasets import FaceSet
from ifr.evaluation import bootstrap_counts
from ifr.landmarks import CROP_SIZE
from ifr.mesh import FaceMesh
from ifr.models import InterpretableFaceNet, large_magnitude_filter
from ifr.models.inputs import center_crop, center_crop_points, crop_side
from ifr.occlusion import face_hull

SIGNS = ("positive", "negative")
BATCH = 128  # faces whose response maps are held at once: 94 MB of 320 maps of 24 x 24 pixels


@dataclass(frozen=True, eq=False)
class Peaks:
    """The highest and lowest response of every map, in the frontal frame."""

    places: np.ndarray  # (2, N, K, 2) by sign; NaN where a peak cannot be placed
    weights: np.ndarray  # (2, N, K) magnitudes; 0 where none has the sign or its place is NaN

    def of(self, sign: str) -> tuple[np.ndarray, np.ndarray]:
        """Return places (N, K, 2) and weights (N, K) of ``"positive"`` or ``"negative"`` peaks."""
        if sign not in SIGNS:
            raise ValueError(f"sign must be positive or negative, got {sign!r}")
        return self.places[SIGNS.index(sign)], self.weights[SIGNS.index(sign)]

    def both(self) -> tuple[np.ndarray, np.ndarray]:
        """Return places (N, 2K, 2) and weights (N, 2K), of positive beside negative peaks."""
        return np.concatenate(self.places, axis=1), np.concatenate(self.weights, axis=1)


def peak_locations(
    response: np.ndarray, landmarks: np.ndarray, mesh: FaceMesh, *, place: str = "centre"
) -> Peaks:
    """Find the peaks of LMF(ψ), (N, K, h, w), and warp them to the frontal face (Sec. 4.2).

    The maps cover the square of the mesh, of which landmarks (N, 68, 2) are pixels; of equal
    responses the first counts. We place a peak at the centre of its cell; the released code takes
    the upper left corner, index × 4: pass ``place="corner"`` to match.
    """
    response = np.asarray(response, np.float32)
    if response.ndim != 4 or len(response) != len(landmarks):
        shapes = f"{response.shape} and {np.shape(landmarks)}"
        raise ValueError(f"response (N, K, h, w) needs landmarks of the same N faces, got {shapes}")
    if not np.isfinite(response).all():
        raise ValueError("response holds values that are not finite")
    if place not in ("centre", "corner"):
        raise ValueError(f"place must be centre or corner, got {place!r}")
    shift = 0.5 if place == "centre" else 0.0
    places, weights = [], []
    for signed in (response, -response):
        flat = signed.reshape(*response.shape[:2], -1)
        row, column = np.unravel_index(flat.argmax(-1), response.shape[2:])
        cell_size = mesh.size / np.array(response.shape[:1:-1])  # x, then y
        points = (np.stack([column, row], axis=-1) + shift) * cell_size
        frontal = mesh.transfer(points, landmarks, mesh.landmarks)
        inside = np.all((frontal >= 0) & (frontal <= mesh.size), axis=-1)  # released: else dropped
        places.append(np.where(inside[..., None], frontal, np.nan))
        weights.append(np.where(inside, np.maximum(flat.max(-1), 0), 0))
    return Peaks(np.stack(places), np.stack(weights))


def largest_peaks(maps: np.ndarray, frame: float) -> tuple[np.ndarray, np.ndarray]:
    """Return where each of (N, K, h, w) maps is largest in magnitude, (N, K, 2), and how much."""
    flat = np.abs(maps).reshape(*maps.shape[:2], -1)
    row, column = np.unravel_index(flat.argmax(axis=-1), maps.shape[2:])
    return (np.stack([column, row], axis=-1) + 0.5) * frame / maps.shape[:1:-1], flat.max(axis=-1)


@torch.no_grad()
def network_peaks(model: InterpretableFaceNet, faces: FaceSet, *, size: int) -> Peaks:
    """Return the peaks of every filter of a network in evaluation mode, for inputs of that size."""
    if faces.landmarks is None:
        raise UserError(f"{faces.name} has no landmarks, by which peaks are placed: add them")
    frame = crop_side(size)  # what the response maps cover
    inset = (frame - CROP_SIZE) // 2  # of the frontal crop in that frame
    mesh, parts = FaceMesh.frontal(frame), []
    for first in range(0, len(faces), BATCH):
        batch = slice(first, first + BATCH)
        images = center_crop(faces.images[batch], size).to(model.filters.device)
        filtered = large_magnitude_filter(model.response(images).float(), model.rate).cpu().numpy()
        points = center_crop_points(faces.landmarks[batch].astype(np.float64), frame).numpy()
        parts.append(peak_locations(filtered, points, mesh))
    places, weights = zip(*((part.places - inset, part.weights) for part in parts), strict=True)
    return Peaks(np.concatenate(places, axis=1), np.concatenate(weights, axis=1))


def peak_share(response: np.ndarray, keep: int) -> np.ndarray:
    """Return the share (N, K) of maps' magnitude in their ``keep`` largest responses (C05)."""
    magnitude = np.abs(response.reshape(*response.shape[:2], -1))
    largest = np.partition(magnitude, -keep, axis=-1)[..., -keep:].sum(axis=-1)
    total = magnitude.sum(axis=-1)
    return np.divide(largest, total, out=np.full_like(total, np.nan), where=total > 0)


def map_scatter(response: np.ndarray) -> np.ndarray:
    """Return how far the magnitude of each map (N, K, h, w) lies from its own centre, pixels."""
    y, x = ((np.arange(size) + 0.5) * (CROP_SIZE / size) for size in response.shape[2:])
    magnitude = np.abs(response)
    total = magnitude.sum(axis=(2, 3))
    share = magnitude / np.where(total > 0, total, np.nan)[..., None, None]
    across, down = share.sum(axis=2), share.sum(axis=3)
    variance = across @ x**2 - (across @ x) ** 2 + down @ y**2 - (down @ y) ** 2
    return np.sqrt(np.maximum(variance, 0))


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
    people, by_sign = int(identity.max()) + 1, []
    counts = bootstrap_counts(people, resamples, seed).astype(np.float64)
    for places, weights in zip(peaks.places, peaks.weights, strict=True):
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
        away = (np.linalg.norm(mean - spot, axis=-1) for spot in (middle, CROP_SIZE / 2))
        dbar, centre = (np.nanmean(distance, axis=1) for distance in away)
        by_sign.append([dbar, np.nanmean(np.sqrt(np.maximum(variance, 0)), axis=1), centre])
    names = ("dbar", "mean_scatter", "centre_distance")
    return dict(zip(names, np.mean(by_sign, axis=0), strict=True))


def strongest_locations(peaks: Peaks) -> np.ndarray:
    """Return the average location of each filter's stronger sign, (K, 2) pixels."""
    return _of_stronger_sign(peaks)[0]


def filters_at(peaks: Peaks, boxes: Iterable[Sequence[float]]) -> np.ndarray:
    """Return for each box x, y, width, height the steady filter on the face nearest its middle.

    No filter comes twice. Steady is the half with the smaller scatter, by its stronger sign.
    """
    on_face = peaks_on_face(peaks)
    places = strongest_locations(on_face)
    middles = np.array([(x + width / 2, y + height / 2) for x, y, width, height in boxes])
    away = np.linalg.norm(middles[:, None] - places, axis=-1)
    away += 1e3 * ~np.isin(np.arange(len(places)), steady_columns(on_face)[0])
    return linear_sum_assignment(np.nan_to_num(away, nan=1e4))[1]


def steady_columns(peaks: Peaks) -> tuple[np.ndarray, np.ndarray]:
    """Return the steadier half of the filters, and of each the column of :meth:`Peaks.both`."""
    scatter = _of_stronger_sign(peaks)[1]
    steady = np.flatnonzero(scatter <= np.nanmedian(scatter))
    return steady, steady + _stronger_sign(peaks)[steady] * len(scatter)


def peaks_on_face(peaks: Peaks) -> Peaks:
    """Return peaks without those of filters whose average location lies off the frontal face."""
    face = Delaunay(face_hull(FaceMesh.frontal(CROP_SIZE)))
    means = [average_locations(*peaks.of(sign))[0] for sign in SIGNS]
    inside = face.find_simplex(np.nan_to_num(means, nan=-1)) >= 0  # (2, K)
    return replace(peaks, weights=np.where(inside[:, None], peaks.weights, 0))


def _stronger_sign(peaks: Peaks) -> np.ndarray:
    """Return which of ``SIGNS`` each filter answers with more strongly, (K,)."""
    return peaks.weights.sum(axis=1).argmax(axis=0)


def _of_stronger_sign(peaks: Peaks) -> tuple[np.ndarray, np.ndarray]:
    """Return average location (K, 2) and scatter (K,) of each filter's stronger sign."""
    averages = [average_locations(*peaks.of(sign)) for sign in SIGNS]
    stronger = _stronger_sign(peaks)
    columns = np.arange(len(stronger))
    locations, scatter = map(np.stack, zip(*averages, strict=True))
    return locations[stronger, columns], scatter[stronger, columns]


def consistency(
    locations: np.ndarray, weights: np.ndarray, groups: np.ndarray
) -> tuple[float, float]:
    """Return how many pixels a filter's place moves between groups (N,), and in them (C23)."""
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
    counts = bootstrap_counts(int(identity.max()) + 1, resamples, seed)[:, identity]
    counts = np.insert(counts, 0, 1, axis=0)  # everyone once
    sums = peaks.weights[..., None] * np.insert(np.nan_to_num(peaks.places), 2, 1, axis=-1)

    def places(chosen: np.ndarray) -> np.ndarray:
        """Return average locations on chosen faces (N,), (resamples, 2, K, 2)."""
        total = np.tensordot(counts[:, chosen], sums[:, chosen], (1, 1))
        return total[..., :2] / np.where(total[..., 2:] > 0, total[..., 2:], np.nan)

    overall = places(np.ones(len(groups), bool))
    away = [np.linalg.norm(places(groups == one) - overall, axis=-1) for one in np.unique(groups)]
    moves = np.nanmean(away, axis=(0, 3)).mean(axis=1)
    return float(moves[0]), moves[1:]
