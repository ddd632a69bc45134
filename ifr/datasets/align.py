"""Photographs to the 112×112 frame of ArcFace: the paper aligns every image so (Sec. 4)."""

import json
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import cast

import cv2
import numpy as np

from ifr.common.errors import UserError
from ifr.datasets.face_set import FaceSet
from ifr.datasets.readers.images import ImageSource, LazyImages, UnreadableImage
from ifr.landmarks import (
    FACE_SIZE,
    NUM_LANDMARKS,
    alignment,
    apply_similarity,
    five_point_alignment,
)

METHODS = ("five", "all", "none")
# The 68-point weights were trained on iBUG 300-W, for use that is not commercial: an extra of ifr.
WEIGHTS = "shape_predictor_68_face_landmarks.dat"
BORDER = 0.25  # of an image's side, put around it where no face is found: the face may fill it
MARGIN = 0.5  # of a face box's side, kept around it where the box is known


class Detector:
    """Finds the 68 landmarks of the largest face of an image."""

    def __init__(self) -> None:
        try:
            import dlib

            # The package itself cannot be imported where setuptools has no pkg_resources.
            files = metadata.files("face-recognition-models") or []
            paths = [Path(str(file.locate())) for file in files if file.name == WEIGHTS]
            weights = next(path for path in paths if path.is_file())
        except (ImportError, StopIteration):
            message = "finding landmarks needs dlib and its weights: pip install 'ifr[landmarks]'"
            raise UserError(message) from None
        self.find_faces = dlib.get_frontal_face_detector()
        self.predict = dlib.shape_predictor(str(weights))

    def find(self, image: np.ndarray, box: np.ndarray | None = None) -> np.ndarray | None:
        """Return the landmarks of one face, (68, 2) float32 pixels, or None when there is none.

        The search is kept to the surroundings of the box, x, y, width, height, where it is known.
        """
        corner = np.zeros(2)
        if box is not None and np.isfinite(box).all():
            image, corner = _around(image, box)
            if image.size == 0:
                return None
        for border, enlarge in ((0.0, 0), (BORDER, 1)):
            pad = round(border * max(image.shape[:2]))
            padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)), mode="edge") if pad else image
            padded = np.ascontiguousarray(padded)
            if faces := self.find_faces(padded, enlarge):
                shape = self.predict(padded, max(faces, key=lambda face: face.area()))
                points = [(shape.part(i).x, shape.part(i).y) for i in range(NUM_LANDMARKS)]
                # dlib counts a pixel's centre as a whole number.
                return (np.array(points) + 0.5 - pad + corner).astype(np.float32)
        return None


def _around(image: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the part of an image around a box, and its upper left corner."""
    corner, size = np.split(np.asarray(box, np.float64), 2)
    low = np.floor(corner - MARGIN * size).astype(int).clip(0)
    high = np.ceil(corner + (1 + MARGIN) * size).astype(int).clip(0)
    return image[low[1] : high[1], low[0] : high[0]], low.astype(np.float64)


def warp_face(image: np.ndarray, matrix: np.ndarray, size: int = FACE_SIZE) -> np.ndarray:
    """Return the aligned face, (size, size, 3) uint8; what lies outside of the image is black.

    The matrix, (2, 3), is the similarity from the image to the face, in continuous pixels.
    """
    linear, shift = np.array(matrix[:, :2], np.float64), np.array(matrix[:, 2], np.float64)
    scale = np.sqrt(abs(np.linalg.det(linear)))
    if scale < 0.5:  # bilinear interpolation alone would skip pixels
        height, width = (max(1, round(2 * scale * side)) for side in image.shape[:2])
        shrunk = np.array([image.shape[1] / width, image.shape[0] / height])
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        linear = linear * shrunk
    # OpenCV counts a pixel's centre as a whole number; ours lies at one half.
    affine = np.column_stack([linear, shift + linear @ [0.5, 0.5] - 0.5])
    return cv2.warpAffine(image, affine, (size, size), flags=cv2.INTER_LINEAR)


class Unusable(Exception):
    """A face that cannot be aligned; the message is the reason in few words."""


def align(faces: FaceSet, detect: bool, method: str) -> dict[str, np.ndarray]:
    """Return the aligned faces and their landmarks, without those that cannot be had.

    Landmarks, ``five_points`` and ``box`` of the faces as given are in pixels of the images; NaN
    where not known. ``missed`` holds those left out as JSON: a list of index, reason and detail.
    """
    images, landmarks, missed = [], [], []
    for row in range(len(faces)):
        try:
            image, points = align_one(faces, row, detect, method)
        except UnreadableImage as error:
            missed.append((row, "unreadable", str(error)))
        except Unusable as error:
            missed.append((row, str(error), source_of(faces).name(row)))
        else:
            images.append(image)
            landmarks.append(points)
    pixels = np.array(images, np.uint8).reshape(-1, FACE_SIZE, FACE_SIZE, 3)
    aligned = {"images": pixels, "missed": np.array(json.dumps(missed))}
    if faces.landmarks is not None or detect:
        aligned["landmarks"] = np.array(landmarks, np.float32).reshape(-1, NUM_LANDMARKS, 2)
    return aligned


def align_one(
    faces: FaceSet, row: int, detect: bool, method: str
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return one aligned face and its landmarks, None where there are none."""
    image, known = faces.images[row], faces.attributes
    height, width = image.shape[:2]
    points = None if faces.landmarks is None else faces.landmarks[row]
    if points is not None and not np.isfinite(points).all():
        points = None
    if points is not None and outside(points, width, height):
        raise Unusable("landmarks outside the image")
    if points is None and detect:
        points = _detector().find(image, known["box"][row] if "box" in known else None)
    if method == "none" and (height, width) != (FACE_SIZE, FACE_SIZE):
        raise Unusable(f"not {FACE_SIZE} x {FACE_SIZE} pixels")
    if points is None and (detect or faces.landmarks is not None):
        raise Unusable("no face found" if detect else "no landmarks given")
    if method == "none":
        return image, points
    try:
        if points is None:
            return warp_face(image, five_point_alignment(known["five_points"][row])), None
        matrix = alignment(points, method)
    except UserError:
        raise Unusable("landmarks that coincide or are unknown") from None
    return warp_face(image, matrix), apply_similarity(matrix, points)


def source_of(faces: FaceSet) -> ImageSource:
    """Return where the encoded images of photographs come from."""
    return cast(LazyImages, faces.images).source


def outside(points: np.ndarray, width: int, height: int) -> bool:
    """Return whether the middle of the landmarks (68, 2) lies outside an image of that size."""
    middle = points.mean(axis=0)
    return bool(((middle < 0) | (middle > [width, height])).any())


_detector = cache(Detector)  # one for each process
