"""Faces rendered in pairs, without and with an occluder, and the mean of plain frontal faces."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from ifr.common.files import value_hash
from ifr.datasets.face_set import FaceSet
from ifr.datasets.rendered import CLOSED_SHOT, TRAINING, renderer_hash
from ifr.faces import build_identity, draw_shot, render
from ifr.landmarks import CROP_OFFSET, CROP_SIZE

TWIN_SHOT = 500_000  # shot number of the pairs, which no data set reaches
STUDIO: dict[str, Any] = dict(expression="neutral", lighting="even")


@dataclass(frozen=True, eq=False)
class OccludedPairs:
    """Faces photographed twice, without and with an occluder, all else alike."""

    clean: FaceSet
    occluded: FaceSet
    masks: np.ndarray  # (N, 96, 96) bool, where the occluder colours the crop


def render_occluded_pairs(
    identity_seeds: np.ndarray, occluder: str, *, yaw: float | str = 0.0
) -> OccludedPairs:
    """Photograph people, given by their seeds, without and with one of ``OCCLUDERS`` (Fig. 1).

    All at one yaw in degrees, or drawn from one of ``YAWS``.
    """
    seeds = [int(seed) for seed in identity_seeds]
    people, sets, rows = [build_identity(seed) for seed in seeds], [], np.arange(len(seeds))
    for kind in ("none", occluder):
        shots = [draw_shot(seed, TWIN_SHOT, yaw=yaw, occluder=kind, **STUDIO) for seed in seeds]
        faces = [render(person, shot) for person, shot in zip(people, shots, strict=True)]
        names = ("image", "landmarks", "occluder_mask")
        images, landmarks, masks = (np.stack([getattr(x, name) for x in faces]) for name in names)
        key = value_hash([seeds, kind, yaw, TWIN_SHOT, renderer_hash()])
        sets.append(FaceSet(f"pairs {kind}", images, rows, landmarks, fingerprint=key))
    crop = slice(CROP_OFFSET, CROP_OFFSET + CROP_SIZE)
    return OccludedPairs(sets[0], sets[1], masks[:, crop, crop])


@cache
def mean_frontal_face(identities: int = 60) -> np.ndarray:
    """Return the mean of plain frontal faces, (112, 112, 3) uint8: the ground of Figure 5."""
    seeds = range(TRAINING, TRAINING + identities)
    options = dict(yaw=0.0, plain=True) | STUDIO
    shots = [draw_shot(seed, CLOSED_SHOT - 1, **options) for seed in seeds]
    people = map(build_identity, seeds)
    images = [render(person, shot).image for person, shot in zip(people, shots, strict=True)]
    return np.mean(images, axis=0).round().astype(np.uint8)
