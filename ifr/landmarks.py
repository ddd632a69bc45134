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
ARCFACE_TEMPLATE = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)
ARCFACE_TEMPLATE.setflags(write=False)

# MIRROR[i] is the landmark that point i becomes when the face is flipped left to right.
MIRROR = np.array(
    [
        *range(16, -1, -1),  # jaw
        *range(26, 16, -1),  # brows
        *(27, 28, 29, 30),  # nose bridge
        *(35, 34, 33, 32, 31),  # nostrils
        *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),  # eyes
        *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),  # outer lips
        *(64, 63, 62, 61, 60, 67, 66, 65),  # inner lips
    ]
)
MIRROR.setflags(write=False)


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
        raise UserError(
            f"{name} must have shape (..., 68, 2), the iBUG points as x, y; got {array.shape}; "
            "other landmark schemes have to be converted first"
        )
    array = array.astype(np.float64, copy=False)
    bad = ~np.isfinite(array).all(axis=(-2, -1))
    if bad.any():
        first = np.flatnonzero(bad)[:5].tolist()
        raise UserError(
            f"{name} holds NaN or infinite values in {int(bad.sum())} of {bad.size} faces "
            f"(first at {first}); drop the faces whose landmarks were not found"
        )
    if size is not None and array.size:
        centre = array.mean(axis=-2)
        outside = ((centre < 0) | (centre > size)).any(axis=-1)
        if outside.any():
            at = centre[outside][0].round(1).tolist()
            raise UserError(
                f"{name} of {int(outside.sum())} faces centre outside the {size:g}-pixel image "
                f"(first at x, y = {at}); give landmarks in the frame of the image itself"
            )
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
    ``"all"`` takes all 68 points to the mean frontal face, which suffers less from a single wrong
    point but takes a turned face to another place.
    """
    if method == "five":
        return similarity(five_points(landmarks), ARCFACE_TEMPLATE)
    if method == "all":
        return similarity(check_landmarks(landmarks), np.load(ASSETS / "frontal68.npy"))
    raise UserError(f"method must be five or all, got {method!r}")


def five_point_alignment(points: np.ndarray) -> np.ndarray:
    """Return the (2, 3) similarity from an image to the aligned frame for the template's points.

    Unknown ones of the (5, 2) are NaN, such as the mouth corners of IJB-A.
    """
    points = np.asarray(points, np.float64)
    known = np.isfinite(points).all(axis=1)
    if known.sum() < 2:
        raise UserError(f"alignment needs two of the five points, {int(known.sum())} are known")
    return similarity(points[known], ARCFACE_TEMPLATE[known])
