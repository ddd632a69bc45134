"""Faces for the golden values, and how arrays are written down: a hash, or a few numbers."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import torch

from ifr.datasets import FaceSet
from ifr.datasets.rendered import plan_sets, render_identity
from ifr.models.inputs import to_network, to_network_points
from ifr.profiles import PROFILES

ROWS = 64  # images of each procedural set
Value = str | int | float | list
Values = dict[str, Value]


def digest(array: np.ndarray | torch.Tensor | Sequence) -> str:
    """Return the SHA-256 of an array's type, shape and bytes."""
    if isinstance(array, torch.Tensor):
        array = array.detach().contiguous()
        array = array.view(torch.int16) if array.dtype == torch.bfloat16 else array
    array = np.ascontiguousarray(array)
    head = f"{array.dtype.str}{array.shape}".encode()
    return hashlib.sha256(head + array.tobytes()).hexdigest()


def summary(array: np.ndarray | torch.Tensor | Sequence) -> list[float]:
    """Return how many values are NaN, sum, sum of magnitudes, and five entries."""
    if isinstance(array, torch.Tensor):
        array = array.detach().double().numpy()
    flat = np.asarray(array, np.float64).ravel()
    known = np.where(np.isfinite(flat), flat, 0)  # the highest threshold of a curve is infinite
    places = np.linspace(0, len(flat) - 1, 5).round().astype(int)
    count = float(np.isnan(flat).sum())
    return [count, float(known.sum()), float(np.abs(known).sum()), *flat[places].tolist()]


def rows_of(profile: str, name: str, count: int) -> dict[str, np.ndarray]:
    """Render the first images of a procedural set of a profile."""
    spec = next(spec for spec in plan_sets(PROFILES[profile].faces) if spec.name == name)
    parts, left = [], count
    while left > 0:
        # A shot is drawn from its own number, whatever the number of shots of the set.
        some = replace(spec, shots=min(left, spec.shots))
        parts.append(render_identity(some, len(parts)))
        left -= some.shots
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


@cache
def faces_of(profile: str, name: str, count: int = ROWS) -> FaceSet:
    """Return the first images of a procedural set, in memory."""
    rows = rows_of(profile, name, count)
    main = [rows.pop(key) for key in ("images", "identity", "landmarks")]
    return FaceSet(name, *main, rows, f"golden {profile} {name} {count}")


@cache
def network_input(count: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the centre crops of turned faces and their landmarks there."""
    faces, offsets = faces_of("classroom", "templates")[:count], torch.full((count, 2), 8)
    images = to_network(torch.from_numpy(faces.images), offsets, size)
    return images, to_network_points(torch.from_numpy(faces.landmarks), offsets, size)
