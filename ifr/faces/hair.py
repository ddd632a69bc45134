"""Hair, hats and clothing: colour belongs to the identity, the way they are worn to the shot."""

import functools
from dataclasses import dataclass

import cv2
import numpy as np

from ifr.common.seeding import stream
from ifr.faces.geometry import AXIS, HALF_ANGLE, TEXELS, Sheet, grid_sheet
from ifr.faces.head_model import load_head
from ifr.faces.identity import STYLES, Identity
from ifr.faces.paint import noise
from ifr.faces.shade import BRIM, CURLS, LUMPS, OF_HAIR, OF_HAT, STRANDS
from ifr.faces.shading_data import Strands
from ifr.faces.shot import Shot
from ifr.faces.tables import PALETTES

FAITHFUL = 0.5  # share of the shots in which a person keeps to the usual style
HATS = 0.12  # share of shots with a hat
# How far the hair of each style stands off the scalp, decimetres; others lie flat.
VOLUMES = {"short": (0.05, 0.15), "medium": (0.08, 0.2), "long": (0.07, 0.16)}
# Degrees from the middle of the face of each column of the canonical map.
AZIMUTHS = np.abs(np.arange(TEXELS) + 0.5 - TEXELS / 2) / TEXELS * 240


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


def _hairline(
    rng: np.random.Generator, identity: Identity, style: str
) -> tuple[np.ndarray, float, float]:
    """Draw the lower end of the hair by canonical column, its softness and its raggedness."""
    heights, habit, heavy = load_head().landmark_uv[:, 1], identity.habit, identity.character.heavy
    brow, eye = heights[[19, 36]]
    front = brow - habit.height + rng.normal(0, 2.5)
    temple, peak, side = habit.temple + rng.normal(0, 2), habit.peak, rng.uniform(4, 12)
    fringe = style not in ("buzz", "bald") and rng.random() < (0.2 if heavy else 0.35)
    reach, parting, sweep = rng.uniform(3, 16), rng.normal(0, 18), rng.normal(0, 5)
    if fringe:
        front, temple, peak = brow - reach, -abs(temple) * 0.3, 0.3 * peak
    if style == "bald":  # a fringe of short hair round the back at most
        front, temple = brow - 95, 0
    knots = [0, 12, 32, 52, 64, 72, 86, 120]
    ends = [front + 20, eye - 30] if style == "bald" else [front + 6, eye - 6]
    ends = [front + peak, front, front - temple, *ends, eye + side + 4]
    ends += [heights[33] - 4, heights[8] - 12]
    across = (np.arange(TEXELS) + 0.5 - TEXELS / 2 - parting) / 30
    swept = sweep * np.tanh(across) * np.exp(-((AZIMUTHS / 45) ** 2)) * (1.0 if fringe else 0.4)
    # Hair grows back from a natural line and thins out there; a fringe ends in cut strands.
    softness, ragged = rng.uniform(7, 12), rng.uniform(1.5, 3)
    if fringe:
        softness, ragged = 0.45 * softness, 1.3 * ragged
    return np.interp(AZIMUTHS, knots, ends) + swept, softness, ragged


def _neckline(rng: np.random.Generator) -> np.ndarray:
    """Draw the upper end of the clothing."""
    chin, kind = load_head().landmark_uv[8, 1], rng.random()
    depth = rng.uniform(24, 34) if kind < 0.7 else rng.uniform(14, 20)
    opening = rng.uniform(0, 26) * (kind < 0.35)
    return chin + depth + opening * np.clip(1 - AZIMUTHS / 40, 0, 1)


def _lift(
    curves: np.ndarray, height: float, hat_height: float, offset: np.ndarray, curl: float
) -> np.ndarray:
    """Return how far hair or, with ``hat_height`` > 0, a hat stands off each vertex (V,)."""
    head, columns = load_head(), np.arange(TEXELS) + 0.5
    u, v = head.uv.T
    inside = np.clip((np.interp(u, columns, curves[OF_HAIR]) - v) / 16 + 0.2, 0, 1)
    i, j = (head.uv + offset).astype(int).T % TEXELS
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
    rng, clothing, hats = (shot.stream(name) for name in ("hair", "clothing", "hat"))
    habit, clothes = identity.habit, PALETTES["clothes"]
    other, curl = STYLES[rng.choice(len(STYLES), p=habit.odds)], habit.curl
    # Who is bald stays so, and nobody else turns bald for one picture.
    usual = rng.random() < FAITHFUL or "bald" in (habit.style, other)
    style = habit.style if usual else other
    line, softness, ragged = _hairline(rng, identity, style)
    height, shade = rng.uniform(*VOLUMES.get(style, (0.005, 0.02))), rng.normal(0, 0.1)
    offset, streak = rng.uniform(0, TEXELS, 2), rng.uniform(0.2, 0.4)
    if style == "buzz":  # stubble fades into the skin, and shows more root than strand
        softness, ragged, shade = 1.3 * softness, 0.5 * ragged, shade - 0.5
    cloth = clothes[clothing.integers(len(clothes))] * clothing.uniform(0.6, 1.2)
    collar, hat = _neckline(clothing), bool(hats.random() < HATS) and not shot.plain
    hat_colour = clothes[hats.integers(len(clothes))] * hats.uniform(0.5, 1.1)
    brow, eye = load_head().landmark_uv[[19, 36], 1]
    front, back = brow - hats.uniform(8, 20), eye + hats.uniform(-6, 8)
    hatline = np.interp(AZIMUTHS, [0, 20, 70, 120], [front, front + 1, back, back + 8])
    hat_height, brim = hats.uniform(0.08, 0.13), bool(hats.random() < 0.4)
    density = {"bald": 0.0 if hats.random() < 0.5 else 0.3, "buzz": 0.72}.get(style, 1.0)
    strands = (np.float32(x) for x in (softness, density, ragged, streak, curl, *offset))
    curves = np.stack([line, hatline, collar])
    colours = np.stack([identity.appearance.hair * np.exp(shade), hat_colour, cloth])
    worn = curves.astype(np.float32), colours.astype(np.float32), Strands(*strands)
    lift = _lift(curves, height, hat_height * hat, offset, curl)
    return Outfit(hat, brim, *worn, lift, long=style in ("medium", "long"))


def hanging_hair(identity: Identity, shot: Shot, vertices: np.ndarray) -> Sheet:
    """Return the hair beside and behind the face; ``vertices`` (V, 3) have hair lifted off."""
    rng = shot.stream("hanging-hair")
    length = 6.9 - 0.5 * identity.habit.length - 0.4 * rng.random()
    opening, thickness = np.radians(rng.uniform(64, 84)), rng.uniform(0.05, 0.13)
    wave, waves, phase = rng.uniform(0, 0.04), rng.integers(3, 9), rng.uniform(0, 6)
    angles, fall = np.linspace(opening, 2 * np.pi - opening, 41), np.linspace(0, 1, 12)
    heights = np.linspace(7.8, length, len(fall))
    # The sheet falls straight from the widest part of the head above it.
    radius = _outline(vertices, angles, heights)
    edge = np.clip(np.minimum(angles - angles[0], angles[-1] - angles) / 0.5, 0, 1)[:, None]
    radius = radius + thickness * np.clip(fall * 6, 0, 1) * (0.3 + 0.7 * edge) - 0.05 * (1 - edge)
    # Below the ears it closes in on the neck, and its tips turn inwards.
    radius = radius - 0.14 * np.clip(6.7 - heights, 0, None) - 0.10 * fall**6
    radius = radius + wave * np.sin(waves * angles + phase)[:, None] * fall
    y = heights + 0.06 * rng.normal(size=(len(angles), 1)) * fall**3
    angles = angles[:, None]
    grid = np.stack([radius * np.sin(angles), y, AXIS + radius * np.cos(angles)], -1)
    texels = np.broadcast_arrays(angles / np.pi * 1.1 * TEXELS, fall * TEXELS * 0.9)
    return grid_sheet(grid, STRANDS, np.stack(texels, -1))


def _outline(vertices: np.ndarray, angles: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """Return the widest radius (angles, heights) of the upper head at or above each height."""
    head = load_head()
    upper = vertices[head.skin & (head.mean[:, 1] > 6.85)]
    sector = np.arctan2(upper[:, 0], upper[:, 2] - AXIS) % (2 * np.pi)
    column = np.round((sector - angles[0]) / (angles[1] - angles[0])).astype(int)
    row = np.searchsorted(-heights, -upper[:, 1])
    radius = np.full((len(angles), len(heights)), 0.55)
    inside = (column >= 0) & (column < len(angles)) & (row < len(heights))
    reach = np.hypot(upper[:, 0], upper[:, 2] - AXIS)
    np.maximum.at(radius, (column[inside], row[inside]), reach[inside])
    radius = np.maximum.accumulate(radius, axis=1)
    for _ in range(3):
        padded = np.pad(radius, ((1, 1), (0, 0)), mode="edge")
        radius = 0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:]
    return radius


def hat_brim(vertices: np.ndarray, hatline: np.ndarray) -> Sheet:
    """Return the brim of a cap whose lower end is ``hatline``; ``vertices`` have the hat on."""
    maps = np.stack(load_head().surface_map(vertices))
    scale = maps.shape[1] / TEXELS
    angles, out = np.radians(np.linspace(-50, 50, 15)), np.linspace(0, 1, 5)[:, None]
    columns = (angles / HALF_ANGLE * 0.5 + 0.5) * TEXELS
    rows = (hatline[columns.astype(int)] * scale).astype(int) - 1
    inner, level = maps[:, rows, (columns * scale).astype(int)]
    depth = 0.55 * np.sqrt(np.clip(1 - (angles / angles[-1]) ** 2, 0, 1))
    x = inner * np.sin(angles) + 0 * out
    z = AXIS + inner * np.cos(angles) + out * depth - 0.03
    y = level + out * (-0.12 - 0.1 * (angles / angles[-1]) ** 2) - 0.05 * out**2
    return grid_sheet(np.stack([x, y, z], -1), BRIM)
