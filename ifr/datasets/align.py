"""Photographs to the 112×112 frame of ArcFace: the paper aligns every image so (Sec. 4)."""

import json
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ifr.common.errors import UserError
from ifr.datasets.face_set import FaceSet
from ifr.datasets.readers.images import UnreadableImage, is_turned
from ifr.landmarks import (
    FACE_SIZE,
    NUM_LANDMARKS,
    alignment,
    apply_similarity,
    five_point_alignment,
    five_points,
    misfit,
)

METHODS = ("five", "all", "none")
# The 68-point weights were trained on iBUG 300-W, for use that is not commercial: an extra of ifr.
WEIGHTS = "shape_predictor_68_face_landmarks.dat"
BORDER = 0.25  # of an image's side, put around it where no face is found: the face may fill it
MARGIN = 0.5  # of a face box's side, kept around it where the box is known
MISFIT = 0.35  # by ifr.landmarks.misfit: points that fit a face from no side
ROLL, UPSIDE_DOWN = 45.0, 120.0  # degrees a face is turned in its image: rarely; hardly ever
SHOWN = 0.5  # of the aligned frame, of these points in it, must lie inside of the image
FRAME = np.stack(np.meshgrid(*[np.arange(3.5, FACE_SIZE, 7)] * 2), axis=-1)


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
        """Return the (68, 2) landmarks of one face, in and around its box if known, or None."""
        corner = np.zeros(2, int)
        if box is not None and np.isfinite(box).all():
            place, size = np.split(np.asarray(box, np.float64), 2)
            corner = np.floor(place - MARGIN * size).astype(int).clip(0)
            right, below = np.ceil(place + (1 + MARGIN) * size).astype(int).clip(0)
            image = image[corner[1] : below, corner[0] : right]
        for border, enlarge in ((0.0, 0), (BORDER, 1)) if image.size else ():
            pad = round(border * max(image.shape[:2]))
            padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)), mode="edge")
            if faces := self.find_faces(padded, enlarge):
                shape = self.predict(padded, max(faces, key=lambda face: face.area()))
                points = [(shape.part(i).x, shape.part(i).y) for i in range(NUM_LANDMARKS)]
                # dlib counts a pixel's centre as a whole number.
                return (np.array(points) + 0.5 - pad + corner).astype(np.float32)
        return None


def warp_face(image: np.ndarray, matrix: np.ndarray, size: int = FACE_SIZE) -> np.ndarray:
    """Return the face by the (2, 3) similarity to it, (size, size, 3); black beyond the image."""
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
    """Return the aligned faces and landmarks; ``missed`` is JSON of index, reason and detail."""
    images, landmarks, missed = [], [], []
    for row in range(len(faces)):
        try:
            image, points = align_one(faces, row, detect, method)
            images.append(image)
            landmarks.append(points)
        except UnreadableImage as error:
            missed.append((row, "unreadable", str(error)))
        except Unusable as error:
            missed.append((row, str(error), faces.images.name(row)))
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
    if method == "none" and image.shape[:2] != (FACE_SIZE, FACE_SIZE):
        raise Unusable(f"not {FACE_SIZE} x {FACE_SIZE} pixels")
    points = None if faces.landmarks is None else faces.landmarks[row]
    if points is not None and not np.isfinite(points).all():
        points = None
    if points is None and detect:
        points = _detector().find(image, known["box"][row] if "box" in known else None)
    if points is None and (detect or faces.landmarks is not None):
        raise Unusable("no face found" if detect else "no landmarks given")
    if points is None and "five_points" not in known:
        return image, None  # aligned already, and no landmarks asked for
    five = known["five_points"][row] if points is None else five_points(points)
    matrix = _fit(faces.images, row, five, image.shape)
    if method == "none":
        return image, points
    if points is None:
        return warp_face(image, matrix), None
    matrix = alignment(points, method) if method == "all" else matrix
    return warp_face(image, matrix), apply_similarity(matrix, points)


def _fit(images: Any, row: int, five: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the matrix to the aligned frame; Unusable if five points show no face in the image."""
    known = five[np.isfinite(five).all(axis=1)]
    if len(known) < 2:
        raise Unusable("fewer than two landmarks known")
    if np.ptp(known, axis=0).max() == 0:
        raise Unusable("landmarks that coincide")
    distance, roll = misfit(five)
    if distance > MISFIT:
        raise Unusable("landmarks that do not fit a face")
    # A face may lie on its side; where the file asks for a turn, its points have missed that.
    if abs(roll) > ROLL and is_turned(images.read(row)):
        raise Unusable("landmarks of the image before its EXIF turn")
    if abs(roll) > UPSIDE_DOWN:
        raise Unusable("landmarks with the eyes below the mouth")
    matrix = five_point_alignment(five)
    places = (FRAME - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    shown = ((places > 0) & (places < [shape[1], shape[0]])).all(axis=-1).mean()
    if shown < SHOWN:
        raise Unusable("landmarks outside the image")
    return matrix


_detector = cache(Detector)  # one for each process
