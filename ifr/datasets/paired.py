"""Faces rendered in pairs, without and with an occluder, and the mean of plain frontal faces."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from ifr.common.files import value_hash
from ifr.datasets.face_set import FaceSet
from ifr.datasets.rendered import CLOSED_SHOT, TRAINING, renderer_hash
from ifr.faces import Render, build_identity, draw_shot, render
from ifr.landmarks import CROP_OFFSET, CROP_SIZE, FACE_SIZE, mirror

TWIN_SHOT = 500_000  # shot number of the pairs, which no data set reaches


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
    seeds = [int(seed) for seed in identity_seeds]
    people = [build_identity(seed) for seed in seeds]
    options: dict[str, Any] = dict(yaw=yaw, expression="neutral", lighting="even")
    sets, masks = [], []
    for kind in ("none", occluder):
        shots = [draw_shot(seed, TWIN_SHOT, occluder=kind, **options) for seed in seeds]
        faces = [render(person, shot) for person, shot in zip(people, shots, strict=True)]
        images, landmarks = [face.image for face in faces], [face.landmarks for face in faces]
        masks = [face.occluder_mask for face in faces]
        key = value_hash([seeds, kind, yaw, TWIN_SHOT, renderer_hash()])
        rows = np.arange(len(faces))
        sets.append(
            FaceSet(f"pairs {kind}", np.stack(images), rows, np.stack(landmarks), fingerprint=key)
        )
    crop = slice(CROP_OFFSET, CROP_OFFSET + CROP_SIZE)
    return OccludedPairs(sets[0], sets[1], np.stack(masks)[:, crop, crop])


@cache
def mean_frontal_face(identities: int = 60) -> np.ndarray:
    """Return the mean of plain frontal faces, (112, 112, 3) uint8: the ground of Figure 5."""
    total = np.zeros((FACE_SIZE, FACE_SIZE, 3))
    for face in _frontal_faces(identities):
        total += face.image
    return (total / identities).round().astype(np.uint8)


def mean_frontal_landmarks(identities: int = 200) -> np.ndarray:
    """Return the mean landmarks of plain frontal faces made symmetric, (68, 2) float32 pixels.

    This is what ``ifr/assets/frontal68.npy`` holds.
    """
    mean = np.mean([face.landmarks for face in _frontal_faces(identities)], axis=0)
    return ((mean + mirror(mean, FACE_SIZE)) / 2).astype(np.float32)


def _frontal_faces(identities: int) -> Iterator[Render]:
    for seed in range(TRAINING, TRAINING + identities):
        shot = draw_shot(
            seed, CLOSED_SHOT - 1, yaw=0.0, expression="neutral", lighting="even", plain=True
        )
        yield render(build_identity(seed), shot)
