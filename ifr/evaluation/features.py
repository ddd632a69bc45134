"""Features of a set of faces, whole or behind warped rectangles, in bounded memory."""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike

from ifr.common.errors import UserError
from ifr.common.seeding import stream
from ifr.datasets import FaceSet
from ifr.models.inputs import center_crop, center_crop_points
from ifr.occlusion import draw_rectangles, occlude


class Embedding(Protocol):
    """A network from faces to features."""

    @property
    def name(self) -> str: ...  # for tables and messages

    @property
    def size(self) -> int: ...  # side of the input, pixels: of a face, its crop, or a part of it

    def __call__(self, images: torch.Tensor) -> np.ndarray:
        """Return features (N, K) float32 of images (N, 3, size, size), RGB in [-1, 1]."""


def random_rectangles(count: int, seed: int, kind: str = "BlaS") -> np.ndarray:
    """Return a rectangle of the frontal crop for each test image, (count, 4), for every network."""
    return draw_rectangles(stream(seed, f"test/rectangles/{kind}"), count, kind=kind)


def set_features(
    embedding: Embedding,
    faces: FaceSet,
    *,
    rectangles: ArrayLike | None = None,
    mirror: bool = False,
    batch: int = 256,
) -> np.ndarray:
    """Return features of the centre crop of aligned faces, (N, K) float32, not normalised.

    ``rectangles``, (N, 4) or (4,) for all, are x, y, width and height in the frontal crop of a
    black mask that is warped to each face as in training. ``mirror`` adds the feature of the
    mirrored image, as LFW is usually tested; the paper does not.
    """
    boxes = None if rectangles is None else np.broadcast_to(rectangles, (len(faces), 4))
    if boxes is not None and faces.landmarks is None:
        raise UserError(f"set {faces.name!r} has no landmarks to warp an occlusion by")
    parts = []
    for first in range(0, len(faces), batch):
        rows = slice(first, first + batch)
        images = center_crop(faces.images[rows], embedding.size)
        if boxes is not None and faces.landmarks is not None:
            points = center_crop_points(faces.landmarks[rows], embedding.size)
            images = occlude(images, points, boxes[rows])[0]
        features = embedding(images)
        parts.append(features + embedding(images.flip(3)) if mirror else features)
    return np.concatenate(parts)
