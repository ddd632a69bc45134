"""Alignment to the 112×112 frame of ArcFace: the paper aligns every image so (Sec. 4)."""

import cv2
import numpy as np

from ifr.common.paths import ASSETS
from ifr.landmarks import ARCFACE_TEMPLATE, five_points, similarity

SIZE = 112
METHODS = ("five", "all", "none")


def alignment(landmarks: np.ndarray, method: str = "five") -> np.ndarray:
    """Return the similarity from an image to the aligned frame.

    Args:
        landmarks: (68, 2) pixels of the image.
        method: ``"five"``: eyes, nose tip and mouth corners to the ArcFace template, as the paper;
            ``"all"``: all 68 points to the mean frontal face, which suffers less from a single
            wrong point but takes a turned face to another place.

    Returns:
        (2, 3), for :func:`ifr.landmarks.apply_similarity` and :func:`warp_face`.

    Raises:
        ValueError: for another method, or points that all coincide.
    """
    if method == "five":
        return similarity(five_points(landmarks), ARCFACE_TEMPLATE)
    if method == "all":
        return similarity(np.asarray(landmarks, np.float64), np.load(ASSETS / "frontal68.npy"))
    raise ValueError(f"method must be five or all, got {method!r}")


def five_point_alignment(points: np.ndarray) -> np.ndarray:
    """Return the similarity from an image to the aligned frame for five points.

    Args:
        points: (5, 2) in the order of ``ARCFACE_TEMPLATE``; unknown ones are NaN, such as the mouth
            corners of IJB-A.

    Raises:
        ValueError: if fewer than two points are known.
    """
    known = np.isfinite(points).all(axis=1)
    if known.sum() < 2:
        raise ValueError(f"alignment needs two of the five points, {int(known.sum())} are known")
    return similarity(np.asarray(points, np.float64)[known], ARCFACE_TEMPLATE[known])


def warp_face(image: np.ndarray, matrix: np.ndarray, size: int = SIZE) -> np.ndarray:
    """Return the aligned face; what lies outside of the image is black.

    Bilinear; an image that shrinks to less than half is averaged down first, so that no
    pixel is skipped.

    Args:
        image: (H, W, 3) uint8.
        matrix: (2, 3) similarity from the image to the face, in continuous pixels.
        size: side of the result.

    Returns:
        (size, size, 3) uint8.
    """
    linear, shift = np.array(matrix[:, :2], np.float64), np.array(matrix[:, 2], np.float64)
    scale = np.sqrt(abs(np.linalg.det(linear)))
    if scale < 0.5:
        height, width = (max(1, round(2 * scale * side)) for side in image.shape[:2])
        shrunk = np.array([image.shape[1] / width, image.shape[0] / height])
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        linear = linear * shrunk
    # OpenCV counts a pixel's centre as a whole number; ours lies at one half.
    shift = shift + linear @ [0.5, 0.5] - 0.5
    affine = np.column_stack([linear, shift])
    return cv2.warpAffine(image, affine, (size, size), flags=cv2.INTER_LINEAR)
