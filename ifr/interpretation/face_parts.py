"""Parts of any face by the mesh, faces without one, and what one can retrieve (Sec. 4.4)."""

from functools import cache
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from ifr.common.errors import UserError
from ifr.datasets import FaceSet
from ifr.evaluation import bootstrap_mean, interval, normalised
from ifr.landmarks import CROP_SIZE, FACE_SIZE, GROUPS
from ifr.mesh import FaceMesh
from ifr.models import InterpretableFaceNet
from ifr.models.inputs import center_crop
from ifr.occlusion import face_hull

FACE_PARTS = ("eyes", "nose", "mouth", "cheeks", "forehead", "chin")  # the eyes with their brows
OFF_FACE = "off the face"  # beyond its outline: ground, neck, ears and most of the hair
REGIONS = (*FACE_PARTS, OFF_FACE)  # what a label is an index of
SKIN = [FACE_PARTS.index(part) for part in ("cheeks", "forehead", "chin")]
FILLS = ("skin", "grey", "black", "blurred")  # skin: the mean colour of what is left of SKIN
REACH = 3  # pixels that a part extends beyond the hull of its landmarks
PARTS = {  # name -> groups of landmarks, each with a box of its own
    "eyes": (("right_eye", "right_brow"), ("left_eye", "left_brow")),
    "mouth": (("mouth",),),
    "nose": (("nose",),),
}
_FINE = 4  # samples of the frontal labels along each side of a pixel


def grid(side: int, frame: int) -> np.ndarray:
    """Return the centres of side × side cells of the crop or face, in the 112 frame, (P, 2)."""
    centres = (np.arange(side) + 0.5) * (frame / side) + (FACE_SIZE - frame) / 2
    return np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2)


@cache
def frontal_parts() -> np.ndarray:
    """Return the index in ``REGIONS`` of each quarter pixel of the frontal face, (448, 448)."""
    mesh = FaceMesh.frontal()

    def filled(points: np.ndarray, reach: int = 0) -> np.ndarray:
        hull = cv2.convexHull((points * _FINE).astype(np.float32)).round().astype(np.int32)
        mask = cv2.fillConvexPoly(np.zeros((FACE_SIZE * _FINE,) * 2, np.uint8), hull, 1)
        side = 2 * reach * _FINE + 1
        return cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))) > 0

    points = {name: mesh.landmarks[rows] for name, rows in GROUPS.items()}
    down = np.broadcast_to(grid(FACE_SIZE * _FINE, FACE_SIZE)[:, 1].reshape(-1, 448), (448, 448))
    face, mouth = filled(face_hull(mesh)), filled(points["mouth"], REACH)
    brows = np.concatenate([points["right_brow"], points["left_brow"]])
    drawn = {"cheeks": face, "forehead": face & (down < brows[:, 1].max())}
    drawn["chin"] = face & (down > points["mouth"][:, 1].max())
    drawn["nose"], drawn["mouth"] = filled(points["nose"], REACH), mouth
    sides = (np.concatenate([points[f"{s}_eye"], points[f"{s}_brow"]]) for s in ("right", "left"))
    drawn["eyes"] = np.logical_or(*(filled(side, REACH) for side in sides))
    labels = np.full(face.shape, len(FACE_PARTS), np.int8)
    for part, mask in drawn.items():  # later ones over earlier ones
        labels[mask] = FACE_PARTS.index(part)
    labels.setflags(write=False)
    return labels


def part_labels(landmarks: np.ndarray, *, frame: int = CROP_SIZE, side: int = 0) -> np.ndarray:
    """Return the index in ``REGIONS`` of each pixel of faces with landmarks (N, 68, 2) in 112.

    The crop (96) or the whole face (112) has ``side`` pixels in a row: (N, side, side) int8.
    """
    side, mesh = side or frame, FaceMesh.frontal()
    frontal = mesh.transfer(grid(side, frame), landmarks, mesh.landmarks)
    index = np.floor(np.clip(frontal, 0, FACE_SIZE - 1e-6) * _FINE).astype(int)
    inside = ((frontal >= 0) & (frontal < FACE_SIZE)).all(axis=-1)
    labels = np.where(inside, frontal_parts()[index[..., 1], index[..., 0]], len(FACE_PARTS))
    return labels.reshape(-1, side, side).astype(np.int8)


def covered(images: Tensor, hidden: Tensor, fill: str, labels: Tensor | None = None) -> Tensor:
    """Return images (N, 3, S, S) with hidden pixels (N, S, S) filled; skin needs their labels."""
    if fill not in FILLS or (fill == "skin" and labels is None):
        raise UserError(f"fill must be one of {', '.join(FILLS)} (skin with labels), got {fill!r}")
    filling = images.new_full((), -1.0 if fill == "black" else 0.0)
    if fill == "blurred":
        # Here, since torchvision takes more than a second to import.
        from torchvision.transforms.functional import gaussian_blur

        sigma = images.shape[-1] / 12
        filling = gaussian_blur(images, [2 * int(2.5 * sigma) + 1] * 2, [sigma, sigma])
    elif fill == "skin" and labels is not None:
        skin = (torch.isin(labels, torch.tensor(SKIN).to(labels)) & ~hidden)[:, None]
        total = (images * skin).sum(dim=(2, 3), keepdim=True)
        filling = total / skin.sum(dim=(2, 3), keepdim=True).clamp_min(1)  # grey without any skin
    return torch.where(hidden[:, None], filling, images)


def prepared(model: InterpretableFaceNet, faces: FaceSet, size: int) -> tuple[Tensor, np.ndarray]:
    """Return network input (N, 3, S, S) of the model's type, and landmarks in the 112 frame."""
    if faces.landmarks is None:
        raise UserError(f"{faces.name} has no landmarks, by which parts are found: add them")
    images = center_crop(faces.images, size).to(model.filters)
    return images, np.asarray(faces.landmarks, np.float64)


def frontal_spots(landmarks: np.ndarray) -> np.ndarray:
    """Return where faces show each pixel of the frontal crop, (N, 96 * 96, 2), NaN if hidden."""
    mesh, points = FaceMesh.frontal(), grid(CROP_SIZE, CROP_SIZE)
    spots = mesh.transfer(points, mesh.landmarks, landmarks)
    # Folded triangles are hidden: the way back leads elsewhere.
    away = np.linalg.norm(mesh.transfer(spots, landmarks, mesh.landmarks) - points, axis=-1)
    return np.where(away[..., None] < 1, spots, np.nan)


def frontal_face(image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Return a stored face (112, 112, 3) as seen from the front, (96, 96, 3); white if hidden."""
    spots = np.nan_to_num(frontal_spots(landmarks[None]) - 0.5, nan=-9)  # OpenCV's pixel centres
    x, y = np.moveaxis(spots.reshape(CROP_SIZE, CROP_SIZE, 2).astype(np.float32), -1, 0)
    edge: Any = dict(borderMode=cv2.BORDER_CONSTANT, borderValue=(255, 255, 255))
    return cv2.remap(np.ascontiguousarray(image), x, y, cv2.INTER_LINEAR, **edge)


def part_filters(
    locations: np.ndarray, mesh: FaceMesh, *, margin: float = 4.0
) -> dict[str, np.ndarray]:
    """Return which filters look on average, (K, 2), into the boxes of each part (Sec. 4.4)."""
    distance = np.full((len(PARTS), len(locations)), np.inf)
    for row, boxes in enumerate(PARTS.values()):
        for names in boxes:
            points = np.concatenate([mesh.landmarks[GROUPS[name]] for name in names])
            low, high = points.min(axis=0) - margin, points.max(axis=0) + margin
            inside = ((locations >= low) & (locations <= high)).all(axis=1)
            away = np.linalg.norm(locations - points.mean(axis=0), axis=1)
            distance[row] = np.minimum(distance[row], np.where(inside, away, np.inf))
    # Where boxes overlap, a filter belongs to the part with the nearer centre.
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
    """Return rank-1 by some filters alone and its 95 % interval, percent; NaN without filters."""
    if len(filters) == 0:
        return (float("nan"),) * 3
    hits = 100 * part_retrieval(features, identity, filters)[0]
    # People are drawn anew as queries; the images searched stay.
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
