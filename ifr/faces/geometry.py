"""Rotations, the canonical map of the head, and small parametric meshes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

TEXELS = 256
# The canonical map is a cylinder around the vertical axis through z = AXIS: 240 degrees of
# azimuth, and heights from below the chin to the crown; in its middle is the nose.
AXIS = 0.25
HALF_ANGLE = np.radians(120.0)


@dataclass(frozen=True, eq=False)
class Sheet:
    """A mesh worn on the head or held before it, in head axes."""

    vertices: np.ndarray  # (V, 3) float32
    triangles: np.ndarray  # (T, 3) int32
    uv: np.ndarray  # (V, 2) float32 texels
    material: int  # a number of the shading kernel


# An occluder's sheets and materials: number -> r, g, b, gloss, sharp, pattern, clear.
Occluder = tuple[list[Sheet], dict[int, tuple[float, ...]]]


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Return the (3, 3) float32 rotation of the head by the angles of a shot, in degrees."""
    (cy, cp, cr), (sy, sp, sr) = (f(np.radians([yaw, pitch, roll])) for f in (np.cos, np.sin))
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    return (about_z @ about_x @ about_y).astype(np.float32)


def rotate(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return ``points @ matrix.T`` written out, since BLAS may sum in another order elsewhere."""
    x, y, z = points.T
    rows = [x * row[0] + y * row[1] + z * row[2] for row in matrix.astype(points.dtype)]
    return np.stack(rows, 1)


def grid_sheet(grid: np.ndarray, material: int, uv: np.ndarray | None = None) -> Sheet:
    """Return a grid of vertices (rows, columns, 3), with texels (rows, columns, 2), as a sheet."""
    vertices = grid.reshape(-1, 3).astype(np.float32)
    texels = np.zeros((len(vertices), 2)) if uv is None else uv.reshape(-1, 2)
    q = np.arange(len(vertices), dtype=np.int32).reshape(grid.shape[:2])
    lower = np.stack([q[:-1, :-1], q[1:, :-1], q[1:, 1:]], -1).reshape(-1, 3)
    upper = np.stack([q[:-1, :-1], q[1:, 1:], q[:-1, 1:]], -1).reshape(-1, 3)
    return Sheet(vertices, np.concatenate([lower, upper]), texels.astype(np.float32), material)


def tube(
    path: ArrayLike, radius: ArrayLike, material: int, *, sides: int = 6, flatten: float = 1.0
) -> Sheet:
    """Return a tube along ``path`` (N, 3), ``flatten`` times as deep as it is wide."""
    path = np.asarray(path, np.float64)
    along = np.gradient(path, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-9
    across = np.cross(along, [0.3, 0.1, 1.0])
    across /= np.linalg.norm(across, axis=1, keepdims=True) + 1e-9
    normal = np.cross(along, across) * flatten
    turn = np.linspace(0, 2 * np.pi, sides + 1)
    cosine, sine = np.cos(turn)[None, :, None], np.sin(turn)[None, :, None]
    ring = cosine * across[:, None] + sine * normal[:, None]
    radius = np.broadcast_to(radius, len(path))[:, None, None]
    return grid_sheet(path[:, None] + radius * ring, material)
