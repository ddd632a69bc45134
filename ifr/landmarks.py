"""The 68 iBUG landmarks: groups, mirroring, sizes, and alignment to the ArcFace template.

Coordinates are continuous pixels, x to the right and y down; pixel (row i, column j) covers the
square [j, j + 1) x [i, i + 1), so its centre is (j + 0.5, i + 0.5). "Left" and "right" are the
subject's own, as in the iBUG scheme: the right eye is on the left of the image.
"""

import numpy as np
from numpy.typing import ArrayLike

from ifr.common.errors import UserError
from ifr.common.paths import ASSETS

NUM_LANDMARKS = 68
FACE_SIZE = 112  # side of an aligned face on disk, pixels: ArcFace's frame
CROP_SIZE = 96  # side of the crop the paper's network takes (Table 1), pixels
CROP_OFFSET = (FACE_SIZE - CROP_SIZE) // 2  # of the centre crop, used in every test
CROP = slice(CROP_OFFSET, CROP_OFFSET + CROP_SIZE)  # of the rows, and of the columns

GROUPS: dict[str, slice] = {
    "jaw": slice(0, 17),
    "right_brow": slice(17, 22),
    "left_brow": slice(22, 27),
    "nose": slice(27, 36),
    "right_eye": slice(36, 42),
    "left_eye": slice(42, 48),
    "mouth": slice(48, 68),
}

# Eyes (image left, image right), nose tip, mouth corners in the 112 x 112 frame: the alignment of
# ArcFace [12], used by the paper for all its images (Sec. 4). Numbers as ArcFace publishes them.
_EYES = [[38.2946, 51.6963], [73.5318, 51.5014]]
_MOUTH = [[41.5493, 92.3655], [70.7299, 92.2041]]
ARCFACE_TEMPLATE = np.array([*_EYES, [56.0252, 71.7366], *_MOUTH])

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
    """Return landmarks (..., 68, 2) as float64, or say what is wrong with what ``name`` names.

    Single points of a turned face may leave its square image, whose side is ``size`` if known, but
    the centre of a face may not: such landmarks are of another frame.
    """
    array = np.asarray(landmarks)
    if not np.issubdtype(array.dtype, np.number) or np.iscomplexobj(array):
        raise TypeError(f"{name} must be real numbers, got dtype {array.dtype}")
    if array.ndim < 2 or array.shape[-2:] != (NUM_LANDMARKS, 2):
        wanted = "(..., 68, 2), the iBUG points as x, y (convert other schemes first)"
        raise UserError(f"{name} must have shape {wanted}; got {array.shape}")
    array = array.astype(np.float64, copy=False)
    bad = ~np.isfinite(array).all(axis=(-2, -1))
    if bad.any():
        where = f"{bad.sum()} of {bad.size} faces (first at {np.flatnonzero(bad)[:5].tolist()})"
        raise UserError(f"{name} holds NaN or infinite values in {where}; drop those faces")
    if size is not None and array.size:
        centre = array.mean(axis=-2)
        outside = ((centre < 0) | (centre > size)).any(axis=-1)
        if outside.any():
            where = f"the {size:g}-pixel image (first at x, y = {centre[outside][0].round(1)})"
            fault = f"{name} of {outside.sum()} faces centre outside {where}"
            raise UserError(f"{fault}; give landmarks in the frame of the image itself")
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
    """Return the (2, 3) similarity from an image with landmarks (68, 2) to the aligned frame.

    ``"five"`` takes eyes, nose tip and mouth corners to the ArcFace template, as the paper;
    ``"all"`` takes all 68 points to the mean frontal face, robust against a single wrong point.
    """
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
