"""Where each filter answers: peaks of response maps, in pixels of the frontal crop (Sec. 4.2)."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch

from ifr.common.errors import UserError
from ifr.datasets import FaceSet
from ifr.landmarks import CROP_SIZE, FACE_SIZE
from ifr.mesh import FaceMesh
from ifr.models import InterpretableFaceNet, large_magnitude_filter
from ifr.models.inputs import center_crop, center_crop_points

SIGNS = ("positive", "negative")
BATCH = 128  # faces whose response maps are held at once: 94 MB of 320 maps of 24 x 24 pixels


@dataclass(frozen=True, eq=False)
class Peaks:
    """The highest and lowest response of every map, in the frontal frame."""

    positive: np.ndarray  # (N, K, 2) places of the highest; NaN where a peak cannot be placed
    negative: np.ndarray
    positive_weight: np.ndarray  # (N, K) magnitudes; 0 where none is positive or its place is NaN
    negative_weight: np.ndarray

    def of(self, sign: str) -> tuple[np.ndarray, np.ndarray]:
        """Return places (N, K, 2) and weights (N, K) of ``"positive"`` or ``"negative"`` peaks."""
        if sign not in SIGNS:
            raise ValueError(f"sign must be positive or negative, got {sign!r}")
        return getattr(self, sign), getattr(self, f"{sign}_weight")

    def both(self) -> tuple[np.ndarray, np.ndarray]:
        """Return places (N, 2K, 2) and weights (N, 2K), of positive beside negative peaks."""
        places, weights = zip(*map(self.of, SIGNS), strict=True)
        return np.concatenate(places, axis=1), np.concatenate(weights, axis=1)

    def __getitem__(self, rows: np.ndarray | slice) -> "Peaks":
        """Return the peaks of some of the images."""
        return Peaks(**{name: array[rows] for name, array in vars(self).items()})

    @staticmethod
    def joined(parts: Iterable["Peaks"]) -> "Peaks":
        """Return the peaks of several batches as one."""
        arrays = zip(*(vars(part).values() for part in parts), strict=True)
        return Peaks(*map(np.concatenate, arrays))


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
        frontal = mesh.transfer(points, np.asarray(landmarks, np.float64), mesh.landmarks)
        inside = np.all((frontal >= 0) & (frontal <= mesh.size), axis=-1)  # released: else dropped
        places.append(np.where(inside[..., None], frontal, np.nan))
        weights.append(np.where(inside, np.maximum(flat.max(-1), 0), 0))
    return Peaks(*places, *weights)


@torch.no_grad()
def network_peaks(model: InterpretableFaceNet, faces: FaceSet, *, size: int) -> Peaks:
    """Return the peaks of every filter of a network in evaluation mode, for inputs of that size."""
    if faces.landmarks is None:
        raise UserError(f"{faces.name} has no landmarks, by which peaks are placed: add them")
    frame = FACE_SIZE if size == FACE_SIZE else CROP_SIZE  # what the response maps cover
    inset = (frame - CROP_SIZE) // 2  # of the frontal crop in that frame
    mesh, parts = FaceMesh.frontal(frame), []
    for first in range(0, len(faces), BATCH):
        batch = slice(first, first + BATCH)
        images, landmarks = center_crop(faces.images[batch], size), faces.landmarks[batch]
        response = model.response(images.to(model.filters.device)).float()
        filtered = large_magnitude_filter(response, model.rate).cpu().numpy()
        points = center_crop_points(landmarks.astype(np.float64), frame).numpy()
        parts.append(peak_locations(filtered, points, mesh))
    peaks = Peaks.joined(parts)
    return replace(peaks, positive=peaks.positive - inset, negative=peaks.negative - inset)


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
