"""The 68 iBUG landmarks: groups, mirroring, sizes, and alignment to the ArcFace template.

Coordinates are continuous pixels, x to the right and y down; the centre of pixel (row i, column j)
is (j + 0.5, i + 0.5). "Left" and "right" are the subject's: the right eye is left in the image.
"""

from functools import cache
from itertools import pairwise, product

import numpy as np
from numpy.typing import ArrayLike

from ifr.common.errors import UserError
from ifr.common.paths import ASSETS

NUM_LANDMARKS = 68
FACE_SIZE = 112  # side of an aligned face on disk, pixels: ArcFace's frame
CROP_SIZE = 96  # side of the crop the paper's network takes (Table 1), pixels
CROP_OFFSET = (FACE_SIZE - CROP_SIZE) // 2  # of the centre crop, used in every test
CROP = slice(CROP_OFFSET, CROP_OFFSET + CROP_SIZE)  # of the rows, and of the columns

_NAMES = ("jaw", "right_brow", "left_brow", "nose", "right_eye", "left_eye", "mouth")
_BOUNDS = pairwise((0, 17, 22, 27, 36, 42, 48, NUM_LANDMARKS))
GROUPS = {name: slice(*ends) for name, ends in zip(_NAMES, _BOUNDS, strict=True)}

# Eyes (image left, image right), nose tip, mouth corners in the 112 x 112 frame: the alignment of
# ArcFace [12], used by the paper for all its images (Sec. 4). Numbers as ArcFace publishes them.
_X = [38.2946, 73.5318, 56.0252, 41.5493, 70.7299]
_Y = [51.6963, 51.5014, 71.7366, 92.3655, 92.2041]
ARCFACE_TEMPLATE = np.column_stack([_X, _Y])

# The same points of the mean head in space: x to the image's right, y down, z to the viewer.
_ACROSS, _DOWN = [-8.8, 8.8, 0, -6.6, 6.6], [-9.8, -9.8, 0.9, 9.4, 9.4]
_SOLID = np.array([_ACROSS, _DOWN, [-2.6, -2.6, 5.6, -0.2, -0.2]])
FLAT = 0.1  # points are on a line when they spread across it by so little of their spread along it

# MIRROR[i] is the landmark that point i becomes when the face is flipped left to right.
_FRAME = np.r_[16:-1:-1, 26:16:-1, 27:31, 35:30:-1]  # jaw, brows, nose bridge, nostrils
_MIRRORED_EYES = np.r_[45:41:-1, 47, 46, 39:35:-1, 41, 40]
_LIPS = np.r_[54:47:-1, 59:54:-1, 64:59:-1, 67:64:-1]  # outer above, outer below, inner likewise
MIRROR = np.concatenate([_FRAME, _MIRRORED_EYES, _LIPS])

for _shared in (ARCFACE_TEMPLATE, MIRROR):
    _shared.setflags(write=False)


def check_landmarks(
    landmarks: ArrayLike, name: str = "landmarks", size: float | None = None
) -> np.ndarray:
    """Return landmarks (..., 68, 2) as float64, or say what is wrong with what ``name`` names."""
    array = np.asarray(landmarks)
    if not np.issubdtype(array.dtype, np.number) or np.iscomplexobj(array):
        raise TypeError(f"{name} must be real numbers, got dtype {array.dtype}")
    if array.ndim < 2 or array.shape[-2:] != (NUM_LANDMARKS, 2):
        raise UserError(f"{name} must be iBUG's points as x, y, (..., 68, 2); got {array.shape}")
    array = array.astype(np.float64, copy=False)
    bad = ~np.isfinite(array).all(axis=(-2, -1))
    if bad.any():
        where = f"{bad.sum()} of {bad.size} faces (first at {np.flatnonzero(bad)[:5].tolist()})"
        raise UserError(f"{name} holds NaN or infinite values in {where}; drop those faces")
    if size is not None and array.size:  # points of a turned face may leave the image, not all
        centre = array.mean(axis=-2)
        outside = ((centre < 0) | (centre > size)).any(axis=-1)
        if outside.any():
            first = f"first at x, y = {centre[outside][0].round(1)}"
            fault = f"{name} of {outside.sum()} faces centre outside {size:g} pixels"
            raise UserError(f"{fault}, {first}: give them in the frame of the image")
    return array


def mirror(landmarks: np.ndarray, width: float) -> np.ndarray:
    """Return the landmarks (..., 68, 2), renumbered, of the flipped image of that width."""
    flipped = check_landmarks(landmarks)[..., MIRROR, :].copy()
    flipped[..., 0] = width - flipped[..., 0]
    return flipped


def five_points(landmarks: np.ndarray) -> np.ndarray:
    """Return the points (..., 5, 2) of the template: eye centres, nose tip, mouth corners."""
    landmarks = check_landmarks(landmarks)
    eyes = [landmarks[..., GROUPS[name], :].mean(axis=-2) for name in ("right_eye", "left_eye")]
    tip, right, left = (landmarks[..., i, :] for i in (30, 48, 54))
    return np.stack([*eyes, tip, right, left], axis=-2)


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the least-squares (2, 3) matrix of rotation, scale and shift between points (P, 2)."""
    # Imported here: it takes 0.2 s, which every program that only reads landmarks would wait for.
    from skimage.transform import SimilarityTransform

    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    fit = SimilarityTransform.from_estimate(source, target)
    if not fit:
        raise UserError("the points all coincide: no similarity is defined; drop this face")
    return fit.params[:2]


def apply_similarity(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Apply (..., 2, 3) affine matrices to (..., P, 2) points; returns (..., P, 2)."""
    matrix, points = np.asarray(matrix), np.asarray(points)
    return points @ np.swapaxes(matrix[..., :2], -1, -2) + matrix[..., None, :, 2]


def alignment(landmarks: np.ndarray, method: str = "five") -> np.ndarray:
    """Return the (2, 3) similarity to the frame by "five" points, as the paper, or by "all"."""
    if method == "five":
        return similarity(five_points(landmarks), ARCFACE_TEMPLATE)
    if method == "all":
        return similarity(check_landmarks(landmarks), np.load(ASSETS / "frontal68.npy"))
    raise UserError(f"method must be five or all, got {method!r}")


def five_point_alignment(points: np.ndarray) -> np.ndarray:
    """Return the (2, 3) similarity to the aligned frame of (5, 2) points, unknown ones NaN."""
    points = np.asarray(points, np.float64)
    known = np.isfinite(points).all(axis=1)
    if known.sum() < 2:
        raise UserError(f"alignment needs two of the five points, {int(known.sum())} are known")
    return similarity(points[known], ARCFACE_TEMPLATE[known])


def misfit(points: np.ndarray) -> tuple[float, float]:
    """Return how unlike a face's five points (5, 2) are, and their roll, degrees clockwise.

    The first is the Procrustes distance, 0 to 1, to the nearest view of the mean head: at most 0.31
    for 18,734 detected faces, 0.36 to 0.8 where sides or x and y are swapped, 1 on a line. Unknown
    points are NaN; two fit always.
    """
    points = np.asarray(points, np.float64)
    known = np.isfinite(points).all(axis=1)
    centred, views = points[known] - points[known].mean(axis=0), _views()[:, known]
    along, across = np.linalg.svd(centred, compute_uv=False)
    seen, views = centred @ [1, 1j], views - views.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(seen) * np.linalg.norm(views, axis=1)
    match = views.conj() @ seen / np.maximum(lengths, 1e-9)
    best = match[np.argmax(np.abs(match).round(6))]  # the most frontal of views that fit alike
    on_a_line = known.sum() > 3 and across < FLAT * along
    distance = 1.0 if on_a_line else float(np.sqrt(max(0.0, 1 - abs(best) ** 2)))
    return distance, float(np.degrees(np.angle(best)))


@cache
def _views() -> np.ndarray:
    """Return the five points as seen from many sides, (V, 5) complex x + iy, from the front on."""
    views, (x, y, z) = [], _SOLID
    turns = product(range(-90, 91, 15), (-30, 0, 30))
    for turn in sorted(turns, key=lambda angles: np.abs(angles).sum()):
        (cos, nod_cos), (sin, nod_sin) = np.cos(np.radians(turn)), np.sin(np.radians(turn))
        depth = cos * z - sin * x
        views.append(cos * x + sin * z + 1j * (nod_cos * y - nod_sin * depth))
    return np.array(views)
