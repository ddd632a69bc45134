"""From linear light to a file: backgrounds, exposure, blur, noise, compression."""

import cv2
import numpy as np

from ifr.faces.identity import Identity
from ifr.faces.paint import PALETTES, TABLES, linear
from ifr.faces.shading_data import Lights
from ifr.faces.shot import Camera, Shot
from ifr.landmarks import FACE_SIZE


def _clouds(rng: np.random.Generator, size: int, cells: int) -> np.ndarray:
    """Return smooth 1/f noise (size, size, 1)."""
    total = np.zeros((size, size), np.float32)
    for octave in range(3):
        values = rng.standard_normal((cells * 2**octave,) * 2, dtype=np.float32)
        total += cv2.resize(values, (size, size), interpolation=cv2.INTER_CUBIC) / 2**octave
    return total[..., None]


def _room(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return a wall with a slope of light and a few blurred upright things before it."""
    walls = PALETTES["wall"]
    wall = walls[rng.integers(len(walls))] * np.exp(rng.normal(0, 0.25))
    slope = np.linspace(rng.uniform(0.5, 1.3), rng.uniform(0.5, 1.3), size, dtype=np.float32)
    image = (wall * slope[None, :, None] * (1 + 0.06 * _clouds(rng, size, 2))).astype(np.float32)
    for _ in range(rng.integers(0, 5)):
        x, width = rng.uniform(-0.2, 1) * size, rng.uniform(0.08, 0.5) * size
        y, height = rng.uniform(-0.3, 0.8) * size, rng.uniform(0.2, 1.2) * size
        colour = walls[rng.integers(len(walls))] * np.exp(rng.normal(0, 0.4))
        corners = (int(x), int(y)), (int(x + width), int(y + height))
        cv2.rectangle(image, *corners, colour.tolist(), -1)
    return image


def _outdoors(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return a sky over foliage, both out of focus."""
    skies, greens = PALETTES["sky"], PALETTES["green"]
    sky = skies[rng.integers(len(skies))] * rng.uniform(0.6, 1.2)
    green = greens[rng.integers(len(greens))] * np.exp(rng.normal(0, 0.3))
    horizon = rng.uniform(-0.2, 0.9) + 0.10 * _clouds(rng, size, 3)
    level = np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
    ground = 1 / (1 + np.exp(-(level - horizon) * 14))
    leaves = green * np.exp(0.45 * _clouds(rng, size, 6))
    return (sky * (1 - ground) + leaves * ground).astype(np.float32)


def background(shot: Shot, size: int) -> np.ndarray:
    """Return the background (size, size, 3) of a shot as linear light at display exposure."""
    if shot.plain:
        return np.full((size, size, 3), linear(0.5), np.float32)
    rng = shot.stream("background")
    image = (_room if rng.random() < 0.6 else _outdoors)(rng, size)
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(1.0, 5.0) * size / FACE_SIZE)
    return np.clip(image * np.float32(rng.uniform(0.5, 1.1)), 0, 1)


def exposure_gain(lights: Lights, identity: Identity, camera: Camera) -> np.ndarray:
    """Return the gain (3,) of an automatic exposure, from lights and albedo, not from occluders."""
    # It is metered on the directions in which the visible face looks.
    cosines = np.array(TABLES["meter"]) @ lights.directions.T.astype(np.float64)
    cosine = np.clip(cosines, 0, 1).mean(0)
    received = lights.ambient.sum(0).mean() * 0.45 + (cosine * lights.intensities.mean(1)).sum()
    # Dark skin stays darker than light skin: the gain makes up for part of the albedo only.
    gain = (1 / received) ** 0.85 * (0.33 / identity.appearance.skin.mean()) ** 0.38 * 0.95
    return (gain * np.exp(camera.exposure) * np.asarray(camera.tint)).astype(np.float32)


def develop(image: np.ndarray, camera: Camera) -> np.ndarray:
    """Return display values 0..1 of linear light: highlights roll off instead of clipping."""
    knee = np.float32(0.6)
    over = np.maximum(image - knee, 0)
    image = np.minimum(image, knee) + (1 - knee) * (1 - np.exp(-over / (1 - knee)))
    return cv2.pow(image, 1 / camera.gamma)


def resolve(image: np.ndarray, camera: Camera) -> np.ndarray:
    """Blur and resample an image (N, N[, 3]) as the camera does."""
    size = image.shape[0]
    if camera.blur:
        image = cv2.GaussianBlur(image, (0, 0), camera.blur * size / FACE_SIZE)
    if camera.low_size:
        low = round(camera.low_size * size / FACE_SIZE)
        image = cv2.resize(image, (low, low), interpolation=cv2.INTER_AREA)
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)
    return image


def grain(shot: Shot, size: int) -> np.ndarray | float:
    """Return the noise of a shot, (size, size, 3), from its own stream; 0 for none."""
    if not shot.camera.noise:
        return 0.0
    drawn = shot.stream("noise").standard_normal((size, size, 3), dtype=np.float32)
    return drawn * np.float32(shot.camera.noise)


def record(image: np.ndarray, noise: np.ndarray | float, camera: Camera) -> np.ndarray:
    """Return the uint8 picture: noise, quantisation, compression."""
    picture = (np.clip(image + noise, 0, 1) * 255 + np.float32(0.5)).astype(np.uint8)
    if camera.jpeg:
        quality = [cv2.IMWRITE_JPEG_QUALITY, camera.jpeg]
        _, encoded = cv2.imencode(".jpg", picture[..., ::-1], quality)  # as blue, green, red
        picture = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))[..., ::-1].copy()
    return picture
