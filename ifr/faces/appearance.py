"""What a face looks like up close: skin, lips, eyes, brows, beard, painted in the canonical map."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import modf
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike

from ifr.common.paths import ASSETS
from ifr.common.seeding import stream
from ifr.faces.geometry import TEXELS
from ifr.faces.head_model import load_head

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


BEARDS = {"none": 0.4, "stubble": 0.28, "full": 0.12, "goatee": 0.1, "moustache": 0.1}  # odds


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
    darkness, tones = float(np.clip(darkness, 0.01, 0.99)), PALETTES["skin"]
    step, low = modf(darkness * (len(tones) - 1))
    below, above = tones[int(low) :][:2]
    tone = below + step * (above - below)
    tint = rng.normal(0, 0.05) + rng.normal(0, 0.03) * np.array([0.6, 0, -1.4])
    return (tone * np.exp(tint)).astype(np.float32), darkness


def hair_tone(rng: np.random.Generator, character: Character) -> np.ndarray:
    """Return the hair's albedo (3,)."""
    dark, light = character.bases[0] + character.bases[1], character.bases[2]
    grey = 9 * max(character.age - 0.45, 0)
    # Black, dark brown, brown, light brown, blond, red, grey.
    odds = np.array([2 + 6 * dark, 2 + 2 * dark, 2, 1.4 * light, 0.9 * light, 0.4 * light, grey])
    tone = PALETTES["hair"][rng.choice(len(odds), p=odds / odds.sum())]
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
    rng, points = stream(seed, "faces/skin"), load_head().landmark_uv
    image = np.broadcast_to(tone[:, None, None], (3, TEXELS, TEXELS)).copy()
    _tint(image, noise(rng, 5, 4) * 0.03 + noise(rng, 40, 3, decay=0.8) * 0.032, (1, 1, 1))
    _tint(image, noise(rng, 6, 2), (0.012, -0.022, -0.022))
    # Blood and pores vary from texel to texel; pores are widest on nose and cheeks.
    grain = stream(seed, "faces/pores")
    _tint(image, noise(grain, 26, 2), (0.01, -0.03, -0.03))
    coarse = 0.5 + blob(points[30, 0], points[29, 1], 30, 18)
    pores = np.minimum(noise(grain, 110, 2, decay=0.9), 0.4) * coarse
    _tint(image, pores * np.float32(grain.uniform(0.02, 0.07) * (0.7 + character.age)), (1, 1, 1))
    cheeks = (points[29, 1] + points[33, 1]) / 2
    # Place, size and range of strength: cheeks, the tip of the nose, the chin.
    spots = [(points[k, 0], cheeks, 13, 11, (0.2, 1.0)) for k in (36, 45)]
    spots += [(*points[30], 7, 7, (0.0, 1.0)), (points[8, 0], points[8, 1] - 4, 9, 6, (0.0, 0.5))]
    flush = np.asarray(sum(blob(*spot) * np.float32(rng.uniform(*span)) for *spot, span in spots))
    _tint(image, flush * np.float32(rng.uniform(0.2, 1.1)), (0.03, -0.10, -0.10))
    # The forehead is yellower and the lower face cooler than the middle of a face.
    _tint(image, blob(points[27, 0], points[19, 1] - 18, 34, 14), (0.015, 0.01, -0.03))
    under = blobs(points[[40, 47]] + np.array([0, 4], np.float32), 8, 3.5)
    depth = np.float32(rng.uniform(0.1, 0.9) * (0.4 + character.age))
    _tint(image, under * depth, (-0.16, -0.20, -0.14))
    socket = blobs(points[[37, 44]] - np.array([0, 3], np.float32), 9, 4)
    _tint(image, socket * np.float32(rng.uniform(0.2, 1)), (-0.10, -0.14, -0.12))
    return image


def _age_lines(seed: int) -> np.ndarray:
    """Return lines that come with age: beside and below the eyes, at the corners of the mouth."""
    rng, p, drawn = stream(seed, "faces/age-lines"), load_head().landmark_uv, []
    for outer, inner, corner, side in ((36, 39, 48, -1), (45, 42, 54, 1)):
        for slope in (-0.5, -0.1, 0.3, 0.7):
            start = p[outer] + [2.5 * side, 3 * slope]
            length = rng.uniform(5, 10)
            drawn.append([start, start + [length * side, slope * length + rng.normal(0, 0.7)]])
        t = np.linspace(0, 1, 7)[:, None]
        for depth in (rng.uniform(4.5, 6), rng.uniform(8, 10)):
            bag = p[inner] + t * (p[outer] - p[inner])
            drawn.append(bag + np.array([0, 1]) * (1 + depth * np.sin(np.pi * t * 0.95)))
        fold = [[2 * side, 2], [3.5 * side, 7], [3 * side, 12 + rng.normal(0, 2)]]
        drawn.append(p[corner] + fold)
    return strokes(drawn, 3, 0.5, fine=2) * np.float32(rng.uniform(0.45, 0.9))


def paint_marks(image: np.ndarray, seed: int, character: Character, darkness: float) -> None:
    """Paint folds, wrinkles, freckles and moles."""
    rng, p, folds = stream(seed, "faces/marks"), load_head().landmark_uv, []
    for wing, corner, side in ((31, 48, -1), (35, 54, 1)):
        (x0, y0), (x1, y1) = p[wing], p[corner]
        above = [(x0 + 2 * side, y0 - 2), (x0 + 6 * side, y0 + 4)]
        folds.append(above + [(x1 + 4 * side, y1 - 2), (x1 + 4.5 * side, y1 + 4)])
    lines = strokes(folds, 2, 1.2) * np.float32(rng.uniform(0.1, 0.45) * (character.age + 0.15))
    old = max(character.age - 0.25, 0)
    for k in range(3):
        across = np.linspace(p[18, 0], p[25, 0], 9)
        y = p[19, 1] - 9 - 7 * k + rng.normal(0, 1) - 2 * np.cos((across - TEXELS / 2) / 25)
        strength = np.float32(rng.uniform(0.2, 0.5) * old * 1.8)
        wrinkle = strokes([np.column_stack([across, y + rng.normal(0, 0.6, 9)])], 1, 1.0)
        lines = np.maximum(lines, wrinkle * strength)
    lines = np.maximum(lines, _age_lines(seed) * np.float32(old))
    _tint(image, lines, (-0.6, -0.68, -0.66))
    # The skin beside a fold bulges into the light.
    _tint(image, np.roll(lines, (2, 0), (0, 1)) * (1 - lines), (0.16, 0.16, 0.16))
    if rng.random() < 0.3 * (1 - darkness):
        count, dots = rng.integers(40, 160), np.zeros((TEXELS, TEXELS), np.float32)
        x = np.clip(rng.normal(TEXELS / 2, 24, count).astype(int), 0, TEXELS - 1)
        y = np.clip(rng.normal(p[29, 1], 12, count).astype(int), 0, TEXELS - 1)
        dots[y, x] = rng.uniform(0.3, 1, count)
        _tint(image, np.minimum(soften(dots, 0.9) * 3, 1), (-0.22, -0.33, -0.4))
    for _ in range(rng.poisson(2.0)):
        size = rng.uniform(0.8, 1.8)
        spot = blob(rng.normal(TEXELS / 2, 32), rng.uniform(p[19, 1] - 25, p[8, 1]), size, size)
        _tint(image, spot * np.float32(rng.uniform(0.3, 0.9)), (-0.55, -0.65, -0.65))


def paint_lips(image: np.ndarray, seed: int, character: Character, tone: np.ndarray) -> np.ndarray:
    """Paint the lips and return their mask."""
    rng, p = stream(seed, "faces/lips"), load_head().landmark_uv
    mask = fill(np.concatenate([p[48:55], p[55:60]]), 1.1)
    # Lips are redder skin: their colour is always derived from it, so it cannot turn odd.
    colour = tone * ([0.97, 0.80, 0.82] - np.array([0.12, 0.26, 0.24]) * rng.uniform(0.25, 1))
    if not character.heavy and rng.random() < 0.35:  # lipstick: reds, roses, browns
        red = rng.uniform(0.35, 0.8)
        painted = linear([red, red * rng.uniform(0.25, 0.55), red * rng.uniform(0.3, 0.55)])
        colour = colour + 0.75 * (painted - colour)
    _cover(image, mask * np.float32(0.8), colour.astype(np.float32))
    _tint(image, strokes([p[[60, 61, 62, 63, 64]]], 2, 0.6), (-0.5, -0.55, -0.55))
    return mask


def paint_brows(image: np.ndarray, seed: int, character: Character, hair: np.ndarray) -> np.ndarray:
    """Paint the eyebrows hair by hair and return their mask."""
    rng, p = stream(seed, "faces/brows"), load_head().landmark_uv
    thick = rng.uniform(1.7, 3.3) * (1.15 if character.heavy else 0.8)
    arch, tilt, lift = rng.normal(0.3, 1.2), rng.normal(-0.8, 1.0), rng.normal(0, 1.3)
    gap, reach, dense = rng.normal(0, 1.5), rng.uniform(0.88, 1.12), rng.uniform(0.4, 0.95)
    colour = hair * np.float32(rng.uniform(0.6, 1.0))
    t, steps = np.linspace(0, 1, 5), np.linspace(0, 1, 60)
    mask = np.zeros((TEXELS, TEXELS), np.float32)
    for side, order in ((-1, [21, 20, 19, 18, 17]), (1, [22, 23, 24, 25, 26])):
        across, down = p[order].astype(np.float64).T
        bow = lift + np.array([-0.8, 0, 0, 0, 0.4]) - 1.2 * arch * np.sin(np.pi * t)
        down = np.pad(down + (bow - tilt * (t - 0.5)), 1, mode="edge")
        x = np.interp(steps, t, across[0] + (across - across[0]) * reach + side * gap)
        y = np.interp(steps, t, np.convolve(down, [0.25, 0.5, 0.25], "valid"))
        half = thick * np.interp(steps, [0, 0.15, 0.5, 1], [0.7, 1.0, 0.85, 0.2])
        at = rng.integers(0, 60, count := int(190 * dense))
        off = rng.uniform(-1, 1, count)
        root, start = y[at] + off * half[at], x[at] + rng.uniform(-0.6, 0.6, count)
        # Hairs rise steeply at the inner end, lie flat further out, and close in from both edges.
        rise = np.interp(steps[at], [0, 0.15, 0.45, 1], [1.25, 0.8, 0.3, -0.25])
        angle = rise + 0.35 * off + rng.normal(0, 0.2, count)
        length = rng.uniform(2, 5, count) * np.interp(steps[at], [0, 0.3, 1], [0.8, 1, 0.7])
        tips = [start + side * length * np.cos(angle), root - length * np.sin(angle) * 0.7]
        hairs = strokes(np.array([[start, root], tips]).transpose(2, 0, 1), 2, fine=4)
        band = np.column_stack([np.r_[x, x[::-1]], np.r_[y - half * 0.5, (y + half * 0.5)[::-1]]])
        soft = fill(band, 1.8) * np.float32(0.45 * dense)
        mask = np.maximum(mask, 1 - (1 - soft) * (1 - 0.7 * hairs))
    _cover(image, mask, colour)
    return mask


def paint_eyes(image: np.ndarray, seed: int, character: Character) -> tuple[np.ndarray, np.float32]:
    """Paint lashes and eye shadow; return the iris albedo (3,) and radius in eyeball radii."""
    rng, p = stream(seed, "faces/eyes"), load_head().landmark_uv
    lash = rng.uniform(0.2, 0.6) if character.heavy else rng.uniform(0.35, 0.95)
    lids = [p[36:40], p[42:46]]
    upper = strokes(lids, 2, 0.6) * np.float32(0.6 + 0.4 * lash)
    lower = strokes([p[[39, 40, 41, 36]], p[[45, 46, 47, 42]]], 1, 0.6) * np.float32(0.4 * lash)
    _tint(image, np.minimum(upper + lower, 1), (-0.85, -0.85, -0.85))
    crease = strokes([lid - [0, 4] for lid in lids], 1, 0.8)
    _tint(image, crease * np.float32(rng.uniform(0, 0.6)), (-0.5, -0.6, -0.6))
    if not character.heavy and rng.random() < 0.25:
        shadow = [fill(np.r_[lid - [0, 5], lid[::-1]], 2) for lid in lids]
        _tint(image, np.minimum(sum(shadow), 1), -rng.uniform(0.1, 0.5) * rng.uniform(0.8, 1.2, 3))
    dark, light = character.bases[0] + character.bases[1], character.bases[2]
    # Dark brown, brown, hazel, blue, grey.
    odds = np.array([2 + 6 * dark, 2 + dark, 1.2 * light, 1.5 * light, 0.8 * light])
    iris = PALETTES["iris"][rng.choice(len(odds), p=odds / odds.sum())]
    iris = (iris * np.exp(rng.normal(0, 0.12, 3))).astype(np.float32)
    return iris, np.float32(rng.uniform(0.46, 0.53))


def paint_beard(
    image: np.ndarray, seed: int, character: Character, hair: np.ndarray, lips: np.ndarray
) -> np.ndarray:
    """Paint a beard, or none, and return its mask."""
    rng = stream(seed, "faces/beard")
    kind = str(rng.choice(list(BEARDS), p=list(BEARDS.values()))) if character.heavy else "none"
    if kind == "none":
        return np.zeros((TEXELS, TEXELS), np.float32)
    x, y = load_head().landmark_uv.T
    mouth = abs(x[54] - TEXELS / 2)
    upper = np.interp(ASIDE, [0, 20, 40, 62], [y[57] + 3, y[54] + 1, y[33] + 4, y[30] - 6])
    jaw = (upper < ROWS) & (y[8] + 14 > ROWS) & (ASIDE < 68)
    moustache = (y[33] + 2.5 < ROWS) & (y[51] + 1 > ROWS) & (mouth + 3 > ASIDE)
    sides = (y[51] - 1 < ROWS) & (y[57] + 4 > ROWS) & (np.abs(ASIDE - mouth - 2) < 3)
    chin = (y[57] + 2 < ROWS) & (y[8] + 8 > ROWS) & (ASIDE < 15)
    area, edge, low, high = {
        "stubble": (jaw | moustache, 3.5, 0.12, 0.35),
        "full": (jaw | moustache | sides, 3.5, 0.6, 0.9),
        "goatee": (chin | moustache | sides, 3.5, 0.45, 0.85),
        "moustache": (moustache, 1.6, 0.45, 0.85),
    }[kind]
    fibre, strength = noise(rng, 128, 2, decay=0.8), np.float32(rng.uniform(low, high))
    mask = soften(area.astype(np.float32), edge) * (1 - lips)
    mask = mask * np.clip(strength * (1 + 0.15 * fibre), 0, 1)
    _cover(image, mask, hair[:, None, None] * (0.85 + 0.08 * fibre))
    return mask


def paint_face(seed: int, character: Character) -> Appearance:
    """Return a person's appearance; each attribute draws from its own stream of the seed."""
    p = load_head().landmark_uv
    tone, darkness = skin_tone(stream(seed, "faces/tone"), character)
    hair = hair_tone(stream(seed, "faces/hair-tone"), character)
    image = paint_skin(seed, character, tone)
    paint_marks(image, seed, character, darkness)
    lips = paint_lips(image, seed, character, tone)
    beard = paint_beard(image, seed, character, hair, lips)
    brows = paint_brows(image, seed, character, hair)
    iris, radius = paint_eyes(image, seed, character)
    # Oily zones: the nose, the middle of the forehead, the cheekbones; lips are moist.
    gloss = 0.6 + 0.5 * blob(p[30, 0], p[29, 1], 6, 10)
    gloss += 0.3 * blob(p[27, 0], p[19, 1] - 14, 26, 10)
    cheeks = np.stack([p[[36, 45], 0] + np.array([-6, 6], np.float32), p[[28, 28], 1]], 1)
    gloss += 0.25 * blobs(cheeks, 9, 7)
    gloss = gloss * (1 - 0.7 * brows) * (1 - 0.8 * beard) + 0.5 * lips
    strength = stream(seed, "faces/gloss").uniform(0.5, 1.2)
    texture = np.stack([*np.clip(image, 0.003, 0.95), gloss * strength], -1).astype(np.float32)
    return Appearance(texture, tone, hair, iris, radius)
