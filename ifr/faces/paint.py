"""Small painting tools for the canonical texture and for backgrounds."""

import cv2
import numpy as np

from ifr.faces.geometry import TEXELS

COLUMNS = np.arange(TEXELS, dtype=np.float32)[None] + 0.5
ROWS = np.arange(TEXELS, dtype=np.float32)[:, None] + 0.5
# Polygon corners are handed to OpenCV in 1/8 pixel.
SHIFT = 3


def linear(colour) -> np.ndarray:
    """Return linear light (float32) of display values 0..1."""
    return (np.asarray(colour, np.float64) ** 2.2).astype(np.float32)


def noise(
    rng: np.random.Generator,
    cells: int,
    octaves: int = 3,
    *,
    decay: float = 0.5,
    size: int = TEXELS,
) -> np.ndarray:
    """Return smooth noise (size, size) of about unit variance, ``cells`` to a side at first."""
    total = np.zeros((size, size), np.float32)
    amplitude, power = 1.0, 0.0
    for octave in range(octaves):
        count = min(max(2, cells * 2**octave), size)
        values = rng.standard_normal((count, count), dtype=np.float32)
        total += amplitude * cv2.resize(values, (size, size), interpolation=cv2.INTER_CUBIC)
        power += amplitude**2
        amplitude *= decay
    return total / np.float32(np.sqrt(power))


def blob(x: float, y: float, width: float, height: float) -> np.ndarray:
    """Return a Gaussian spot (TEXELS, TEXELS) with peak 1."""
    across = np.exp(-0.5 * ((COLUMNS - x) / width) ** 2)
    down = np.exp(-0.5 * ((ROWS - y) / height) ** 2)
    return (down * across).astype(np.float32)


def _corners(points) -> np.ndarray:
    """Return texel coordinates as OpenCV's fixed-point corners; it counts from pixel centres."""
    return np.round((np.asarray(points) - 0.5) * 2**SHIFT).astype(np.int32).reshape(-1, 1, 2)


def soften(image: np.ndarray, sigma: float) -> np.ndarray:
    """Return a Gaussian blur of an image."""
    return cv2.GaussianBlur(image, (0, 0), sigma) if sigma > 0 else image


def polygon(points, blur: float = 0.0) -> np.ndarray:
    """Return a filled polygon (TEXELS, TEXELS), 0..1."""
    canvas = np.zeros((TEXELS, TEXELS), np.uint8)
    cv2.fillPoly(canvas, [_corners(points)], 255, cv2.LINE_AA, SHIFT)
    return soften(canvas, blur).astype(np.float32) / np.float32(255)


def strokes(lines, width: int = 1, blur: float = 0.0) -> np.ndarray:
    """Return anti-aliased polylines (TEXELS, TEXELS), 0..1."""
    canvas = np.zeros((TEXELS, TEXELS), np.uint8)
    cv2.polylines(canvas, [_corners(line) for line in lines], False, 255, width, cv2.LINE_AA, SHIFT)
    return soften(canvas, blur).astype(np.float32) / np.float32(255)
