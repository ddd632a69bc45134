"""Natural occluders: glasses, things held before the face, and cloth or hair over it."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.random import Generator

from ifr.faces import geometry
from ifr.faces.appearance import PALETTES, TABLES, linear
from ifr.faces.geometry import TEXELS, Occluder, Sheet, grid_sheet, rotate, rotation, tube
from ifr.faces.head_model import load_head
from ifr.faces.identity import Identity
from ifr.faces.raster import compiled
from ifr.faces.shade import FABRIC, FRAME, HAND, LENS
from ifr.faces.shot import Shot


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
    u = np.broadcast_to((angles / geometry.HALF_ANGLE * 0.5 + 0.5) * TEXELS, v.shape)
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
    edge = [p[33, 1] + 12 + 12 * lift, p[33, 1] + 13 + 10 * lift, p[48, 1] + 2, p[57, 1]]
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
    grid = np.stack([radius * np.sin(angles), height, geometry.AXIS + radius * np.cos(angles)], -1)
    texels = np.stack(np.broadcast_arrays(angles * 160 + 400, t * 160), -1)
    sheets = [grid_sheet(grid, FABRIC, texels)]
    # Loops from the corners of a mask to the ears hold it.
    for column, side in ((0, -1), (-1, 1)) if kind == "mask" else ():
        ear = np.array([side * 0.74, 7.2, 0.35])
        for corner in grid[[1, -2], column].astype(np.float32):
            middle = (corner + ear) / 2 + [side * 0.06, 0, 0]
            sheets.append(tube([corner, middle, ear], 0.008, FRAME))
    return sheets, {FABRIC: (*colour, 0.0, 0, weave), FRAME: (*colour, 0.0, 0, 0)}


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
        out, angle = (
            out + 0.05 + 0.04 * np.sin(np.pi * t),
            (u / TEXELS * 2 - 1) * geometry.HALF_ANGLE,
        )
        grid = np.stack([out * np.sin(angle), up, geometry.AXIS + out * np.cos(angle)], -1)
        sheets.append(grid_sheet(grid, FABRIC, np.stack([u * 3, v], -1)))
    shade = identity.appearance.hair * np.exp(rng.normal(0, 0.1))
    return sheets, {FABRIC: (*shade, 0.03, 0, 0.3)}


def build_occluder(identity: Identity, shot: Shot, vertices: np.ndarray) -> Occluder:
    """Return the occluder of a shot, if any, fitted to a head (V, 3) with its expression."""
    rng, kind, skin = shot.stream(shot.occluder), shot.occluder, identity.appearance.skin
    if kind == "none":
        return [], {}
    if kind in ("hand", "resting hand"):
        return hand(rng, vertices, skin, resting=kind == "resting hand")
    if kind == "forehead hair":
        return forehead_hair(rng, identity, vertices)
    if kind == "cup":
        return cup(rng, vertices, skin)
    if kind == "microphone":
        return microphone(rng, vertices)
    return (glasses if "glasses" in kind else cloth)(rng, vertices, kind)


def glasses(rng: Generator, vertices: np.ndarray, kind: str) -> Occluder:
    """Return glasses whose rims, bridge and arms are thin tubes, and what their lenses show."""
    p, dark = load_head().landmarks(vertices), kind == "sunglasses"
    half = 0.335 * abs(p[45, 0] - p[36, 0]) * rng.uniform(0.95, 1.15) * 0.86
    high, square = half * rng.uniform(0.62, 0.9), rng.uniform(2, 4.5)
    thin = rng.uniform(0.009, 0.015) if dark else rng.uniform(0.006, 0.011)
    front = max(p[27, 2], p[[37, 38, 43, 44], 2].max(), p[[19, 24], 2].max() - 0.03) + 0.07
    turn = np.linspace(0, 2 * np.pi, 29)
    across, up = (np.sign(f(turn)) * np.abs(f(turn)) ** (2 / square) for f in (np.cos, np.sin))
    rims = slice(0, 15) if kind == "clear glasses" else slice(None)  # the upper half, or all
    wide = {"clear glasses": 0.3, "reflecting glasses": rng.uniform(0.7, 1.3)}.get(kind)

    def bend(x: np.ndarray | float) -> np.ndarray:
        return front - 0.3 * np.maximum(np.abs(x) - 0.1, 0) ** 2

    sheets, lenses, inner = [], [], []
    # Each eye gets a rim, what its lens shows, and an arm that hooks over the ear.
    for side, eye, top in zip((-1, 1), (36, 42), load_head().ear_tops, strict=True):
        cx, cy = p[eye : eye + 6, 0].mean() * 1.08, p[eye : eye + 6, 1].mean() - 0.03
        x = cx + half * across
        rim = np.column_stack([x, cy + high * up, bend(x)])
        sheets.append(tube(rim[rims], thin, FRAME))
        if dark:
            fan = np.concatenate([[[cx, cy, bend(cx) + 0.02]], rim[:-1]]).astype(np.float32)
            k = np.arange(len(rim) - 1, dtype=np.int32)
            spokes = np.column_stack([0 * k, 1 + k, 1 + (k + 1) % len(k)])
            lenses.append(Sheet(fan, spokes, np.zeros((len(fan), 2), np.float32), LENS))
        if wide:  # a slanting band across the lens
            start, down = rng.uniform(-0.8, 0.7 - wide), np.linspace(-0.93, 0.93, 9)[:, None]
            x = np.clip(np.linspace(start, start + wide, 5) + 0.25 * down, -0.93, 0.93)
            y, x = high * down * (1 - np.abs(x) ** square) ** (1 / square), half * x
            lenses.append(grid_sheet(np.stack([cx + x, cy + y, bend(cx + x)], -1), LENS))
        hinge, ear = cx + side * half, vertices[top] + np.array([0.03 * side, 0.015, 0])
        arm = [[hinge, cy + 0.05, bend(hinge)], [ear[0], cy + 0.06, bend(hinge) - 0.25], ear]
        sheets.append(tube([*arm, ear - [0.07 * side, 0.2, 0.16]], 1.3 * thin, FRAME))
        inner.append(cx - side * half)
    level, frames = p[27, 1] + 0.03, PALETTES["frame"]
    bridge = [[inner[0], level, front], [0, level + 0.035, front + 0.02], [inner[1], level, front]]
    sheets.append(tube(bridge, thin, FRAME))
    frame = frames[rng.integers(len(frames))] * rng.uniform(0.7, 1.2)
    # Lenses are nearly black with a trace of colour, or mirror a window.
    grey, green, blue = (rng.uniform(*span) for span in ((0.08, 0.2), (0.85, 1.1), (0.8, 1.1)))
    lens = (*linear(grey * np.array([1, green, blue])), 0.35, 1, 0)
    if wide:
        veil = rng.uniform(0.35, 0.65) if kind == "reflecting glasses" else 0.8
        lens = (*linear([0.82, 0.86, 0.9]), 0.2, 1, 0, veil)
    return lenses + sheets, {FRAME: (*frame, 0.25, 1, 0), LENS: lens}


def _fingers(spread: float) -> list[Sheet]:
    """Return four fingers, a thumb and a flat palm, upright at the origin."""
    hand = TABLES["hand"]
    t, knots, parts = np.linspace(0, 1, 9), np.linspace(0, 1, 4), []
    across, along, ahead = np.array(hand["finger"]["joints"])
    digits = []
    for k in range(4):
        bend = abs(k - 1.6) * np.array([0, 0, 0.05, 0.07])
        joints = (k - 1.5) * across * [1, 1, spread, spread], along - bend, ahead
        digits.append((0.066, hand["finger"]["width"], joints))
    digits.append((0.08, hand["thumb"]["width"], hand["thumb"]["joints"]))
    for thick, widths, joints in digits:
        path = np.column_stack([np.interp(t, knots, axis) for axis in joints])
        parts.append(tube(path, thick * np.array(widths), HAND, sides=8))
    palm = np.column_stack([0 * t, -1.0 + 0.85 * t, 0 * t])
    parts.append(tube(palm, 0.265 * np.array(hand["palm"]), HAND, sides=14, flatten=0.35))
    return parts


def hand(rng: Generator, vertices: np.ndarray, skin: np.ndarray, *, resting: bool) -> Occluder:
    """Return a hand held before the face, or the chin or a cheek resting in one."""
    p = load_head().landmarks(vertices)
    if resting:
        side = rng.choice([-1, 1])
        centre = np.array([side * rng.uniform(0.2, 0.55), rng.uniform(6.2, 6.5), 0])
        centre[2] = p[8, 2] + 0.05 - 0.35 * (abs(centre[0]) - 0.2)
        turn, spread = -side * rng.uniform(0, 0.5), rng.uniform(0.8, 1.1)
        aside = side * rng.uniform(20, 45)
    else:
        centre = np.array([rng.uniform(-0.4, 0.4), rng.uniform(6.5, 7.5), p[30, 2] + 0.16])
        turn, side, spread = rng.uniform(-1.1, 1.1), rng.choice([-1, 1]), rng.uniform(0.8, 1.2)
        aside = 0.0
    spin, parts = rotation(aside, 0, np.degrees(turn)), _fingers(spread)
    tone, mirror = skin * rng.uniform(0.85, 1.1), np.array([side, 1, 1], np.float32)
    for part in parts:
        part.vertices[:] = rotate(part.vertices * mirror, spin) + centre
    return parts, {HAND: (*tone, 0.12, 0, 0.03)}


def cup(rng: Generator, vertices: np.ndarray, skin: np.ndarray) -> Occluder:
    """Return a cup at the lips with the fingers that hold it."""
    p, colours = load_head().landmarks(vertices), PALETTES["cup"]
    wide, tilt, side = rng.uniform(0.27, 0.36), rng.uniform(0.1, 0.6), rng.choice([-1, 1])
    aside, up = rng.normal(0, 0.05), rng.uniform(-0.12, 0.06)
    rim = np.array([aside, p[62, 1] + up, p[57, 2] + wide + 0.02])
    down = np.array([0, -0.9, 0.9 * tilt])
    path = rim + down * np.array([0, 0, 0.03, 0.5, 0.97, 1, 1])[:, None]
    sheets = [tube(path, wide * np.array([0, 1, 1.02, 0.95, 0.84, 0.82, 0]), LENS, sides=20)]
    angles = np.radians(np.linspace(15, 140, 9))
    for k in range(4):
        middle, reach = rim + down * (0.3 + 0.17 * k), wide * (0.97 - 0.03 * k) + 0.05
        ring = np.column_stack([side * np.cos(angles), 0 * angles, np.sin(angles)]) * reach
        widths = 0.075 * np.array(TABLES["hand"]["finger"]["width"])
        sheets.append(tube(middle + ring, widths, HAND, sides=8))
    colour = colours[rng.integers(len(colours))] * np.exp(rng.normal(0, 0.1))
    tone = skin * rng.uniform(0.85, 1.1)
    return sheets, {LENS: (*colour, 0.15, 1, 0), HAND: (*tone, 0.12, 0, 0.03)}


def microphone(rng: Generator, vertices: np.ndarray) -> Occluder:
    """Return a microphone held up to the mouth from below."""
    p = load_head().landmarks(vertices)
    size, aside = rng.uniform(0.15, 0.21), rng.normal(0, 0.14)
    ball = np.array([aside, p[57, 1] - rng.uniform(0.02, 0.2), p[57, 2] + size + 0.06])
    along = np.array([rng.normal(0, 0.25), -1, rng.uniform(0.1, 0.5)])
    turn = np.linspace(0.05, np.pi - 0.05, 9)
    head = tube(ball - size * np.cos(turn)[:, None] * along, size * np.sin(turn), FABRIC, sides=14)
    grip = ball + np.array([0.6 * size, 1.1 * size, 0.9, 1.9])[:, None] * along
    sheets = [head, tube(grip, size * np.array([0.85, 0.7, 0.55, 0.5]), LENS, sides=10)]
    head.uv[:] = np.arange(len(head.uv))[:, None] * [37, 23] % 256  # a grid of wire
    wire, body = (*[rng.uniform(0.02, 0.25)] * 3, 0.1, 0, 0.5), (*[0.01] * 3, 0.3, 1, 0)
    return sheets, {FABRIC: wire, LENS: body}
