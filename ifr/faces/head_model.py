"""The head model: mean mesh, shape vectors, expression units, landmarks, canonical map."""

import functools
import json
from dataclasses import dataclass

import numpy as np

from ifr.common.paths import ASSETS
from ifr.faces.geometry import AXIS, TEXELS
from ifr.faces.raster import rasterise, z_buffer
from ifr.faces.shade import LEFT_EYE, RIGHT_EYE


@dataclass(frozen=True, eq=False)
class Head:
    """The head: V vertices, T triangles, K shape vectors; x to its left, y up, z ahead, in dm."""

    mean: np.ndarray  # (V, 3) float32
    triangles: np.ndarray  # (T, 3) int32, ordered by part
    part: np.ndarray  # (T,) uint8: SKIN .. TONGUE
    occlusion: np.ndarray  # (V,) float32, share of the sky seen
    basis: np.ndarray  # (K, V, 3) int16
    scale: np.ndarray  # (K,) float32
    index: dict[str, int]  # label -> row of basis
    units: dict[str, tuple[np.ndarray, np.ndarray]]  # expression -> vertices (M,), offsets (M, 3)
    traits: dict[str, list[tuple[int, int, str]]]  # vectors, their sign and side "l", "r" or ""
    uv: np.ndarray  # (V, 2) float32, canonical texels of the mean head
    local: np.ndarray  # (V, 2) float32, place on the eyeball in radii; on ears 0..1 outwards, 0
    skin: np.ndarray  # (V,) bool, vertices of the skin
    eyeballs: list[np.ndarray]  # the vertices of the left and of the right one
    ear_tops: np.ndarray  # (2,) vertices where the right and the left ear leave the head
    mapped: np.ndarray  # (M, 3) int32, triangles of the skin that the canonical map shows whole
    region: np.ndarray  # (TEXELS, TEXELS) uint8, part of bare skin; ears are told by ``local``
    landmark_corners: np.ndarray  # (68, 3) int64
    landmark_weights: np.ndarray  # (68, 3) float32
    landmark_uv: np.ndarray  # (68, 2) float32, canonical texels

    def landmarks(self, vertices: np.ndarray) -> np.ndarray:
        """Return the 68 points (68, C) of per-vertex values (V, C)."""
        return (vertices[self.landmark_corners] * self.landmark_weights[..., None]).sum(1)

    def surface_map(self, vertices: np.ndarray, size: int = 64) -> tuple[np.ndarray, np.ndarray]:
        """Return the skin's distance from the axis and height, (size, size), over the map; or 0."""
        radius = np.hypot(vertices[:, 0], vertices[:, 2] - AXIS)
        points = np.column_stack([self.uv * (size / TEXELS), radius]).astype(np.float32)
        buffer = z_buffer(size, far=0)
        rasterise(points, self.mapped, buffer, 0, 0)
        heights = vertices[self.mapped[buffer.face], 1]
        height = heights[..., 2] + ((heights[..., :2] - heights[..., 2:]) * buffer.bary).sum(-1)
        return buffer.depth, np.where(buffer.face >= 0, height, 0)


@functools.cache
def load_head() -> Head:
    """Return the packaged head model, read once per process."""
    with np.load(ASSETS / "head.npz") as file:
        data = {name: file[name] for name in file.files if name != "source_sha256"}
    labels, traits, units = data.pop("labels").tolist(), json.loads(str(data.pop("traits"))), {}
    for k, label in enumerate(labels):
        if label.startswith("expression/"):
            moved = np.flatnonzero(data["basis"][k].any(1))
            offsets = data["basis"][k][moved] * data["scale"][k]
            units[label.partition("/")[2]] = moved, offsets.astype(np.float32)
    eyeballs = [np.unique(data["triangles"][data["part"] == k]) for k in (LEFT_EYE, RIGHT_EYE)]
    index = {label: k for k, label in enumerate(labels)}
    return Head(**data, index=index, units=units, traits=traits, eyeballs=eyeballs)
