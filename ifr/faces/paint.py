"""Tables and colours of ``assets/faces.json``, and small tools to paint textures with."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike

from ifr.common.paths import ASSETS
from ifr.faces.geometry import TEXELS

TABLES: dict[str, Any] = json.loads((ASSETS / "faces.json").read_text(encoding="utf-8"))
COLUMNS = np.arange(TEXELS, dtype=np.float32)[None] + 0.5
ASIDE = np.abs(COLUMNS - TEXELS / 2)  # of the middle of the face
ROWS = np.arange(TEXELS, dtype=np.float32)[:, None] + 0.5
SHIFT = 3  # polygon corners are handed to OpenCV in 1/8 pixel


def linear(colour: ArrayLike) -> np.ndarray:
    """Return linear light (float32) of display values 0..1."""
    return (np.asarray(colour, np.float64) ** 2.2).astype(np.float32)


PALETTES = {name: linear(colours) for name, colours in TABLES["palettes"].items()}  # (N, 3)


@contextmanager
def single_threaded() -> Iterator[None]:
    """Keep OpenCV to one thread: faces are rendered by one process per core."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def noise(rng: np.random.Generator, cells: int, octaves: int, decay: float = 0.5) -> np.ndarray:
    """Return smooth noise (TEXELS, TEXELS) of about unit variance, from ``cells`` to a side up."""
    total, amplitude, power = np.zeros((TEXELS, TEXELS), np.float32), 1.0, 0.0
    for octave in range(octaves):
        count = min(max(2, cells * 2**octave), TEXELS)
        values = rng.standard_normal((count, count), dtype=np.float32)
        total += amplitude * cv2.resize(values, (TEXELS, TEXELS), interpolation=cv2.INTER_CUBIC)
        power += amplitude**2
        amplitude *= decay
    return total / np.float32(np.sqrt(power))


def blob(x: float, y: float, width: float, height: float) -> np.ndarray:
    """Return a Gaussian spot (TEXELS, TEXELS) with peak 1."""
    across = np.exp(-0.5 * ((COLUMNS - x) / width) ** 2)
    down = np.exp(-0.5 * ((ROWS - y) / height) ** 2)
    return (down * across).astype(np.float32)


def blobs(centres: np.ndarray, width: float, height: float) -> np.ndarray:
    """Return the sum of two spots, left and right; ``centres`` is (2, 2)."""
    left, right = (blob(x, y, width, height) for x, y in centres)
    return left + right


def _corners(points: ArrayLike) -> np.ndarray:
    """Return texel coordinates as OpenCV's fixed-point corners; it counts from pixel centres."""
    return np.round((np.asarray(points) - 0.5) * 2**SHIFT).astype(np.int32).reshape(-1, 1, 2)


def soften(image: np.ndarray, sigma: float) -> np.ndarray:
    """Return a Gaussian blur of an image."""
    return cv2.GaussianBlur(image, (0, 0), sigma) if sigma > 0 else image


def fill(points: ArrayLike, blur: float = 0.0) -> np.ndarray:
    """Return a filled polygon (TEXELS, TEXELS), 0..1."""
    canvas = np.zeros((TEXELS, TEXELS), np.uint8)
    cv2.fillPoly(canvas, [_corners(points)], 255, cv2.LINE_AA, SHIFT)
    return soften(canvas, blur).astype(np.float32) / np.float32(255)


def strokes(
    lines: Iterable[ArrayLike], width: int = 1, blur: float = 0.0, fine: int = 1
) -> np.ndarray:
    """Return anti-aliased polylines (TEXELS, TEXELS), 0..1, ``width`` / ``fine`` texels wide."""
    canvas: np.ndarray = np.zeros((fine * TEXELS,) * 2, np.uint8)
    corners = [_corners(np.multiply(line, fine)) for line in lines]
    cv2.polylines(canvas, corners, False, 255, width, cv2.LINE_AA, SHIFT)
    if fine > 1:
        canvas = np.asarray(cv2.resize(canvas, (TEXELS, TEXELS), interpolation=cv2.INTER_AREA))
    return soften(canvas, blur).astype(np.float32) / np.float32(255)
