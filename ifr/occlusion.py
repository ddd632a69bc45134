"""Synthetic occlusion: a rectangle on the template, warped to every face (Sec. 3.3, Fig. 3).

BlaS is a black 32 x 12 rectangle; GauD is noise in one whose sides are drawn from 12 to 32
(Sec. 4.1). Sizes are pixels of the 96 x 96 frontal frame, ``mesh`` by default its mesh.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import ArrayLike
from scipy.spatial import ConvexHull
from torch import Tensor

from ifr.common.errors import UserError
from ifr.common.tensors import check_floating, widened
from ifr.landmarks import CROP_SIZE, GROUPS, NUM_LANDMARKS, check_landmarks
from ifr.mesh import FaceMesh

KINDS = {"BlaS": "black", "GauD": "noise"}  # name in the paper (Table 2) -> what fills the mask
BLAS_SIZE = (32, 12)  # width, height
GAUD_RANGE = (12, 32)  # both ends included
NOISE_STD = 0.5  # the paper gives none; in network range, so 5 % of the values are clipped to +-1
RELEASED_MARGIN = 10  # pixels of the frame that the released code keeps free

# The black 32 x 12 boxes of Fig. 6 and 7: places from the released code (x, y, width, height in its
# 96 x 96 frame, whose alignment differs from ours by about a pixel). The paper shows five of them.
FIXED_BOXES: dict[str, tuple[int, int, int, int]] = {
    "forehead": (10, 10, 32, 12),
    "right_eye": (15, 35, 32, 12),
    "left_eye": (55, 35, 32, 12),
    "nose": (30, 55, 32, 12),
    "mouth": (30, 68, 32, 12),
    "cheek": (55, 55, 32, 12),
}


def corners(rectangle: ArrayLike) -> np.ndarray:
    """Return the corners of (..., 4) x, y, width, height as (..., 4, 2), clockwise on screen."""
    rectangle = np.asarray(rectangle, np.float64)
    if rectangle.shape[-1:] != (4,):
        raise UserError(f"a rectangle is x, y, width, height; got shape {rectangle.shape}")
    if not np.isfinite(rectangle).all() or (rectangle[..., 2:] <= 0).any():
        raise UserError(f"a rectangle needs finite x, y and positive sizes, got {rectangle}")
    unit = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    return rectangle[..., None, :2] + unit * rectangle[..., None, 2:]


@lru_cache(maxsize=8)
def face_hull(mesh: FaceMesh) -> np.ndarray:
    """Return the (P, 2) convex outline of the template's face, cut at its image, clockwise."""
    # The landmarks end at the brows. By the rule of facial thirds hairline to brows is about as
    # long as brows to nose base; half of it is added, to stay below the hair.
    landmarks = mesh.landmarks
    brows = landmarks[GROUPS["right_brow"].start : GROUPS["left_brow"].stop]
    third = landmarks[33, 1] - brows[:, 1].mean()
    forehead = brows - [0, third / 2]
    points = np.clip(np.concatenate([landmarks, forehead]), 0, mesh.size)
    hull = points[ConvexHull(points).vertices]
    hull.setflags(write=False)
    return hull


def on_face(rectangle: ArrayLike, mesh: FaceMesh) -> np.ndarray:
    """Return (...) bool: do all four corners of (..., 4) rectangles lie on the template's face?"""
    hull = face_hull(mesh)
    edge = np.roll(hull, -1, axis=0) - hull
    offset = corners(rectangle)[..., None, :] - hull  # (..., 4, P, 2)
    cross = edge[:, 0] * offset[..., 1] - edge[:, 1] * offset[..., 0]
    return (cross >= 0).all(axis=(-2, -1))


def draw_rectangle(
    rng: Generator, mesh: FaceMesh | None = None, *, kind: str = "BlaS", placement: str = "face"
) -> tuple[float, float, float, float]:
    """Draw x, y, width, height of the normalised mask of one mini-batch (Sec. 3.3).

    The paper places it "randomly on the face"; we draw from where all four corners lie on the face;
    pass ``placement="released"`` to match the released code: anywhere 10 pixels off the border.
    """
    mesh = FaceMesh.frontal(CROP_SIZE) if mesh is None else mesh
    if placement not in ("face", "released"):
        raise UserError(f'placement must be "face" or "released", got {placement!r}')
    if kind not in KINDS:
        raise UserError(f'kind must be "BlaS" or "GauD", got {kind!r}')
    blas = kind == "BlaS"
    size = np.array(BLAS_SIZE) if blas else rng.integers(*GAUD_RANGE, size=2, endpoint=True)
    low, high = face_hull(mesh).min(axis=0), face_hull(mesh).max(axis=0) - size
    if placement == "released":
        low, high = np.full(2, RELEASED_MARGIN), mesh.size - RELEASED_MARGIN - size
    # Rejection keeps the place uniform; about a third of the draws are taken.
    for _ in range(1000 if (high >= low).all() else 0):
        rectangle = (*rng.uniform(low, high).tolist(), *map(float, size))
        if placement == "released" or on_face(rectangle, mesh):
            return rectangle
    raise UserError(f"a {size[0]:g} x {size[1]:g} rectangle does not fit on this template's face")


def draw_rectangles(
    rng: Generator, count: int, mesh: FaceMesh | None = None, **options: str
) -> np.ndarray:
    """Draw one rectangle per image, (count, 4), as for the synthetic occlusion of Sec. 4 tests."""
    return np.array([draw_rectangle(rng, mesh, **options) for _ in range(count)]).reshape(-1, 4)


def warp_vertices(
    rectangle: ArrayLike,
    landmarks: Tensor | np.ndarray,
    *,
    mesh: FaceMesh | None = None,
    size: float | None = None,
    check: bool = True,
) -> Tensor:
    """Warp a template rectangle's vertices to each face by barycentric coordinates (Fig. 3).

    Only the vertices move, as in the paper: (N, 4, 2) pixels of images with sides of ``size``, the
    mesh's if None. A rectangle is (4,) for all faces or (N, 4). ``check=False`` spares a GPU the
    wait for landmarks that were checked before.
    """
    mesh = FaceMesh.frontal(CROP_SIZE) if mesh is None else mesh
    size = mesh.size if size is None else size
    faces = torch.as_tensor(landmarks)
    if not isinstance(landmarks, Tensor) or not faces.is_floating_point():
        faces = faces.to(torch.float64)
    if check and (check_landmarks(faces.detach().cpu().numpy(), size=size).ndim != 3):
        raise UserError(f"landmarks must be (N, {NUM_LANDMARKS}, 2), got {tuple(faces.shape)}")
    boxes = np.asarray(rectangle, np.float64)
    if boxes.shape not in ((4,), (len(faces), 4)):
        raise UserError(f"rectangle must be (4,) or one per face ({len(faces)}); got {boxes.shape}")
    triangle, barycentric = _locate(mesh, tuple(map(tuple, np.atleast_2d(boxes).tolist())))
    corner = torch.as_tensor(mesh.triangles[triangle], device=faces.device)  # (1 or N, 4, 3)
    row = torch.arange(len(faces), device=faces.device)[:, None, None]
    weights = torch.as_tensor(barycentric).to(faces)
    border = torch.as_tensor(mesh.border * (size / mesh.size)).to(faces)
    vertices = torch.cat([faces, border.expand(len(faces), -1, -1)], dim=1)  # (N, 76, 2)
    return (weights[..., None] * vertices[row, corner]).sum(dim=-2)  # over (N, 4, 3, 2)


def fill_polygon(vertices: Tensor, height: int, width: int) -> Tensor:
    """Return masks (N, height, width) of the pixels with their centre in polygons (N, V, 2)."""
    # By the even-odd rule, left and top edges inside, right and bottom ones not: no overlaps.
    check_floating("vertices", vertices, "(N, V, 2)")
    rows, columns = (vertices.new_ones(side).cumsum(0) - 0.5 for side in (height, width))
    inside = vertices.new_zeros((len(vertices), height, width), dtype=torch.bool)
    ends = vertices.roll(-1, dims=1)
    for k in range(vertices.shape[1]):  # over the four edges, each for all images at once
        (x0, y0), (x1, y1) = (e[:, :, None].unbind(1) for e in (vertices[:, k], ends[:, k]))
        crosses = (y0 <= rows) != (y1 <= rows)  # (N, H): does the edge cross this row of centres?
        slope = (x1 - x0) / torch.where(y1 == y0, 1.0, y1 - y0)
        at = torch.where(crosses, x0 + (rows - y0) * slope, -torch.inf)
        inside ^= columns < at[:, :, None]  # one more edge to the right of the centre
    return inside


def occlude(
    images: Tensor,
    landmarks: Tensor | np.ndarray,
    rectangle: ArrayLike | Sequence[float],
    *,
    mesh: FaceMesh | None = None,
    fill: str = "black",
    generator: torch.Generator | None = None,
    noise: Tensor | None = None,
    check: bool = True,
) -> tuple[Tensor, Tensor]:
    """Return images with the same spot of every face covered (Sec. 3.3), and masks of where.

    Images are (N, C, H, H) in [-1, 1], H of any scale of the mesh's frame; landmarks (N, 68, 2) are
    in their frame. ``fill`` is "black" (-1) or "noise", from ``generator`` or as given: normal of
    std 0.5 for each pixel and channel, clipped (the paper gives no parameters).

    >>> mesh = FaceMesh.frontal(96)
    >>> images, landmarks = torch.zeros(2, 3, 96, 96), np.stack([mesh.landmarks] * 2)
    >>> covered, masks = occlude(images, landmarks, (30, 40, 32, 12))  # BlaS over the nose
    >>> masks.sum(dim=(1, 2)).tolist()
    [384, 384]
    """
    mesh = FaceMesh.frontal(CROP_SIZE) if mesh is None else mesh
    check_floating("images", images, "(N, C, H, H)")
    if images.shape[-1] != images.shape[-2] or len(images) != len(landmarks):
        got = f"{tuple(images.shape)} and landmarks of {len(landmarks)} faces"
        raise UserError(f"images must be square, one for each face; got images {got}")
    side = images.shape[-1]
    # Places are computed in float32 at least: half precision would move them by tenths of pixels.
    landmarks = widened(torch.as_tensor(landmarks, device=images.device))
    vertices = warp_vertices(rectangle, landmarks, mesh=mesh, size=side, check=check)
    masks = fill_polygon(vertices, side, side)
    if fill not in KINDS.values():
        raise UserError(f'fill must be "black" or "noise", got {fill!r}')
    cover = images.new_full((), -1.0) if fill == "black" else noise
    if cover is None:
        if generator is None:
            raise UserError('fill="noise" needs a generator, so that a run can be repeated')
        cover = draw_noise(images.shape, generator)
    return torch.where(masks[:, None], cover.to(images), images), masks


def draw_noise(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Return values for GauD masks of images of that shape, on the generator's device."""
    noise = torch.randn(*shape, generator=generator, device=generator.device)
    return (noise * NOISE_STD).clamp_(-1, 1)


@lru_cache(maxsize=64)  # batches share rectangles, such as the fixed boxes
def _locate(mesh: FaceMesh, boxes: tuple[tuple[float, ...], ...]) -> tuple[np.ndarray, np.ndarray]:
    vertices = corners(np.reshape(boxes, (-1, 4)))  # none of no faces
    if (vertices < 0).any() or (vertices > mesh.size).any():
        raise UserError(f"rectangle {boxes} leaves the {mesh.size:g}-pixel frontal frame")
    return mesh.locate(vertices, mesh.landmarks)
