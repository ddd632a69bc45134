"""Barycentric transfer between faces: 76 points, 142 triangles (Sec. 3.3 and Sec. 4.2, Fig. 3).

The same barycentric coordinates in the same triangle of two faces are the same spot of the face.
The paper warps one mask of the frontal template to every face of a mini-batch, and peaks back.
"""

import math
from dataclasses import dataclass, replace
from functools import cache
from itertools import product

import numpy as np
from scipy.spatial import Delaunay

from ifr.common.errors import UserError
from ifr.common.paths import ASSETS
from ifr.landmarks import FACE_SIZE, NUM_LANDMARKS, check_landmarks, mirror

# Corners and edge midpoints of the unit square, clockwise on screen from the upper left.
_BORDER = np.array([[0, 0], [1, 0], [2, 0], [2, 1], [2, 2], [1, 2], [0, 2], [0, 1]]) / 2.0
_TOLERANCE = 1e-9  # how negative a barycentric coordinate may be and still count as on an edge
_CHUNK = 352  # points located at once in 142 triangles: arrays that stay in the cache


@dataclass(frozen=True, eq=False)
class FaceMesh:
    """A frontal face template and its triangles, for moving points between faces.

    The paper puts the 8 border points on the image boundary; the ArcFace alignment leaves the chin
    below it (y = 116 to 120 of 112), which would turn triangles over, so ours lie a quarter of the
    image outside; pass `margin=0` to `from_landmarks` to match.
    """

    points: np.ndarray  # (76, 2) float64 pixels: the 68 template landmarks, the 8 border points
    triangles: np.ndarray  # (142, 3) int64 indices into the points, all of positive signed area
    size: float  # side of the square image frame of the points, pixels

    def __post_init__(self) -> None:
        for array in (self.points, self.triangles):
            array.setflags(write=False)  # one template serves every caller

    @staticmethod
    def from_landmarks(
        landmarks: np.ndarray,
        size: float = FACE_SIZE,
        *,
        margin: float | None = None,
        symmetric: bool = True,
    ) -> "FaceMesh":
        """Build a frontal template's mesh, its border ``margin`` pixels outside (size / 4)."""
        landmarks = check_landmarks(landmarks, size=size)
        if symmetric:  # the template and its mirror image averaged
            landmarks = (landmarks + mirror(landmarks, size)) / 2
        margin = size / 4 if margin is None else margin
        border = _BORDER * (size + 2 * margin) - margin
        if (landmarks <= border[0]).any() or (landmarks >= border[4]).any():
            reach = np.array([landmarks.min(axis=0), landmarks.max(axis=0)]).round(1).tolist()
            limit = f"the border points {margin:g} pixels outside the {size:g}-pixel frame"
            raise UserError(f"template reaches {reach}, beyond {limit}; give a larger margin")
        points = np.concatenate([landmarks, border])
        return FaceMesh(points, _delaunay(points), size)

    @staticmethod
    @cache
    def frontal(size: int = FACE_SIZE) -> "FaceMesh":
        """Return the packaged mean frontal face, in the aligned frame (112) or its crop's (96)."""
        if not 0 < size <= FACE_SIZE:
            raise UserError(f"size of the frontal mesh must be in 1..{FACE_SIZE}, got {size}")
        mesh = FaceMesh.from_landmarks(np.load(ASSETS / "frontal68.npy"))
        return replace(mesh, points=mesh.points - (FACE_SIZE - size) / 2, size=size)

    @property
    def landmarks(self) -> np.ndarray:
        """The (68, 2) landmarks of the frontal template."""
        return self.points[:NUM_LANDMARKS]

    @property
    def border(self) -> np.ndarray:
        """The (8, 2) border points, clockwise on screen from the upper left corner."""
        return self.points[NUM_LANDMARKS:]

    def vertices(self, landmarks: np.ndarray) -> np.ndarray:
        """Append the border points: landmarks (..., 68, 2) in this frame -> (..., 76, 2)."""
        landmarks = check_landmarks(landmarks)
        border = np.broadcast_to(self.border, (*landmarks.shape[:-2], *self.border.shape))
        return np.concatenate([landmarks, border], axis=-2)

    def folded(self, landmarks: np.ndarray) -> np.ndarray:
        """Return which triangles of a face look backwards: (..., 68, 2) -> (..., 142) bool."""
        return _signed_areas(self.vertices(landmarks), self.triangles) <= 0

    def locate(self, points: np.ndarray, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return which triangle (..., P) holds each point (..., P, 2), and its place (..., P, 3).

        The place is barycentric; leading dimensions broadcast with those of the landmarks. Outside
        the border and for NaN the triangle is -1 and the place NaN; it is never a folded triangle.

        >>> mesh = FaceMesh.frontal()
        >>> triangle, barycentric = mesh.locate([[50.0, 60.0], [500.0, 0.0]], mesh.landmarks)
        >>> triangle.tolist(), barycentric.round(2).tolist()
        ([89, -1], [[0.53, 0.17, 0.3], [nan, nan, nan]])
        """
        points, landmarks = np.asarray(points, np.float64), check_landmarks(landmarks)
        if points.ndim < 2 or points.shape[-1] != 2:
            raise ValueError(f"points must have shape (..., P, 2), got {points.shape}")
        batch = np.broadcast_shapes(points.shape[:-2], landmarks.shape[:-2])
        shape = (*batch, points.shape[-2])
        rows, columns = math.prod(batch), shape[-1]  # a row of points for each face
        points = np.broadcast_to(points, (*shape, 2)).reshape(rows, columns, 2)
        whole = (*batch, NUM_LANDMARKS, 2)
        landmarks = np.broadcast_to(landmarks, whole).reshape(rows, NUM_LANDMARKS, 2)
        low, high = self.border[0], self.border[4]
        inside = ((points >= low) & (points <= high)).all(axis=-1)  # NaN compares false
        points = np.where(inside[..., None], points, low)
        triangle, barycentric = np.empty((rows, columns), np.int64), np.empty((rows, columns, 3))
        width = max(1, min(columns, _CHUNK))
        height = max(1, _CHUNK // width)
        for row, column in product(range(0, rows, height), range(0, columns, width)):
            block = slice(row, row + height), slice(column, column + width)
            located = self.enclosing_triangle(points[block], landmarks[block[0]])
            triangle[block], barycentric[block] = located
        triangle[~inside], barycentric[~inside] = -1, np.nan
        return triangle.reshape(shape), barycentric.reshape(*shape, 3)

    def enclosing_triangle(
        self, points: np.ndarray, landmarks: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Locate (N, P, 2) points, all inside the border, on N faces (N, 68, 2) at once.

        Of overlapping triangles those that face the camera win; among them those of the face over
        those that touch the border, and the one enlarged most against the template over the rest.
        The triangles wind once around every point, backward ones negative: one faces forward.
        """
        corners = self.vertices(landmarks).transpose(2, 0, 1)[..., self.triangles.T]
        (ax, bx, cx), (ay, by, cy) = np.moveaxis(corners, 2, 1)  # (N, 142) each
        areas = ((bx - ax) * (cy - ay) - (by - ay) * (cx - ax)) / 2
        # The barycentric coordinate of a vertex is affine in the point: gradient . point + offset.
        gradient = np.array([[by - cy, cx - bx], [cy - ay, ax - cx]])
        gradient /= np.where(areas > 0, 2 * areas, np.inf)
        offset = 1 - gradient[:, 0] * [ax, bx] - gradient[:, 1] * [ay, by]  # 1 at its own vertex
        offset[:, areas <= 0] = -1  # a folded triangle: -1 everywhere, so it encloses nothing
        columns = np.swapaxes(points, 1, 2)
        first, second = gradient.transpose(0, 2, 3, 1) @ columns + offset[..., None]  # (N, 142, P)
        least = np.minimum(np.minimum(first, second), 1 - first - second)
        of_face = (self.triangles < NUM_LANDMARKS).all(axis=1)
        rank = 1 + areas / _signed_areas(self.points, self.triangles) + 1e6 * of_face
        # On a rounding error every triangle may just miss the point: then the nearest to it wins.
        key = np.where(least >= -_TOLERANCE, rank[..., None], least)
        triangle = key.argmax(axis=1)
        picked = [np.take_along_axis(x, triangle[:, None], axis=1)[:, 0] for x in (first, second)]
        return triangle, np.stack([*picked, 1 - picked[0] - picked[1]], axis=-1)

    def place(
        self, triangle: np.ndarray, barycentric: np.ndarray, landmarks: np.ndarray
    ) -> np.ndarray:
        """Return the points (..., P, 2) with given places, NaN for -1: the inverse of `locate`."""
        triangle, vertices = np.asarray(triangle), self.vertices(landmarks)
        batch = np.broadcast_shapes(triangle.shape[:-1], vertices.shape[:-2])
        # Index -1 picks the last triangle, which NaN replaces below.
        corner = np.broadcast_to(self.triangles[triangle], (*batch, triangle.shape[-1], 3))
        vertices = np.broadcast_to(vertices, (*batch, *self.points.shape))
        corners = np.take_along_axis(vertices[..., None, :, :], corner[..., None], axis=-2)
        placed = (np.asarray(barycentric)[..., None] * corners).sum(axis=-2)
        return np.where((triangle < 0)[..., None], np.nan, placed)

    def transfer(
        self, points: np.ndarray, source: np.ndarray, target: np.ndarray, *, clip: bool = False
    ) -> np.ndarray:
        """Move points of one face to the same spot of another (Sec. 3.3).

        Points (..., P, 2) go from landmarks ``source`` (..., 68, 2) to ``target``; those outside
        the border square become NaN, or with ``clip`` are moved onto it first.

        >>> mesh = FaceMesh.frontal()
        >>> lower = mesh.landmarks + [0, 5]  # the same face, 5 pixels further down
        >>> mesh.transfer([[56.0, 60.0]], mesh.landmarks, lower).round(3).tolist()
        [[56.0, 65.0]]
        """
        points = np.clip(points, self.border[0], self.border[4]) if clip else points
        return self.place(*self.locate(points, source), target)


def _signed_areas(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Return the (..., T) areas of (..., 76, 2) vertices; positive is clockwise on screen."""
    a, b, c = np.moveaxis(vertices[..., triangles, :], -2, 0)
    u, v = b - a, c - a
    return (u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]) / 2


def _delaunay(points: np.ndarray) -> np.ndarray:
    """Return the (142, 3) Delaunay triangles of the 76 template points."""
    # Four mirrored points lie on one circle; a tiny shear picks the same diagonal on every machine.
    sheared = points + 1e-6 * points[:, ::-1] * [1, 0]
    triangles = Delaunay(sheared).simplices.astype(np.int64)
    areas = _signed_areas(points, triangles)
    triangles = np.where((areas < 0)[:, None], triangles[:, ::-1], triangles)
    triangles = triangles[np.abs(areas) > 1e-6]  # slivers along the straight border enclose nothing
    start = triangles.argmin(axis=1)[:, None]
    triangles = np.take_along_axis(triangles, (start + np.arange(3)) % 3, axis=1)
    return triangles[np.lexsort(triangles.T[::-1])]
