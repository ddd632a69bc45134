"""Hair, hats and clothing: colour belongs to the identity, the way they are worn to the shot."""

import functools
from dataclasses import dataclass

import cv2
import numpy as np

from ifr.common.seeding import stream
from ifr.faces.geometry import AXIS, HALF_ANGLE, TEXELS, Sheet, grid_sheet
from ifr.faces.head_model import load_head
from ifr.faces.identity import STYLES, Habit, Identity
from ifr.faces.paint import noise, palette
from ifr.faces.shade import BRIM, CURLS, LUMPS, OF_HAIR, OF_HAT, STRANDS
from ifr.faces.shading_data import Strands
from ifr.faces.shot import Shot

# A person has a usual style and keeps to it in this share of the shots.
FAITHFUL = 0.5
# Share of shots with a hat.
HATS = 0.12
# How far the hair of each style stands off the scalp, decimetres; others lie flat.
VOLUMES = {"short": (0.05, 0.15), "medium": (0.08, 0.2), "long": (0.07, 0.16)}
# Degrees from the middle of the face of each column of the canonical map.
AZIMUTHS = np.abs(np.arange(TEXELS) + 0.5 - TEXELS / 2) / TEXELS * 240
CLOTHES = palette(
    "0.12 0.13 0.16, 0.85 0.85 0.83, 0.2 0.26 0.4, 0.45 0.44 0.43, 0.45 0.16 0.16, "
    "0.25 0.33 0.26, 0.62 0.54 0.42, 0.38 0.5 0.62"
)


@dataclass(frozen=True, eq=False)
class Outfit:
    """Hair, hat and clothing of one shot."""

    hat: bool
    brim: bool
    curves: np.ndarray  # (3, TEXELS) float32: ends of hair and hat, start of clothing
    colours: np.ndarray  # (3, 3) float32 albedo: hair, hat, clothing
    strands: Strands
    lift: np.ndarray  # (V,) float32: how far hair or hat stands off the scalp
    long: bool


@functools.cache
def detail() -> np.ndarray:
    """Return fixed patterns (5, TEXELS, TEXELS): ragged edge, strands, pores, lumps, curls."""
    rng = stream(0, "faces/detail")
    strands = _columns(rng, 120, 10) * 0.65 + noise(rng, 64, 2) * 0.35
    edge = _columns(rng, 128, 16) * 0.75 + _columns(rng, 60, 8) * 0.35
    pores = rng.standard_normal((TEXELS, TEXELS), dtype=np.float32)
    return np.stack([edge, strands, pores, noise(rng, 7, 2), noise(rng, 56, 2)]).clip(-1.8, 1.8)


def _columns(rng: np.random.Generator, across: int, down: int) -> np.ndarray:
    """Return noise that runs down the map like strands."""
    values = rng.standard_normal((down, across), dtype=np.float32)
    return cv2.resize(values, (TEXELS, TEXELS), interpolation=cv2.INTER_CUBIC)


def _draw_style(rng: np.random.Generator, habit: Habit) -> str:
    """Draw the style of the shot: the person's usual one, or another."""
    other = STYLES[rng.choice(len(STYLES), p=habit.odds)]
    usual = rng.random() < FAITHFUL
    # Who is bald stays so, and nobody else turns bald for one picture.
    return habit.style if usual or "bald" in (habit.style, other) else other


def _hairline(
    rng: np.random.Generator, identity: Identity, style: str
) -> tuple[np.ndarray, float, float]:
    """Draw the lower end of the hair by canonical column, its softness and its raggedness."""
    p = load_head().landmark_uv
    habit, heavy = identity.habit, identity.character.heavy
    front = p[19, 1] - habit.height + rng.normal(0, 2.5)
    temple, peak = habit.temple + rng.normal(0, 2), habit.peak
    side = rng.uniform(4, 12)
    fringe = style not in ("buzz", "bald") and rng.random() < (0.2 if heavy else 0.35)
    reach, parting, sweep = rng.uniform(3, 16), rng.normal(0, 18), rng.normal(0, 5)
    if fringe:
        front, temple, peak = p[19, 1] - reach, -abs(temple) * 0.3, 0.3 * peak
    if style == "bald":  # a fringe of short hair round the back at most
        front, temple = p[19, 1] - 95, 0
    knots = [0, 12, 32, 52, 64, 72, 86, 120]
    ends = [front + peak, front, front - temple, front + 6, p[36, 1] - 6]
    ends += [p[36, 1] + side + 4, p[33, 1] - 4, p[8, 1] - 12]
    if style == "bald":
        ends[3:5] = [front + 20, p[36, 1] - 30]
    across = (np.arange(TEXELS) + 0.5 - TEXELS / 2 - parting) / 30
    swept = sweep * np.tanh(across) * np.exp(-((AZIMUTHS / 45) ** 2)) * (1.0 if fringe else 0.4)
    # Hair grows back from a natural line and thins out there; a fringe ends in cut strands.
    softness, ragged = rng.uniform(7, 12), rng.uniform(1.5, 3)
    if fringe:
        softness, ragged = 0.45 * softness, 1.3 * ragged
    return np.interp(AZIMUTHS, knots, ends) + swept, softness, ragged


def _hatline(rng: np.random.Generator) -> np.ndarray:
    """Draw the lower end of a hat."""
    p = load_head().landmark_uv
    front, back = p[19, 1] - rng.uniform(8, 20), p[36, 1] + rng.uniform(-6, 8)
    return np.interp(AZIMUTHS, [0, 20, 70, 120], [front, front + 1, back, back + 8])


def _neckline(rng: np.random.Generator) -> np.ndarray:
    """Draw the upper end of the clothing."""
    chin = load_head().landmark_uv[8, 1]
    kind = rng.random()
    depth = rng.uniform(24, 34) if kind < 0.7 else rng.uniform(14, 20)
    opening = rng.uniform(0, 26) * (kind < 0.35)
    return chin + depth + opening * np.clip(1 - AZIMUTHS / 40, 0, 1)


def _lift(
    curves: np.ndarray, height: float, hat_height: float, offset: np.ndarray, curl: float
) -> np.ndarray:
    """Return how far hair or, with ``hat_height`` > 0, a hat stands off each vertex (V,)."""
    head = load_head()
    u, v = head.uv[:, 0], head.uv[:, 1]
    columns = np.arange(TEXELS) + 0.5
    inside = np.clip((np.interp(u, columns, curves[OF_HAIR]) - v) / 16 + 0.2, 0, 1)
    i = (u + offset[0]).astype(int) % TEXELS
    j = (v + offset[1]).astype(int) % TEXELS
    # Hair lies flat above the ears and stands off towards the crown.
    flat = 1 - 0.7 * np.clip((7.45 - head.mean[:, 1]) * 5, 0, 1)
    lumps = 0.25 * detail()[LUMPS, j, i] + (0.08 + 0.15 * curl) * detail()[CURLS, j, i]
    lift = height * (1 + 0.6 * curl) * inside * np.maximum(1 + lumps, 0.2) * flat
    if hat_height:
        covered = np.clip((np.interp(u, columns, curves[OF_HAT]) - v) / 4 + 0.5, 0, 1)
        lift = np.where(covered > 0, np.maximum(hat_height * covered, 0.4 * lift), lift)
    return (lift * head.skin).astype(np.float32)


def sample_outfit(identity: Identity, shot: Shot) -> Outfit:
    """Draw how hair, hat and clothing are worn in a shot; each has a random stream of its own."""
    rng = shot.stream("hair")
    style = _draw_style(rng, identity.habit)
    line, softness, ragged = _hairline(rng, identity, style)
    height = rng.uniform(*VOLUMES.get(style, (0.005, 0.02)))
    shade = rng.normal(0, 0.1)
    offset, streak = rng.uniform(0, TEXELS, 2), rng.uniform(0.2, 0.4)
    if style == "buzz":  # stubble fades into the skin, and shows more root than strand
        softness, ragged, shade = 1.3 * softness, 0.5 * ragged, shade - 0.5
    clothing = shot.stream("clothing")
    cloth = CLOTHES[clothing.integers(len(CLOTHES))] * clothing.uniform(0.6, 1.2)
    collar = _neckline(clothing)
    hats = shot.stream("hat")
    hat = bool(hats.random() < HATS) and not shot.plain
    hat_colour = CLOTHES[hats.integers(len(CLOTHES))] * hats.uniform(0.5, 1.1)
    hatline, hat_height, brim = _hatline(hats), hats.uniform(0.08, 0.13), bool(hats.random() < 0.4)
    density = {"bald": 0.0 if hats.random() < 0.5 else 0.3, "buzz": 0.72}.get(style, 1.0)
    curl = identity.habit.curl
    strands = (softness, density, ragged, streak, curl, *offset)
    curves = np.stack([line, hatline, collar])
    colours = np.stack([identity.appearance.hair * np.exp(shade), hat_colour, cloth])
    return Outfit(
        hat=hat,
        brim=brim,
        curves=curves.astype(np.float32),
        colours=colours.astype(np.float32),
        strands=Strands(*(np.float32(value) for value in strands)),
        lift=_lift(curves, height, hat_height * hat, offset, curl),
        long=style in ("medium", "long"),
    )


def hanging_hair(identity: Identity, shot: Shot, vertices: np.ndarray) -> Sheet:
    """Return the hair beside and behind the face; ``vertices`` (V, 3) have hair lifted off."""
    rng = shot.stream("hanging-hair")
    length = 6.9 - 0.5 * identity.habit.length - 0.4 * rng.random()
    opening, thickness = np.radians(rng.uniform(64, 84)), rng.uniform(0.05, 0.13)
    wave, waves, phase = rng.uniform(0, 0.04), rng.integers(3, 9), rng.uniform(0, 6)
    angles = np.linspace(opening, 2 * np.pi - opening, 41)
    heights = np.linspace(7.8, length, 12)
    # The sheet falls straight from the widest part of the head above it.
    radius = _outline(vertices, angles, heights)
    fall = np.linspace(0, 1, len(heights))
    edge = np.clip(np.minimum(angles - angles[0], angles[-1] - angles) / 0.5, 0, 1)[:, None]
    radius = radius + thickness * np.clip(fall * 6, 0, 1) * (0.3 + 0.7 * edge) - 0.05 * (1 - edge)
    # Below the ears it closes in on the neck, and its tips turn inwards.
    radius = radius - 0.14 * np.clip(6.7 - heights, 0, None) - 0.10 * fall**6
    radius = radius + wave * np.sin(waves * angles + phase)[:, None] * fall
    x = radius * np.sin(angles)[:, None]
    z = AXIS + radius * np.cos(angles)[:, None]
    y = heights + 0.06 * rng.normal(size=(len(angles), 1)) * fall**3
    u = np.broadcast_to((angles / np.pi * 1.1 * TEXELS)[:, None], x.shape)
    v = np.broadcast_to(fall * TEXELS * 0.9, x.shape)
    return grid_sheet(np.stack([x, y, z], -1), STRANDS, np.stack([u, v], -1))


def _outline(vertices: np.ndarray, angles: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """Return the widest radius (angles, heights) of the upper head at or above each height."""
    head = load_head()
    upper = vertices[head.skin & (head.mean[:, 1] > 6.85)]
    sector = np.arctan2(upper[:, 0], upper[:, 2] - AXIS) % (2 * np.pi)
    step = angles[1] - angles[0]
    column = np.round((sector - angles[0]) / step).astype(int)
    row = np.searchsorted(-heights, -upper[:, 1])
    radius = np.zeros((len(angles), len(heights)))
    inside = (column >= 0) & (column < len(angles)) & (row < len(heights))
    reach = np.hypot(upper[:, 0], upper[:, 2] - AXIS)
    np.maximum.at(radius, (column[inside], row[inside]), reach[inside])
    radius = np.maximum.accumulate(np.maximum(radius, 0.55), axis=1)
    kernel = np.array([0.25, 0.5, 0.25])
    for _ in range(3):
        padded = np.pad(radius, ((1, 1), (0, 0)), mode="edge")
        radius = kernel[0] * padded[:-2] + kernel[1] * padded[1:-1] + kernel[2] * padded[2:]
    return radius


def hat_brim(vertices: np.ndarray, hatline: np.ndarray) -> Sheet:
    """Return the brim of a cap in front of the forehead.

    Args:
        vertices: (V, 3) head with the hat lifted off it.
        hatline: (TEXELS,) lower end of the hat in the canonical map.
    """
    radius, height = load_head().surface_map(vertices)
    scale = len(radius) / TEXELS
    angles = np.radians(np.linspace(-50, 50, 15))
    columns = (angles / HALF_ANGLE * 0.5 + 0.5) * TEXELS
    rows = (hatline[columns.astype(int)] * scale).astype(int) - 1
    inner = radius[rows, (columns * scale).astype(int)]
    level = height[rows, (columns * scale).astype(int)]
    out = np.linspace(0, 1, 5)[:, None]
    depth = 0.55 * np.sqrt(np.clip(1 - (angles / angles[-1]) ** 2, 0, 1))
    x = inner * np.sin(angles) + 0 * out
    z = AXIS + inner * np.cos(angles) + out * depth - 0.03
    y = level + out * (-0.12 - 0.1 * (angles / angles[-1]) ** 2) - 0.05 * out**2
    return grid_sheet(np.stack([x, y, z], -1), BRIM)
