"""Photographs to the 112×112 frame of ArcFace: the paper aligns every image so (Sec. 4)."""

import json
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from ifr.common.errors import UserError
from ifr.datasets.detect import Detector
from ifr.datasets.readers.images import LazyImages, UnreadableImage
from ifr.landmarks import (
    FACE_SIZE,
    NUM_LANDMARKS,
    alignment,
    apply_similarity,
    five_point_alignment,
)

METHODS = ("five", "all", "none")


def warp_face(image: np.ndarray, matrix: np.ndarray, size: int = FACE_SIZE) -> np.ndarray:
    """Return the aligned face, (size, size, 3) uint8; what lies outside of the image is black.

    Bilinear; an image that shrinks to less than half is averaged down first, so that no
    pixel is skipped.

    Args:
        image: (H, W, 3) uint8.
        matrix: (2, 3) similarity from the image to the face, in continuous pixels.
        size: side of the result.
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


@dataclass(frozen=True, eq=False)
class Photographs:
    """Images, and what is known of the face in each; NaN where nothing is.

    Attributes:
        images: N.
        points: (N, 68, 2) given landmarks, or None.
        five: (N, 5, 2) points in the order of ``ARCFACE_TEMPLATE``.
        boxes: (N, 4) x, y, width, height of the face.
        detect: find landmarks where none are given.
        method: one of ``METHODS``.
    """

    images: LazyImages
    points: np.ndarray | None
    five: np.ndarray
    boxes: np.ndarray
    detect: bool
    method: str

    @property
    def have_landmarks(self) -> bool:
        """Whether the aligned faces will have 68 landmarks."""
        return self.points is not None or self.detect

    def some(self, rows: slice) -> "Photographs":
        """Return some of them, to be sent to a worker without the others."""
        points = None if self.points is None else self.points[rows]
        five, boxes = self.five[rows], self.boxes[rows]
        return Photographs(self.images[rows], points, five, boxes, self.detect, self.method)


class Unusable(Exception):
    """A face that cannot be aligned; the message is the reason in few words."""


def align(photographs: Photographs) -> dict[str, np.ndarray]:
    """Return the aligned faces and their landmarks, without those that cannot be had.

    ``missed`` holds these as JSON: a list of index, reason and detail.
    """
    faces, landmarks, missed = [], [], []
    for row in range(len(photographs.images)):
        try:
            face, points = align_one(photographs, row)
        except UnreadableImage as error:
            missed.append((row, "unreadable", str(error)))
        except Unusable as error:
            missed.append((row, str(error), photographs.images.source.name(row)))
        else:
            faces.append(face)
            landmarks.append(points)
    aligned = {
        "images": np.array(faces, np.uint8).reshape(-1, FACE_SIZE, FACE_SIZE, 3),
        "missed": np.array(json.dumps(missed)),
    }
    if photographs.have_landmarks:
        aligned["landmarks"] = np.array(landmarks, np.float32).reshape(-1, NUM_LANDMARKS, 2)
    return aligned


def align_one(photographs: Photographs, row: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Return one aligned face and its landmarks, None where there are none."""
    image, method = photographs.images[row], photographs.method
    height, width = image.shape[:2]
    points = None if photographs.points is None else photographs.points[row]
    if points is not None and not np.isfinite(points).all():
        points = None
    if points is not None and outside(points, width, height):
        raise Unusable("landmarks outside the image")
    if points is None and photographs.detect:
        points = _detector().find(image, photographs.boxes[row])
    if method == "none" and (height, width) != (FACE_SIZE, FACE_SIZE):
        raise Unusable(f"not {FACE_SIZE} x {FACE_SIZE} pixels")
    if points is None and photographs.have_landmarks:
        raise Unusable("no face found" if photographs.detect else "no landmarks given")
    if method == "none":
        return image, points
    try:
        if points is None:
            return warp_face(image, five_point_alignment(photographs.five[row])), None
        matrix = alignment(points, method)
    except UserError:
        raise Unusable("landmarks that coincide or are unknown") from None
    return warp_face(image, matrix), apply_similarity(matrix, points)


def outside(points: np.ndarray, width: int, height: int) -> bool:
    """Return whether the middle of the landmarks (68, 2) lies outside an image of that size."""
    middle = points.mean(axis=0)
    return bool(((middle < 0) | (middle > [width, height])).any())


@cache
def _detector() -> Detector:
    return Detector()
