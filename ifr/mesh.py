"""Barycentric transfer between faces: 76 points, 142 triangles (Sec. 3.3 and Sec. 4.2, Fig. 3).

A point of one face and the point with the same barycentric coordinates in the same triangle of
another face mean the same spot of the face. The paper uses this twice: to warp one mask of the
frontal template to every face of a mini-batch, and to warp response peaks back to the frontal face.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from scipy.spatial import Delaunay

from ifr.common.paths import ASSETS
from ifr.landmarks import NUM_LANDMARKS, check_landmarks, mirror

NUM_BORDER = 8
NUM_POINTS = NUM_LANDMARKS + NUM_BORDER
NUM_TRIANGLES = 2 * NUM_POINTS - 2 - NUM_BORDER  # 142: all 8 border points lie on the hull

# Corners and edge midpoints of the unit square, clockwise on screen from the upper left.
_BORDER = np.array([[0, 0], [1, 0], [2, 0], [2, 1], [2, 2], [1, 2], [0, 2], [0, 1]]) / 2.0
_TOLERANCE = 1e-9  # how negative a barycentric coordinate may be and still count as on an edge
_CHUNK = 50_000  # barycentric coordinates held at once: arrays that stay in the cache


@dataclass(frozen=True, eq=False)
class FaceMesh:
    """A frontal face template and its triangles, for moving points between faces.

    The 8 border points are the same for every face. The paper puts them on the image boundary; the
    ArcFace alignment leaves the chin below that boundary (y = 116 to 120 of 112), which would
    turn triangles over, so ours lie a quarter of the image outside it; pass `margin=0` to
    `from_landmarks` to match, with landmarks that stay inside.

    Attributes:
        points: (76, 2) float64 pixels, the 68 template landmarks and the 8 border points.
        triangles: (142, 3) int64 indices into the points, all of positive signed area.
        size: side of the square image frame in pixels; `points` are in this frame.
    """

    points: np.ndarray
    triangles: np.ndarray
    size: float

    def __post_init__(self) -> None:
        points, triangles = np.asarray(self.points, np.float64), np.asarray(self.triangles)
        if points.shape != (NUM_POINTS, 2) or triangles.shape != (NUM_TRIANGLES, 3):
            raise ValueError(
                f"a face mesh has (76, 2) points and (142, 3) triangles, got {points.shape} and "
                f"{triangles.shape}; build one with FaceMesh.from_landmarks"
            )
        areas = _signed_areas(points, triangles)
        square = np.prod(points.max(axis=0) - points.min(axis=0))
        # Triangles that all turn the same way and add up to the square tile it exactly once.
        if not (areas > 0).all() or not np.isclose(areas.sum(), square):
            raise ValueError(
                f"{int((areas <= 0).sum())} of the template's triangles are folded or the border "
                "square is not tiled; the template must be a frontal face inside its border"
            )
        for name, array in (("points", points), ("triangles", triangles.astype(np.int64))):
            array = array.copy()
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    @staticmethod
    def from_landmarks(
        landmarks: np.ndarray,
        size: float = 112,
        *,
        margin: float | None = None,
        symmetric: bool = True,
    ) -> "FaceMesh":
        """Build the mesh of a frontal template by Delaunay triangulation.

        Args:
            landmarks: (68, 2) pixels of the frontal face, such as the mean frontal face of a set.
            size: side of the image frame in pixels.
            margin: distance of the border points outside the frame, in pixels; size / 4 if None.
            symmetric: average the template with its mirror image first. The triangles are then
                mirror images too, but for the quadrilaterals that straddle the midline without a
                point on it (one, between the brows): either diagonal is equally good, and
                the same one is taken everywhere.

        Raises:
            ValueError: for bad landmarks, or landmarks outside the border points.
        """
        landmarks = check_landmarks(landmarks, size=size)
        if landmarks.ndim != 2:
            raise ValueError(f"landmarks of one template are (68, 2), got {landmarks.shape}")
        if symmetric:
            landmarks = (landmarks + mirror(landmarks, size)) / 2
        margin = size / 4 if margin is None else margin
        border = _BORDER * (size + 2 * margin) - margin
        if (landmarks <= border[0]).any() or (landmarks >= border[4]).any():
            raise ValueError(
                f"template landmarks reach from {landmarks.min(axis=0).round(1).tolist()} to "
                f"{landmarks.max(axis=0).round(1).tolist()}, beyond the border points "
                f"{margin:g} pixels outside the {size:g}-pixel frame; give a larger margin"
            )
        points = np.concatenate([landmarks, border])
        return FaceMesh(points, _delaunay(points), size)

    @staticmethod
    def frontal(size: int = 112) -> "FaceMesh":
        """Return the packaged template: the mean frontal face of the default procedural data.

        Args:
            size: 112 for the aligned frame, less for its centre crop (96: the network's input).
        """
        return _frontal(size)

    def crop(self, offset: float = 8, size: float = 96) -> "FaceMesh":
        """Return this mesh in the frame of a crop whose upper left corner is (offset, offset).

        The border points move along, so a transfer in the crop and in the whole image agree.
        """
        if size <= 0 or offset < 0 or offset + size > self.size:
            raise ValueError(
                f"a crop of {size} pixels at {offset} does not lie in the {self.size}-pixel frame"
            )
        return replace(self, points=self.points - offset, size=size)

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
        border = np.broadcast_to(self.border, (*landmarks.shape[:-2], NUM_BORDER, 2))
        return np.concatenate([landmarks, border], axis=-2)

    def folded(self, landmarks: np.ndarray) -> np.ndarray:
        """Return which triangles of a face are turned over: (..., 68, 2) -> (..., 142) bool.

        In a turned face the far cheek lies behind the near one, so its triangles face backwards.
        """
        return _signed_areas(self.vertices(landmarks), self.triangles) <= 0

    def locate(
        self, points: np.ndarray, landmarks: np.ndarray, *, clip: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find the triangle that encloses each point, and the point's place in it.

        Where triangles overlap, in a folded (profile) mesh, triangles that face the camera
        win; among them those of the face win over those that touch the border, and the one
        enlarged most against the template, the one seen most from the front, wins over the rest.
        A folded triangle is never the answer, and every point inside the border has an answer:
        the fixed border makes the triangles wind around it exactly once, backward ones counted
        negative, so at least one faces forward.

        Args:
            points: (..., P, 2) pixels; leading dimensions broadcast with those of the landmarks.
            landmarks: (..., 68, 2) pixels, in this mesh's frame.
            clip: move points outside the border square onto it first.

        Returns:
            triangle: (..., P) int64 index into `triangles`; -1 outside the border and for NaN.
            barycentric: (..., P, 3) float64, summing to 1; NaN where the triangle is -1.

        Raises:
            ValueError: wrong shapes, or NaN landmarks.
        """
        points, landmarks = _check_points(points), check_landmarks(landmarks)
        batch = np.broadcast_shapes(points.shape[:-2], landmarks.shape[:-2])
        shape = (*batch, points.shape[-2])
        if landmarks.size == 2 * NUM_LANDMARKS:  # one face for all the points: one long row
            points = points.reshape(1, -1, 2)
            landmarks = landmarks.reshape(1, NUM_LANDMARKS, 2)
        else:
            points = np.broadcast_to(points, (*shape, 2)).reshape(math.prod(batch), shape[-1], 2)
            landmarks = np.broadcast_to(landmarks, (*batch, NUM_LANDMARKS, 2))
            landmarks = landmarks.reshape(-1, NUM_LANDMARKS, 2)
        low, high = self.border[0], self.border[4]
        if clip:
            points = np.clip(points, low, high)
        inside = ((points >= low) & (points <= high)).all(axis=-1)  # NaN compares false
        safe = np.where(inside[..., None], points, low)
        triangle = np.empty(points.shape[:-1], np.int64)
        barycentric = np.empty((*points.shape[:-1], 3))
        for faces, spots in _chunks(*points.shape[:2]):
            found = self._locate(safe[faces, spots], landmarks[faces])
            triangle[faces, spots], barycentric[faces, spots] = found
        triangle[~inside], barycentric[~inside] = -1, np.nan
        return triangle.reshape(shape), barycentric.reshape(*shape, 3)

    def _locate(self, points: np.ndarray, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Locate (N, P, 2) points, all inside the border, in N faces at once."""
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
        """Return the points with the given place in the mesh: the inverse of `locate`.

        Args:
            triangle: (..., P) int, -1 for none; leading dimensions broadcast with the landmarks'.
            barycentric: (..., P, 3).
            landmarks: (..., 68, 2) pixels, in this mesh's frame.

        Returns:
            (..., P, 2) float64 pixels; NaN where the triangle is -1.
        """
        triangle, vertices = np.asarray(triangle), self.vertices(landmarks)
        batch = np.broadcast_shapes(triangle.shape[:-1], vertices.shape[:-2])
        corner = self.triangles[triangle]  # (..., P, 3); -1 picks the last, masked by NaN below
        corner = np.broadcast_to(corner, (*batch, *corner.shape[-2:]))
        vertices = np.broadcast_to(vertices, (*batch, NUM_POINTS, 2))
        flat = corner.reshape(*batch, 3 * corner.shape[-2], 1)
        corners = np.take_along_axis(vertices, flat, axis=-2).reshape(*corner.shape, 2)
        placed = (np.asarray(barycentric)[..., None] * corners).sum(axis=-2)
        return np.where((triangle < 0)[..., None], np.nan, placed)

    def transfer(
        self, points: np.ndarray, source: np.ndarray, target: np.ndarray, *, clip: bool = False
    ) -> np.ndarray:
        """Move points of one face to the same spot of another (Sec. 3.3).

        Inside a mesh without folded triangles, there and back is the identity. A point that lands
        on a folded triangle of the target lies on a side of the face that is not seen there.

        Args:
            points: (..., P, 2) pixels on the source faces.
            source: (..., 68, 2) landmarks of the source faces; `mesh.landmarks` for the template.
            target: (..., 68, 2) landmarks of the target faces; leading dimensions broadcast.
            clip: move points outside the border square onto it first.

        Returns:
            (..., P, 2) float64 pixels; NaN for points outside the border square. They are inside
            the border square, which is wider than the image, unless target landmarks leave it.
        """
        return self.place(*self.locate(points, source, clip=clip), target)


@cache
def _frontal(size: int) -> FaceMesh:
    if not 0 < size <= 112:
        raise ValueError(f"size of the frontal mesh must be in 1..112, got {size}")
    mesh = FaceMesh.from_landmarks(np.load(ASSETS / "frontal68.npy"), size=112)
    return mesh if size == 112 else mesh.crop((112 - size) / 2, size)


def _check_points(points: np.ndarray) -> np.ndarray:
    points = np.asarray(points)
    if points.ndim < 2 or points.shape[-1] != 2:
        raise ValueError(f"points must have shape (..., P, 2), got {points.shape}")
    return points.astype(np.float64)


def _signed_areas(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Return the (..., T) areas of (..., 76, 2) vertices; positive is clockwise on screen."""
    a, b, c = np.moveaxis(vertices[..., triangles, :], -2, 0)
    u, v = b - a, c - a
    return (u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]) / 2


def _delaunay(points: np.ndarray) -> np.ndarray:
    """Return the (142, 3) Delaunay triangles of the 76 template points.

    Four points that mirror each other lie on one circle, where Delaunay may take either diagonal:
    a shear far below any landmark's accuracy decides it the same way on every machine.
    """
    sheared = points + 1e-6 * points[:, ::-1] * [1, 0]
    triangles = Delaunay(sheared).simplices
    areas = _signed_areas(points, triangles)
    triangles = np.where((areas < 0)[:, None], triangles[:, ::-1], triangles)
    triangles = triangles[np.abs(areas) > 1e-6]  # slivers along the straight border enclose nothing
    start = triangles.argmin(axis=1)[:, None]
    triangles = np.take_along_axis(triangles, (start + np.arange(3)) % 3, axis=1)
    return triangles[np.lexsort(triangles.T[::-1])]


def _chunks(faces: int, points: int) -> Iterator[tuple[slice, slice]]:
    """Cut a (faces, points) table into blocks of bounded memory."""
    columns = max(1, min(points, _CHUNK // NUM_TRIANGLES))
    rows = max(1, _CHUNK // (NUM_TRIANGLES * columns))
    for row in range(0, faces, rows):
        for column in range(0, points, columns):
            yield slice(row, row + rows), slice(column, column + columns)
