"""The 68 iBUG landmarks: groups, mirroring, and alignment to the ArcFace five-point template.

Coordinates are continuous pixels, x to the right and y down; pixel (row i, column j) covers the
square [j, j + 1) x [i, i + 1), so its centre is (j + 0.5, i + 0.5). "Left" and "right" are the
subject's own, as in the iBUG scheme: the right eye is on the left of the image.
"""

import numpy as np

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
    landmarks: np.ndarray, name: str = "landmarks", size: float | None = None
) -> np.ndarray:
    """Return landmarks as float64 after checking what every caller relies on.

    Args:
        landmarks: (..., 68, 2) array (a CPU tensor will do), pixels, x then y.
        name: how the error messages call it.
        size: side of the square image in pixels, if known. Single points of a turned face may
            leave the image, but the centre of a face may not: that is landmarks of another frame.

    Returns:
        (..., 68, 2) float64.

    Raises:
        TypeError: if the values are not numbers.
        ValueError: wrong shape or count, NaN or infinite values, or a face outside the image.
    """
    array = np.asarray(landmarks)
    if not np.issubdtype(array.dtype, np.number) or np.iscomplexobj(array):
        raise TypeError(f"{name} must be real numbers, got dtype {array.dtype}")
    if array.ndim < 2 or array.shape[-2:] != (NUM_LANDMARKS, 2):
        raise ValueError(
            f"{name} must have shape (..., 68, 2), the iBUG points as x, y; got {array.shape}; "
            "other landmark schemes have to be converted first"
        )
    array = array.astype(np.float64, copy=False)
    bad = ~np.isfinite(array).all(axis=(-2, -1))
    if bad.any():
        first = np.flatnonzero(bad)[:5].tolist()
        raise ValueError(
            f"{name} holds NaN or infinite values in {int(bad.sum())} of {bad.size} faces "
            f"(first at {first}); drop the faces whose landmarks were not found"
        )
    if size is not None and array.size:
        centre = array.mean(axis=-2)
        outside = ((centre < 0) | (centre > size)).any(axis=-1)
        if outside.any():
            at = centre[outside][0].round(1).tolist()
            raise ValueError(
                f"{name} of {int(outside.sum())} faces centre outside the {size:g}-pixel image "
                f"(first at x, y = {at}); give landmarks in the frame of the image itself"
            )
    return array


def five_points(landmarks: np.ndarray) -> np.ndarray:
    """Return the five points of the ArcFace alignment.

    Args:
        landmarks: (..., 68, 2) pixels.

    Returns:
        (..., 5, 2): the two eye centres in image order, nose tip, the two mouth corners.
    """
    landmarks = check_landmarks(landmarks)
    eyes = [landmarks[..., GROUPS[name], :].mean(axis=-2) for name in ("right_eye", "left_eye")]
    tip, right, left = (landmarks[..., i, :] for i in (30, 48, 54))
    return np.stack([*eyes, tip, right, left], axis=-2)


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the least-squares similarity (rotation, scale, shift) that takes source to target.

    Args:
        source: (..., P, 2) points.
        target: (..., P, 2) points; the leading shapes broadcast.

    Returns:
        (..., 2, 3) matrices for `apply_similarity`; never a reflection.

    Raises:
        ValueError: if the points do not match, or all source points of a set coincide.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    if source.shape[-2:] != target.shape[-2:] or source.shape[-1] != 2:
        raise ValueError(
            f"source and target must both be (..., P, 2), got {source.shape} and {target.shape}"
        )
    centre_s, centre_t = source.mean(axis=-2), target.mean(axis=-2)
    s, t = source - centre_s[..., None, :], target - centre_t[..., None, :]
    spread = (s**2).sum(axis=(-2, -1))
    if np.any(spread == 0):
        raise ValueError("source points all coincide: no similarity is defined")
    # As complex numbers z -> (a + ib) z + c, the optimum is a plain one-variable regression.
    a = (s * t).sum(axis=(-2, -1)) / spread
    b = (s[..., 0] * t[..., 1] - s[..., 1] * t[..., 0]).sum(axis=-1) / spread
    linear = np.stack([np.stack([a, -b], axis=-1), np.stack([b, a], axis=-1)], axis=-2)
    shift = centre_t - (linear @ centre_s[..., None])[..., 0]
    return np.concatenate([linear, shift[..., None]], axis=-1)


def apply_similarity(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Apply (..., 2, 3) affine matrices to (..., P, 2) points; returns (..., P, 2)."""
    matrix, points = np.asarray(matrix), np.asarray(points)
    return points @ np.swapaxes(matrix[..., :2], -1, -2) + matrix[..., None, :, 2]


def mirror(landmarks: np.ndarray, width: float) -> np.ndarray:
    """Return the landmarks of the horizontally flipped image.

    Args:
        landmarks: (..., 68, 2) pixels.
        width: width of the image in pixels.

    Returns:
        (..., 68, 2), renumbered so that point 0 is again the jaw's first point.
    """
    flipped = check_landmarks(landmarks)[..., MIRROR, :].copy()
    flipped[..., 0] = width - flipped[..., 0]
    return flipped
