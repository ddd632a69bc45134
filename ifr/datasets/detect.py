"""Landmarks found by dlib, for photographs that come without: the extra ``ifr[landmarks]``.

dlib's 68-point weights were trained on iBUG 300-W, which its makers give for use that is not
commercial; so they are an extra and no part of the project.
"""

from importlib import metadata
from pathlib import Path

import numpy as np

from ifr.common.errors import UserError
from ifr.landmarks import NUM_LANDMARKS

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
