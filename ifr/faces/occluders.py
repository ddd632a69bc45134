"""Natural occluders worn or held before the face: sunglasses, eyeglasses, scarf, mask, hand."""

from dataclasses import dataclass

import cv2
import numpy as np

from ifr.faces.geometry import AXIS, HALF_ANGLE, TEXELS, Sheet, grid_sheet, tube
from ifr.faces.head_model import load_head
from ifr.faces.identity import Identity
from ifr.faces.kernels import compiled
from ifr.faces.shade import FABRIC, FRAME, HAND, LENS
from ifr.faces.shot import Shot
from ifr.faces.tables import PALETTES, TABLES, linear


@dataclass(frozen=True, eq=False)
class Occluder:
    """Sheets of an occluder and its materials: number -> r, g, b, gloss, sharp, pattern."""

    sheets: list[Sheet]
    materials: dict[int, tuple[float, ...]]


def build_occluder(identity: Identity, shot: Shot, vertices: np.ndarray) -> Occluder:
    """Return the occluder of a shot, fitted to a head (V, 3) with its expression."""
    rng = shot.stream(shot.occluder)
    if shot.occluder == "hand":
        return _hand(rng, vertices, identity.appearance.skin)
    if shot.occluder in ("mask", "scarf"):
        return _cloth(rng, vertices, shot.occluder)
    return _glasses(rng, vertices, shot.occluder == "sunglasses")


def _glasses(rng: np.random.Generator, vertices: np.ndarray, dark: bool) -> Occluder:
    """Return glasses whose rims, bridge and temples are thin tubes; dark ones have lenses."""
    p = load_head().landmarks(vertices)
    half = 0.335 * abs(p[45, 0] - p[36, 0]) * rng.uniform(0.95, 1.15) * (1.06 if dark else 0.95)
    high, square = half * rng.uniform(0.62, 0.9), rng.uniform(2, 4.5)
    thin = rng.uniform(0.009, 0.015) if dark else rng.uniform(0.006, 0.011)
    front = max(p[27, 2], p[[37, 38, 43, 44], 2].max(), p[[19, 24], 2].max() - 0.03) + 0.07
    turn = np.linspace(0, 2 * np.pi, 29)
    across, up = (np.sign(f(turn)) * np.abs(f(turn)) ** (2 / square) for f in (np.cos, np.sin))

    def bend(x: np.ndarray | float) -> np.ndarray:
        return front - 0.3 * np.maximum(np.abs(x) - 0.1, 0) ** 2

    sheets, inner = [], []
    # Each eye gets a rim, a lens where dark, and a temple over the ear.
    for side, eye in ((-1, p[36:42].mean(0)), (1, p[42:48].mean(0))):
        cx, cy = eye[0] * 1.05, eye[1] - 0.03
        x = cx + half * across
        rim = np.column_stack([x, cy + high * up, bend(x)])
        sheets.append(tube(rim, thin, FRAME))
        if dark:
            fan = np.concatenate([[[cx, cy, bend(cx) + 0.02]], rim[:-1]]).astype(np.float32)
            k = np.arange(len(rim) - 1, dtype=np.int32)
            spokes = np.column_stack([0 * k, 1 + k, 1 + (k + 1) % len(k)])
            sheets.append(Sheet(fan, spokes, np.zeros((len(fan), 2), np.float32), LENS))
        hinge, ear = cx + side * half, side * (abs(p[16, 0]) + 0.06)
        arm = [[hinge, cy + 0.05, bend(hinge)], [ear, cy + 0.06, bend(hinge) - 0.3]]
        sheets.append(tube([*arm, [ear, cy + 0.05, 0.15]], 1.3 * thin, FRAME))
        inner.append(cx - side * half)
    level, frames = p[27, 1] + 0.03, PALETTES["frame"]
    bridge = [[inner[0], level, front], [0, level + 0.035, front + 0.02], [inner[1], level, front]]
    sheets.append(tube(bridge, thin, FRAME))
    frame = frames[rng.integers(len(frames))] * rng.uniform(0.7, 1.2)
    # Lenses are nearly black with a trace of colour.
    grey, green, blue = (rng.uniform(*span) for span in ((0.08, 0.2), (0.85, 1.1), (0.8, 1.1)))
    lens = linear(grey * np.array([1, green, blue]))
    return Occluder(sheets, {FRAME: (*frame, 0.25, 1, 0), LENS: (*lens, 0.35, 1, 0)})


@compiled
def _taut(profile: np.ndarray) -> None:
    """Replace each row of ``profile`` (N, M) by its upper concave hull, as taut cloth lies."""
    count = profile.shape[1]
    stack = np.zeros(count, np.int64)
    for row in range(profile.shape[0]):
        values = profile[row]
        top = 0
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
            start, end = values[a], values[b]
            for i in range(a, b):
                values[i] = start + (end - start) * np.float32(i - a) / np.float32(b - a)


def _draped(vertices: np.ndarray, angles: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return radius and height (2, rows, columns) of cloth stretched over the head (V, 3)."""
    radius, height = load_head().surface_map(vertices, 112)
    scale = len(radius) / TEXELS
    column = np.clip((angles / HALF_ANGLE * 0.5 + 0.5) * len(radius) - 0.5, 0, len(radius) - 1)
    row = np.linspace(edges[0], edges[1], 28) * scale - 0.5
    x, y = np.broadcast_to(column, row.shape).astype(np.float32), row.astype(np.float32)
    places = (x, y, cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)
    radius, height = (cv2.remap(values.astype(np.float32), *places) for values in (radius, height))
    # Taut from top to bottom, then smooth, but never below the skin.
    down = np.ascontiguousarray(radius.T)
    _taut(down)
    taut = cv2.GaussianBlur(down.T, (0, 0), 1.5, borderType=cv2.BORDER_REPLICATE)
    return np.stack([np.maximum(taut, cv2.dilate(radius, np.ones((3, 3), np.uint8))), height])


def _outline(kind: str, lift: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the azimuths (radians) of a cloth's columns, and its two edges (2, N) in texels."""
    p = load_head().landmark_uv
    if kind == "mask":
        # From the bridge of the nose over the cheeks towards the ears, and round the chin.
        angles = np.radians(np.linspace(-70, 70, 33))
        edge = [p[28, 1] - 2 + 9 * lift, p[29, 1] - 1 + 5 * lift, p[29, 1] + 6, p[33, 1] + 1]
        top = np.interp(np.abs(angles), np.radians([0, 14, 45, 70]), edge)
        foot = [p[8, 1] + 5, p[8, 1] - 1, p[5, 1] - 4, p[4, 1] - 16]
        bottom = np.interp(np.abs(angles), np.radians([0, 25, 52, 70]), foot)
        return angles, np.stack([top, bottom])
    # From the nose or the mouth down to the shoulders, and round the neck.
    angles = np.radians(np.linspace(-118, 118, 49))
    edge = [p[33, 1] - 8 + 18 * lift, p[33, 1] + 4 + 8 * lift, p[48, 1], p[57, 1]]
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


def _cloth(rng: np.random.Generator, vertices: np.ndarray, kind: str) -> Occluder:
    """Return a surgical mask with pleats and ear loops, or a scarf with folds."""
    draws, colours = rng.uniform(size=4), PALETTES[kind]
    colour = colours[rng.integers(len(colours))] * np.exp(rng.normal(0, 0.15))
    offset, amplitude, weave = (0.045, 0.014, 0.04) if kind == "mask" else (0.08, 0.03, 0.12)
    angles, edges = _outline(kind, draws[0])
    radius, height = _draped(vertices, angles, edges)
    t = np.linspace(0, 1, len(radius))[:, None]
    radius = radius + offset + amplitude * _folds(kind, angles, t, draws)
    if kind == "scarf":
        height = height + 0.02 * np.sin(5 * angles + 6 * draws[3])
    grid = np.stack([radius * np.sin(angles), height, AXIS + radius * np.cos(angles)], -1)
    texels = np.stack(np.broadcast_arrays(angles * 160 + 400, t * 160), -1)
    sheets = [grid_sheet(grid, FABRIC, texels)]
    # Loops from the corners of a mask to the ears hold it.
    for column, side in ((0, -1), (-1, 1)) if kind == "mask" else ():
        ear, corners = np.array([side * 0.74, 7.2, 0.35]), grid[[1, -2], column].astype(np.float32)
        for corner in corners:
            middle = (corner + ear) / 2 + [side * 0.06, 0, 0]
            sheets.append(tube([corner, middle, ear], 0.008, FRAME))
    look = {FABRIC: (*colour, 0.0, 0, weave), FRAME: (*colour, 0.0, 0, 0)}
    return Occluder(sheets, look)


def _hand(rng: np.random.Generator, vertices: np.ndarray, skin: np.ndarray) -> Occluder:
    """Return a hand held before the face: four fingers, a thumb and a flat palm."""
    p, hand = load_head().landmarks(vertices), TABLES["hand"]
    centre = np.array([rng.uniform(-0.4, 0.4), rng.uniform(6.5, 7.5), p[30, 2] + 0.16])
    turn, mirror, spread = rng.uniform(-1.1, 1.1), rng.choice([-1, 1]), rng.uniform(0.8, 1.2)
    spin = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    t, knots, parts = np.linspace(0, 1, 9), np.linspace(0, 1, 4), []
    across, along, ahead = np.array(hand["finger"]["joints"])
    for k in range(4):
        bend = abs(k - 1.6) * np.array([0, 0, 0.05, 0.07])
        joints = (k - 1.5) * across * [1, 1, spread, spread], along - bend, ahead
        path = np.column_stack([np.interp(t, knots, axis) for axis in joints])
        parts.append(tube(path, 0.066 * np.array(hand["finger"]["width"]), HAND, sides=8))
    # The thumb leaves the palm at its side.
    path = np.column_stack([np.interp(t, knots, axis) for axis in hand["thumb"]["joints"]])
    parts.append(tube(path, 0.08 * np.array(hand["thumb"]["width"]), HAND, sides=8))
    palm = np.column_stack([0 * t, -1.0 + 0.85 * t, 0 * t])
    parts.append(tube(palm, 0.265 * np.array(hand["palm"]), HAND, sides=14, flatten=0.35))
    tone = skin * rng.uniform(0.85, 1.1)
    for part in parts:
        part.vertices[:] = part.vertices * (mirror, 1, 1) @ spin.T + centre
    return Occluder(parts, {HAND: (*tone, 0.12, 0, 0.03)})
