"""Cloth before the face: surgical masks and scarves; and hair that falls over the forehead."""

from collections.abc import Sequence

import cv2
import numpy as np

from ifr.faces.geometry import AXIS, HALF_ANGLE, TEXELS, Occluder, grid_sheet, tube
from ifr.faces.head_model import load_head
from ifr.faces.identity import Identity
from ifr.faces.paint import PALETTES
from ifr.faces.raster import compiled
from ifr.faces.shade import FABRIC, FRAME


@compiled
def _taut(profile: np.ndarray) -> None:
    """Replace each row of ``profile`` (N, M) by its upper concave hull, as taut cloth lies."""
    count = profile.shape[1]
    stack = np.zeros(count, np.int64)
    for row in range(profile.shape[0]):
        values, top = profile[row], 0
        for i in range(count):
            while top >= 2:
                a, b = stack[top - 2], stack[top - 1]
                if (values[b] - values[a]) * (i - a) > (values[i] - values[a]) * (b - a):
                    break
                top -= 1
            stack[top] = i
            top += 1
        for k in range(top - 1):
            a, b = stack[k], stack[k + 1]
            rise = values[b] - values[a]
            for i in range(a, b):
                values[i] = values[a] + rise * np.float32(i - a) / np.float32(b - a)


def _on_skin(maps: Sequence[np.ndarray], u: np.ndarray, v: np.ndarray) -> list[np.ndarray]:
    """Return distance from the axis and height of the skin at texels."""
    x, y = ((texel * len(maps[0]) / TEXELS - 0.5).astype(np.float32) for texel in (u, v))
    places = (x, y, cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)
    return [cv2.remap(values.astype(np.float32), *places) for values in maps]


def _draped(vertices: np.ndarray, angles: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return radius and height (2, rows, columns) of cloth stretched over the head (V, 3)."""
    v = np.linspace(edges[0], edges[1], 28)
    u = np.broadcast_to((angles / HALF_ANGLE * 0.5 + 0.5) * TEXELS, v.shape)
    radius, height = _on_skin(load_head().surface_map(vertices, 112), u, v)
    # Taut from top to bottom, then smooth, but never below the skin.
    down = np.ascontiguousarray(radius.T)
    _taut(down)
    taut = cv2.GaussianBlur(down.T, (0, 0), 1.5, borderType=cv2.BORDER_REPLICATE)
    return np.stack([np.maximum(taut, cv2.dilate(radius, np.ones((3, 3), np.uint8))), height])


def _outline(kind: str, lift: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the azimuths (radians) of a cloth's columns, and its two edges (2, N) in texels."""
    p = load_head().landmark_uv
    if kind == "mask":
        angles = np.radians(np.linspace(-70, 70, 33))  # from the nose over the cheeks to the ears
        edge = [p[28, 1] - 2 + 9 * lift, p[29, 1] - 1 + 5 * lift, p[29, 1] + 6, p[33, 1] + 1]
        top = np.interp(np.abs(angles), np.radians([0, 14, 45, 70]), edge)
        foot = [p[8, 1] + 5, p[8, 1] - 1, p[5, 1] - 4, p[4, 1] - 16]
        bottom = np.interp(np.abs(angles), np.radians([0, 25, 52, 70]), foot)
        return angles, np.stack([top, bottom])
    angles = np.radians(np.linspace(-118, 118, 49))  # round the neck, down to the shoulders
    edge = [p[33, 1] + 9 * lift, p[33, 1] + 6 + 8 * lift, p[48, 1] + 2, p[57, 1]]
    if kind == "low scarf":
        edge = [p[57, 1] - 1 + 7 * lift, p[57, 1] + 1 + 5 * lift, p[57, 1] - 4, p[57, 1] + 4]
    top = np.interp(np.abs(angles), np.radians([0, 30, 80, 118]), edge)
    return angles, np.stack([top, np.full(len(angles), 256.0)])


def _folds(kind: str, angles: np.ndarray, t: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Return how far folds stand out, about -1..1, over columns and depths ``t`` (rows, 1)."""
    if kind == "mask":
        # Three pleats across the middle, flattened out at the edges.
        pleats = np.sin(2 * np.pi * (3.2 * t + 0.1)) * np.clip(np.sin(np.pi * t), 0, 1)
        return pleats * np.clip(1.15 - np.abs(angles) / angles[-1], 0, 1)
    _, slack, phase, slope = draws
    wave = 2 * np.pi * ((2.2 + 2 * slack) * t + phase)
    folds = np.sin(wave + (1 + 2 * slope) * np.sin(1.7 * angles + 6 * phase))
    return folds + 0.5 * np.sin(2.3 * wave + 3 * angles)


def cloth(rng: np.random.Generator, vertices: np.ndarray, kind: str) -> Occluder:
    """Return a surgical mask with pleats and ear loops, or a scarf with folds."""
    draws, colours = rng.uniform(size=4), PALETTES["mask" if kind == "mask" else "scarf"]
    colour = colours[rng.integers(len(colours))] * np.exp(rng.normal(0, 0.15))
    offset, amplitude, weave = (0.045, 0.014, 0.04) if kind == "mask" else (0.08, 0.03, 0.12)
    angles, edges = _outline(kind, draws[0])
    radius, height = _draped(vertices, angles, edges)
    t = np.linspace(0, 1, len(radius))[:, None]
    radius = radius + offset + amplitude * _folds(kind, angles, t, draws)
    if kind != "mask":
        height = height + 0.02 * np.sin(5 * angles + 6 * draws[3])
    grid = np.stack([radius * np.sin(angles), height, AXIS + radius * np.cos(angles)], -1)
    texels = np.stack(np.broadcast_arrays(angles * 160 + 400, t * 160), -1)
    sheets = [grid_sheet(grid, FABRIC, texels)]
    # Loops from the corners of a mask to the ears hold it.
    for column, side in ((0, -1), (-1, 1)) if kind == "mask" else ():
        ear = np.array([side * 0.74, 7.2, 0.35])
        for corner in grid[[1, -2], column].astype(np.float32):
            middle = (corner + ear) / 2 + [side * 0.06, 0, 0]
            sheets.append(tube([corner, middle, ear], 0.008, FRAME))
    return Occluder(sheets, {FABRIC: (*colour, 0.0, 0, weave), FRAME: (*colour, 0.0, 0, 0)})


def forehead_hair(rng: np.random.Generator, identity: Identity, vertices: np.ndarray) -> Occluder:
    """Return locks of the person's own hair that hang over the forehead, some over an eye."""
    p, habit = load_head().landmark_uv, identity.habit
    maps = load_head().surface_map(vertices, 112)
    count, lean = int(rng.integers(6, 12)), rng.normal(0, 14)
    middle, reach = rng.uniform(-18, 18), rng.uniform(-6, 16)
    grown = 80 if habit.style in ("bald", "buzz") else habit.height + 26
    t, across, sheets = np.linspace(0, 1, 9)[:, None], np.linspace(-1, 1, 3), []
    for place in np.linspace(-1, 1, count):
        start = TEXELS / 2 + middle + 26 * place + rng.normal(0, 2.5)
        tip = start + lean + rng.normal(0, 6)
        end = p[19, 1] + reach - 6 * abs(place) + rng.normal(0, 5)
        width = rng.uniform(3.5, 7) * (1 - t**1.5) + 0.3
        u = start + (tip - start) * t**1.6 + width * across
        v = p[19, 1] - grown + (end - p[19, 1] + grown) * t + 0 * across
        out, up = _on_skin(maps, u, v)
        out, angle = out + 0.05 + 0.04 * np.sin(np.pi * t), (u / TEXELS * 2 - 1) * HALF_ANGLE
        grid = np.stack([out * np.sin(angle), up, AXIS + out * np.cos(angle)], -1)
        sheets.append(grid_sheet(grid, FABRIC, np.stack([u * 3, v], -1)))
    shade = identity.appearance.hair * np.exp(rng.normal(0, 0.1))
    return Occluder(sheets, {FABRIC: (*shade, 0.03, 0, 0.3)})
