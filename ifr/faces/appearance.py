"""What a face looks like up close: skin, lips, eyes, brows, beard, painted in the canonical map."""

from dataclasses import dataclass
from math import modf

import numpy as np
from numpy.typing import ArrayLike

from ifr.common.seeding import stream
from ifr.faces.geometry import TEXELS
from ifr.faces.head_model import load_head
from ifr.faces.paint import (
    COLUMNS,
    ROWS,
    blob,
    blobs,
    linear,
    noise,
    palette,
    polygon,
    soften,
    strokes,
)

SKIN_TONES = palette(
    "0.90 0.77 0.70, 0.85 0.69 0.59, 0.75 0.585 0.48,"
    "0.59 0.435 0.345, 0.44 0.315 0.245, 0.32 0.23 0.185"
)
# black, dark brown, brown, light brown, blond, red, grey
HAIR_TONES = palette(
    "0.13 0.11 0.105, 0.21 0.16 0.125, 0.31 0.22 0.16, 0.46 0.35 0.24, 0.66 0.54 0.37, "
    "0.45 0.24 0.13, 0.58 0.57 0.55"
)
# dark brown, brown, hazel, blue, grey
IRIS_TONES = palette("0.20 0.12 0.08, 0.32 0.20 0.12, 0.36 0.33 0.2, 0.3 0.4 0.5, 0.38 0.42 0.44")
BEARDS = ("none", "stubble", "full", "goatee", "moustache")


@dataclass(frozen=True, eq=False)
class Character:
    """The traits behind a face that more than one attribute depends on."""

    bases: np.ndarray  # (3,) mixture of the three shape bases
    build: float  # 0..1 between the "a" and "b" ends of the shape bases
    age: float  # 0..0.9

    @property
    def heavy(self) -> bool:
        """Whether the face is nearer the "b" end, where beards grow."""
        return self.build > 0.5


@dataclass(frozen=True, eq=False)
class Appearance:
    """The painted face."""

    texture: np.ndarray  # (TEXELS, TEXELS, 4) float32: linear albedo, and gloss last
    skin: np.ndarray  # (3,) float32 albedo
    hair: np.ndarray  # (3,) float32 albedo
    iris: np.ndarray  # (3,) float32 albedo
    iris_radius: np.float32  # in eyeball radii


def skin_tone(rng: np.random.Generator, character: Character) -> tuple[np.ndarray, float]:
    """Return the skin's albedo (3,) and its darkness 0..1."""
    # How dark follows the shape mixture loosely, so that shape and tone both tell people apart.
    darkness = character.bases @ np.array([0.72, 0.34, 0.16]) + rng.normal(0, 0.12)
    darkness = float(np.clip(darkness, 0.01, 0.99))
    step, low = modf(darkness * (len(SKIN_TONES) - 1))
    low = int(low)
    tone = SKIN_TONES[low] + step * (SKIN_TONES[low + 1] - SKIN_TONES[low])
    tint = rng.normal(0, 0.05) + rng.normal(0, 0.03) * np.array([0.6, 0, -1.4])
    return (tone * np.exp(tint)).astype(np.float32), darkness


def hair_tone(rng: np.random.Generator, character: Character) -> np.ndarray:
    """Return the hair's albedo (3,)."""
    dark = character.bases[0] + character.bases[1]
    light = character.bases[2]
    grey = 9 * max(character.age - 0.45, 0)
    odds = np.array([2 + 6 * dark, 2 + 2 * dark, 2, 1.4 * light, 0.9 * light, 0.4 * light, grey])
    tone = HAIR_TONES[rng.choice(len(HAIR_TONES), p=odds / odds.sum())]
    return (tone * np.exp(rng.normal(0, 0.15) + rng.normal(0, 0.03, 3))).astype(np.float32)


def _tint(image: np.ndarray, mask: np.ndarray, colour: ArrayLike) -> None:
    """Multiply an image (3, S, S) by ``1 + mask * colour`` in place."""
    for plane, value in zip(image, np.asarray(colour, np.float32), strict=True):
        plane *= 1 + mask * value


def _cover(image: np.ndarray, mask: np.ndarray, colour: np.ndarray) -> None:
    """Lay a colour, (3,) or (3, S, S), over an image (3, S, S) in place."""
    for plane, value in zip(image, colour, strict=True):
        plane += mask * (value - plane)


def paint_skin(seed: int, character: Character, tone: np.ndarray) -> np.ndarray:
    """Return bare skin (3, TEXELS, TEXELS): mottling, flush, shade under the eyes."""
    rng = stream(seed, "faces/skin")
    points = load_head().landmark_uv
    image = np.broadcast_to(tone[:, None, None], (3, TEXELS, TEXELS)).copy()
    _tint(image, noise(rng, 5, 4) * 0.035 + noise(rng, 40, 3, decay=0.8) * 0.03, (1, 1, 1))
    _tint(image, noise(rng, 6, 2), (0.012, -0.014, -0.016))
    flush = np.zeros((TEXELS, TEXELS), np.float32)
    middle = (points[29, 1] + points[33, 1]) / 2
    for corner in (36, 45):
        flush += blob(points[corner, 0], middle, 13, 11) * np.float32(rng.uniform(0.2, 1))
    flush += blob(points[30, 0], points[30, 1], 7, 7) * np.float32(rng.uniform(0, 1))
    flush += blob(points[8, 0], points[8, 1] - 4, 9, 6) * np.float32(rng.uniform(0, 0.5))
    _tint(image, flush * np.float32(rng.uniform(0.2, 1.1)), (0.03, -0.10, -0.10))
    # The forehead is yellower and the lower face cooler than the middle of a face.
    _tint(image, blob(points[27, 0], points[19, 1] - 18, 34, 14), (0.015, 0.01, -0.03))
    under = blobs(points[[40, 47]] + np.array([0, 4], np.float32), 8, 3.5)
    strength = rng.uniform(0.1, 0.9) * (0.4 + character.age)
    _tint(image, under * np.float32(strength), (-0.16, -0.20, -0.14))
    socket = blobs(points[[37, 44]] - np.array([0, 3], np.float32), 9, 4)
    _tint(image, socket * np.float32(rng.uniform(0.2, 1)), (-0.10, -0.14, -0.12))
    return image


def paint_marks(image: np.ndarray, seed: int, character: Character, darkness: float) -> None:
    """Paint folds, wrinkles, freckles and moles."""
    rng = stream(seed, "faces/marks")
    p = load_head().landmark_uv
    folds = []
    for wing, corner, side in ((31, 48, -1), (35, 54, 1)):
        (x0, y0), (x1, y1) = p[wing], p[corner]
        path = ((x0 + 2 * side, y0 - 2), (x0 + 6 * side, y0 + 4))
        folds.append([*path, (x1 + 4 * side, y1 - 2), (x1 + 4.5 * side, y1 + 4)])
    lines = strokes(folds, 2, 1.2) * np.float32(rng.uniform(0.1, 0.45) * (character.age + 0.15))
    for k in range(3):
        across = np.linspace(p[18, 0], p[25, 0], 9)
        y = p[19, 1] - 9 - 7 * k + rng.normal(0, 1) - 2 * np.cos((across - TEXELS / 2) / 25)
        strength = rng.uniform(0.2, 0.5) * max(character.age - 0.3, 0) * 1.4
        wrinkle = np.column_stack([across, y + rng.normal(0, 0.6, 9)])
        lines = np.maximum(lines, strokes([wrinkle], 1, 1.0) * np.float32(strength))
    _tint(image, lines, (-0.7, -0.8, -0.8))
    if rng.random() < 0.3 * (1 - darkness):
        count = rng.integers(40, 160)
        x = np.clip(rng.normal(TEXELS / 2, 24, count).astype(int), 0, TEXELS - 1)
        y = np.clip(rng.normal(p[29, 1], 12, count).astype(int), 0, TEXELS - 1)
        dots = np.zeros((TEXELS, TEXELS), np.float32)
        dots[y, x] = rng.uniform(0.3, 1, count)
        _tint(image, np.minimum(soften(dots, 0.9) * 3, 1), (-0.22, -0.33, -0.4))
    for _ in range(rng.poisson(2.0)):
        size = rng.uniform(0.8, 1.8)
        spot = blob(rng.normal(TEXELS / 2, 32), rng.uniform(p[19, 1] - 25, p[8, 1]), size, size)
        _tint(image, spot * np.float32(rng.uniform(0.3, 0.9)), (-0.55, -0.65, -0.65))


def paint_lips(image: np.ndarray, seed: int, character: Character, tone: np.ndarray) -> np.ndarray:
    """Paint the lips and return their mask."""
    rng = stream(seed, "faces/lips")
    p = load_head().landmark_uv
    mask = polygon(np.concatenate([p[48:55], p[55:60]]), 1.1)
    # Lips are redder skin: their colour is always derived from it, so it cannot turn odd.
    redness = rng.uniform(0.25, 1)
    colour = tone * np.array([0.97 - 0.12 * redness, 0.80 - 0.26 * redness, 0.82 - 0.24 * redness])
    opacity = 0.8
    if not character.heavy and rng.random() < 0.35:  # lipstick: reds, roses, browns
        red = rng.uniform(0.35, 0.8)
        painted = linear([red, red * rng.uniform(0.25, 0.55), red * rng.uniform(0.3, 0.55)])
        colour = colour + 0.75 * (painted - colour)
    _cover(image, mask * np.float32(opacity), colour.astype(np.float32))
    _tint(image, strokes([p[[60, 61, 62, 63, 64]]], 2, 0.6), (-0.5, -0.55, -0.55))
    return mask


def paint_brows(image: np.ndarray, seed: int, character: Character, hair: np.ndarray) -> np.ndarray:
    """Paint the eyebrows hair by hair and return their mask."""
    rng = stream(seed, "faces/brows")
    p = load_head().landmark_uv
    thick = rng.uniform(1.3, 3.0) * (1.15 if character.heavy else 0.8)
    arch, tilt, lift = rng.normal(0.3, 1.2), rng.normal(-0.8, 1.0), rng.normal(0, 1.3)
    gap, reach, dense = rng.normal(0, 1.5), rng.uniform(0.88, 1.12), rng.uniform(0.4, 0.95)
    colour = hair * np.float32(rng.uniform(0.5, 0.95))
    steps = np.linspace(0, 1, 60)
    mask = np.zeros((TEXELS, TEXELS), np.float32)
    for side, order in ((-1, [21, 20, 19, 18, 17]), (1, [22, 23, 24, 25, 26])):
        line = p[order].astype(np.float64)
        line[:, 0] = line[0, 0] + (line[:, 0] - line[0, 0]) * reach + side * gap
        t = np.linspace(0, 1, 5)
        bow = lift + np.array([-0.8, 0, 0, 0, 0.4]) - 1.2 * arch * np.sin(np.pi * t)
        line[:, 1] += bow - tilt * (t - 0.5)
        ends = np.r_[line[0, 1], line[:, 1], line[-1, 1]]
        x = np.interp(steps, t, line[:, 0])
        y = np.interp(steps, t, np.convolve(ends, [0.25, 0.5, 0.25], "valid"))
        half = thick * np.interp(steps, [0, 0.15, 0.5, 1], [0.7, 1.0, 0.85, 0.2])
        count = int(170 * dense)
        at = rng.integers(0, 60, count)
        root = y[at] + rng.normal(0, 0.45, count) * half[at]
        angle = np.where(steps[at] < 0.4, 0.35, -0.1) + rng.normal(0, 0.25, count)
        length = rng.uniform(2, 4.5, count)
        tip = (x[at] + side * length * np.cos(angle), root - length * np.sin(angle) * 0.6)
        hairs = np.stack([np.column_stack([x[at], root]), np.column_stack(tip)], 1)
        band = np.column_stack([np.r_[x, x[::-1]], np.r_[y - half * 0.6, (y + half * 0.6)[::-1]]])
        under = polygon(band, 1.2) * np.float32(0.7 * dense)
        mask = np.maximum(mask, np.maximum(strokes(hairs) * np.float32(0.8), under))
    _cover(image, mask, colour)
    return mask


def paint_eyes(image: np.ndarray, seed: int, character: Character) -> tuple[np.ndarray, np.float32]:
    """Paint lashes and eye shadow; return the iris albedo (3,) and radius in eyeball radii."""
    rng = stream(seed, "faces/eyes")
    p = load_head().landmark_uv
    lash = rng.uniform(0.2, 0.6) if character.heavy else rng.uniform(0.35, 0.95)
    upper = strokes([p[[36, 37, 38, 39]], p[[42, 43, 44, 45]]], 2, 0.7) * np.float32(lash)
    lower = strokes([p[[39, 40, 41, 36]], p[[45, 46, 47, 42]]], 1, 0.6) * np.float32(0.4 * lash)
    _tint(image, np.minimum(upper + lower, 1), (-0.85, -0.85, -0.85))
    crease = strokes([p[[36, 37, 38, 39]] - [0, 4], p[[42, 43, 44, 45]] - [0, 4]], 1, 0.8)
    _tint(image, crease * np.float32(rng.uniform(0, 0.6)), (-0.5, -0.6, -0.6))
    if not character.heavy and rng.random() < 0.25:
        lids = polygon(np.r_[p[36:40] - [0, 5], p[39:35:-1]], 2)
        lids += polygon(np.r_[p[42:46] - [0, 5], p[45:41:-1]], 2)
        depth = rng.uniform(0.1, 0.5)
        _tint(image, np.minimum(lids, 1), -depth * rng.uniform(0.8, 1.2, 3))
    dark, light = character.bases[0] + character.bases[1], character.bases[2]
    odds = np.array([2 + 6 * dark, 2 + dark, 1.2 * light, 1.5 * light, 0.8 * light])
    tone = IRIS_TONES[rng.choice(len(IRIS_TONES), p=odds / odds.sum())]
    iris = tone * np.exp(rng.normal(0, 0.12, 3))
    return iris.astype(np.float32), np.float32(rng.uniform(0.46, 0.53))


def paint_beard(
    image: np.ndarray, seed: int, character: Character, hair: np.ndarray, lips: np.ndarray
) -> np.ndarray:
    """Paint a beard, or none, and return its mask."""
    rng = stream(seed, "faces/beard")
    kind = str(rng.choice(BEARDS, p=[0.4, 0.28, 0.12, 0.1, 0.1])) if character.heavy else "none"
    if kind == "none":
        return np.zeros((TEXELS, TEXELS), np.float32)
    p = load_head().landmark_uv
    off = np.abs(COLUMNS - TEXELS / 2)
    mouth = abs(p[54, 0] - TEXELS / 2)
    heights = [p[57, 1] + 3, p[54, 1] + 1, p[33, 1] + 4, p[30, 1] - 6]
    upper = np.interp(off, [0, 20, 40, 62], heights)
    jaw = (upper < ROWS) & (p[8, 1] + 14 > ROWS) & (off < 68)
    moustache = (p[33, 1] + 2.5 < ROWS) & (p[51, 1] + 1 > ROWS) & (off < mouth + 3)
    sides = (p[51, 1] - 1 < ROWS) & (p[57, 1] + 4 > ROWS) & (np.abs(off - mouth - 2) < 3)
    chin = (p[57, 1] + 2 < ROWS) & (p[8, 1] + 8 > ROWS) & (off < 15)
    areas = {
        "stubble": jaw | moustache,
        "full": jaw | moustache | sides,
        "goatee": chin | moustache | sides,
        "moustache": moustache,
    }
    opacity = {"stubble": (0.12, 0.35), "full": (0.6, 0.9), "goatee": (0.45, 0.85)}
    edge = 1.6 if kind == "moustache" else 3.5
    mask = soften(areas[kind].astype(np.float32), edge) * (1 - lips)
    fibre = noise(rng, 128, 2, decay=0.8)
    strength = np.float32(rng.uniform(*opacity.get(kind, (0.45, 0.85))))
    mask = mask * np.clip(strength * (1 + 0.15 * fibre), 0, 1)
    _cover(image, mask, hair[:, None, None] * (0.85 + 0.08 * fibre))
    return mask


def paint_face(seed: int, character: Character) -> Appearance:
    """Return a person's appearance; each attribute draws from its own stream of the seed."""
    tone, darkness = skin_tone(stream(seed, "faces/tone"), character)
    hair = hair_tone(stream(seed, "faces/hair-tone"), character)
    image = paint_skin(seed, character, tone)
    paint_marks(image, seed, character, darkness)
    lips = paint_lips(image, seed, character, tone)
    beard = paint_beard(image, seed, character, hair, lips)
    brows = paint_brows(image, seed, character, hair)
    iris, radius = paint_eyes(image, seed, character)
    p = load_head().landmark_uv
    # Oily zones: the nose, the middle of the forehead, the cheekbones; lips are moist.
    gloss = 0.6 + 0.5 * blob(p[30, 0], p[29, 1], 6, 10)
    gloss += 0.3 * blob(p[27, 0], p[19, 1] - 14, 26, 10)
    cheeks = np.stack([p[[36, 45], 0] + np.array([-6, 6], np.float32), p[[28, 28], 1]], 1)
    gloss += 0.25 * blobs(cheeks, 9, 7)
    gloss = gloss * (1 - 0.7 * brows) * (1 - 0.8 * beard) + 0.5 * lips
    strength = stream(seed, "faces/gloss").uniform(0.5, 1.2)
    texture = np.stack([*np.clip(image, 0.003, 0.95), gloss * strength], -1).astype(np.float32)
    return Appearance(texture, tone, hair, iris, radius)
