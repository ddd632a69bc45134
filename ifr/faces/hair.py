"""Hair, hats and clothing: colour belongs to the identity, the way they are worn to the shot."""

import functools
from dataclasses import dataclass

import cv2
import numpy as np

from ifr.common.seeding import stream
from ifr.faces.geometry import AXIS, HALF_ANGLE, TEXELS, Sheet, grid_sheet
from ifr.faces.head_model import load_head
from ifr.faces.identity import COMBED, STYLES, Identity
from ifr.faces.paint import PALETTES, noise, strokes
from ifr.faces.shade import BRIM, CURLS, LUMPS, OF_HAIR, OF_HAT, STRANDS
from ifr.faces.shading_data import Strands
from ifr.faces.shot import Shot

FAITHFUL = 0.5  # share of the shots in which a person keeps to the usual style
HATS = 0.12  # share of shots with a hat
# How far the hair of each style stands off the scalp, decimetres; others lie flat.
VOLUMES = dict(short=(0.04, 0.13), medium=(0.07, 0.17), long=(0.06, 0.15), tied=(0.02, 0.05))
AZIMUTHS = np.abs(np.arange(TEXELS) + 0.5 - TEXELS / 2) / TEXELS * 240  # degrees of each column


@dataclass(frozen=True, eq=False)
class Outfit:
    """Hair, hat and clothing of one shot."""

    hat: bool
    brim: str  # "", "visor" or "round"
    curves: np.ndarray  # (3, TEXELS) float32: ends of hair and hat, start of clothing
    colours: np.ndarray  # (3, 3) float32 albedo: hair, hat, clothing
    strands: Strands
    lift: np.ndarray  # (V,) float32: how far hair or hat stands off the scalp
    long: bool
    framed: bool  # whether hanging hair covers the ears


@functools.cache
def detail() -> np.ndarray:
    """Return fixed patterns (6, TEXELS, TEXELS): edge, strands, pores, lumps, curls, loose hair."""
    rng = stream(0, "faces/detail")
    strands = 0.5 * _columns(rng, 220, 9) + 0.45 * _columns(rng, 80, 5) + 0.3 * noise(rng, 48, 2)
    edge = 0.3 * _columns(rng, 200, 24) + 0.55 * _columns(rng, 48, 9) + 0.5 * noise(rng, 44, 2)
    pores = rng.standard_normal((TEXELS, TEXELS), dtype=np.float32)
    patterns = np.stack([edge, strands, pores, noise(rng, 7, 2), noise(rng, 56, 2)])
    start, bend = rng.uniform(0, TEXELS, (160, 2)), rng.normal(0, 5, (160, 2))
    t, long = np.linspace(0, 1, 7), rng.uniform(20, 50, (160, 1))
    x = start[:, :1] + bend[:, :1] * t + bend[:, 1:] * t**2
    loose = strokes(np.stack([x, start[:, 1:] + long * t], -1), blur=0.45)
    return np.stack([*patterns.clip(-1.8, 1.8), 1.5 * loose]).astype(np.float32)


def _columns(rng: np.random.Generator, across: int, down: int) -> np.ndarray:
    """Return noise that runs down the map like strands."""
    values = rng.standard_normal((down, across), dtype=np.float32)
    return cv2.resize(values, (TEXELS, TEXELS), interpolation=cv2.INTER_CUBIC)


def _natural_line(rng: np.random.Generator, identity: Identity, style: str) -> np.ndarray:
    """Draw where hair grows: over the forehead, back at the temples, before and behind the ears."""
    heights, habit = load_head().landmark_uv[:, 1], identity.habit
    brow, eye, nose, chin = heights[[19, 36, 33, 8]]
    front, side = brow - habit.height + rng.normal(0, 3), rng.uniform(0, 10)
    temple, peak = habit.temple + rng.normal(0, 2), habit.peak
    if style == "bald":  # a fringe of short hair round the back at most
        front, temple, peak = brow - 95, 0, 0
    knots = [0, 7, 16, 24, 32, 40, 48, 56, 64, 72, 88, 120]
    ends = [front + peak, front + 0.4 * peak, front - 0.3 * temple, front - temple]
    ends += [max(front - temple, brow - 20), brow + 2, eye + 2, eye + side, eye + side]
    if style == "bald":
        ends[4:9] = [front, front, brow - 40, eye - 12, eye + 0.4 * side]
    line = np.interp(AZIMUTHS, knots, [*ends, nose - 8, nose, chin - 12])
    return np.convolve(np.pad(line, 4, mode="edge"), np.hanning(11)[1:-1] / 5, "valid")


@dataclass(frozen=True, eq=False)
class _Cut:
    """How the hair of a shot falls from its line; all in texels but ``gap`` and the leans."""

    line: np.ndarray  # (TEXELS,)
    softness: float
    ragged: float
    part: float = TEXELS / 2
    gap: float = 0.0
    lean: tuple[float, float] = (-0.15, 0.15)
    overhang: float = 0.0  # how far the hair stands off at its lower end, 0..1


def _cut(rng: np.random.Generator, identity: Identity, style: str) -> _Cut:
    """Draw the lower end of the hair by canonical column, and how it is combed."""
    natural, brow = _natural_line(rng, identity, style), load_head().landmark_uv[19, 1]
    combed, habit = COMBED[rng.choice(len(COMBED), p=identity.habit.combed_odds)], identity.habit
    if rng.random() < 0.7 * FAITHFUL:
        combed = habit.combed
    side = habit.side if rng.random() < FAITHFUL else rng.choice([-1, 1])
    softness, ragged = rng.uniform(6, 11), rng.uniform(1, 2.5)
    place, sag, reach = rng.uniform(14, 30), rng.uniform(4, 26), rng.uniform(5, 24)
    arc, sweep, lean = rng.normal(0, 3), rng.normal(0, 4), rng.uniform(0.4, 1.1)
    if style in ("buzz", "bald", "tied") or combed == "back":
        slope = (lean - 0.75) * 1.4
        return _Cut(natural, 1.3 * softness, ragged, lean=(slope - 0.2, slope + 0.2))
    across = np.arange(TEXELS) + 0.5 - TEXELS / 2
    if combed == "fringe":
        line = brow - reach + arc * (across / 35) ** 2 + sweep * across / 35
        line = line + (natural - line) * np.clip((AZIMUTHS - 26) / 14, 0, 1)
        slope = 0.08 * sweep
        return _Cut(line, 0.6 * softness, 1.5 * ragged, lean=(slope, slope), overhang=0.3)
    # From a parting hair falls over the temples: on both sides of the middle, or on the long side.
    part = side * place if combed == "side" else 0.15 * place * side
    off = (across - part) * np.where(combed == "side", -side, 1)
    off = np.abs(off) if combed == "middle" else off
    front = brow - habit.height - 3
    hang = front + sag * np.clip(off / 40, 0, 1.3) ** 1.6 + 4 * np.clip(1 - np.abs(off) / 8, 0, 1)
    hang = np.where((off > 0) & (AZIMUTHS < 46), hang, 0)
    short = 0.5 * lean if combed == "side" else lean
    leans = (lean, -short) if side > 0 else (short, -lean)
    line, gap = np.maximum(natural, hang), rng.uniform(0, 0.6) * (style != "short")
    return _Cut(line, 0.8 * softness, ragged, part + TEXELS / 2, gap, leans, 0.15)


def _lift(
    curves: np.ndarray, heights: tuple[float, float], cut: _Cut, offset: np.ndarray, curl: float
) -> np.ndarray:
    """Return how far hair or, where the second height is not 0, a hat stands off a vertex, (V,)."""
    head, columns, (height, hat_height) = load_head(), np.arange(TEXELS) + 0.5, heights
    u, v = head.uv.T
    inside = np.clip((np.interp(u, columns, curves[OF_HAIR]) - v) / 22 + cut.overhang, 0, 1)
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
    cut = _cut(rng, identity, style)
    softness, ragged = cut.softness, cut.ragged
    height, shade = rng.uniform(*VOLUMES.get(style, (0.005, 0.02))), rng.normal(0, 0.15)
    offset, streak = rng.uniform(0, TEXELS, 2), rng.uniform(0.2, 0.4)
    if style == "buzz":  # stubble fades into the skin, and shows more root than strand
        softness, ragged, shade = 1.4 * softness, 0.4 * ragged, shade - 0.4
    cloth = clothes[clothing.integers(len(clothes))] * clothing.uniform(0.6, 1.2)
    brow, eye, chin = load_head().landmark_uv[[19, 36, 8], 1]
    neckline = clothing.random()
    depth = clothing.uniform(*((24, 34) if neckline < 0.7 else (14, 20)))
    opening = clothing.uniform(0, 26) * (neckline < 0.35)
    collar = chin + depth + opening * np.clip(1 - AZIMUTHS / 40, 0, 1)
    hat = bool(hats.random() < HATS) and not shot.plain
    hat_colour = clothes[hats.integers(len(clothes))] * hats.uniform(0.5, 1.1)
    front, back = brow - hats.uniform(8, 20), eye + hats.uniform(-6, 8)
    hatline = np.interp(AZIMUTHS, [0, 20, 70, 120], [front, front + 1, back, back + 8])
    hat_height, brim = hats.uniform(0.08, 0.13), "visor" if hats.random() < 0.45 else ""
    brim = "round" if brim and shot.stream("brim").random() < 0.4 else brim
    density = {"bald": 0.0 if hats.random() < 0.5 else 0.3, "buzz": 0.72}.get(style, 1.0)
    loose = shot.stream("loose-hair").uniform(-0.4, 0.9) if style not in ("buzz", "bald") else 0.0
    # Strands that hang straight down would look like drops.
    loose *= min(1, abs(cut.lean[0] + cut.lean[1]) + cut.gap)
    combed = max(loose, 0.0), cut.part, cut.gap, *cut.lean, *offset
    strands = map(np.float32, (softness, density, ragged, streak, curl, *combed))
    curves = np.stack([cut.line, hatline, collar])
    colours = np.stack([identity.appearance.hair * np.exp(shade), hat_colour, cloth])
    worn = curves.astype(np.float32), colours.astype(np.float32), Strands(*strands)
    lift = _lift(curves, (height, hat_height * hat), cut, offset, curl)
    long = style in ("medium", "long")
    return Outfit(hat, brim, *worn, lift, long, framed=long and cut.gap > 0)


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
    upper = vertices[load_head().skin & (load_head().mean[:, 1] > 6.85)]
    sector = np.arctan2(upper[:, 0], upper[:, 2] - AXIS) % (2 * np.pi)
    column = np.round((sector - angles[0]) / (angles[1] - angles[0])).astype(int)
    row = np.searchsorted(-heights, -upper[:, 1])
    radius = np.full((len(angles), len(heights)), 0.55)
    inside = (column >= 0) & (column < len(angles)) & (row < len(heights))
    reach = np.hypot(upper[inside, 0], upper[inside, 2] - AXIS)
    np.maximum.at(radius, (column[inside], row[inside]), reach)
    radius = np.maximum.accumulate(radius, axis=1)
    for _ in range(3):
        padded = np.pad(radius, ((1, 1), (0, 0)), mode="edge")
        radius = 0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:]
    return radius


def hat_brim(outfit: Outfit, vertices: np.ndarray) -> Sheet:
    """Return the visor of a cap or the brim all round a hat; ``vertices`` have the hat on."""
    maps, visor = np.stack(load_head().surface_map(vertices)), outfit.brim == "visor"
    angles = np.radians(np.linspace(-62, 62, 25) if visor else np.linspace(-116, 116, 41))
    out, aside = np.linspace(0, 1, 5)[:, None], angles / angles[-1]
    columns, scale = (angles / HALF_ANGLE * 0.5 + 0.5) * TEXELS, maps.shape[1] / TEXELS
    rows = (outfit.curves[OF_HAT][columns.astype(int)] * scale).astype(int) - 1
    rim = np.pad(maps[:, rows, (columns * scale).astype(int)], ((0, 0), (2, 2)), mode="edge")
    weights = np.hanning(7)[1:-1] / np.hanning(7).sum()
    inner, level = (np.convolve(values, weights, "valid") for values in rim)
    # A visor stands out in front and bends down at its sides until it meets the hat.
    depth = 0.55 * (1 - aside**2) ** 0.7 if visor else 0.3 + 0 * angles
    reach = inner - 0.03 + out * depth
    y = level - out * depth * (0.15 + 0.5 * aside**2 if visor else 0.45) - 0.03 * out**2
    x, z = reach * np.sin(angles), AXIS + reach * np.cos(angles)
    if visor:  # its rim runs straight ahead, not outwards
        x, z = inner * np.sin(angles) + 0 * out, AXIS + inner * np.cos(angles) - 0.03 + out * depth
    return grid_sheet(np.stack([x, y, z], -1), BRIM)
