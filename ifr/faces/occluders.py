"""Natural occluders: glasses, things held before the face, and cloth or hair over it."""

import functools

import numpy as np
from numpy.random import Generator

from ifr.faces.cloth import cloth, forehead_hair
from ifr.faces.geometry import Occluder, Sheet, grid_sheet, rotate, rotation, tube
from ifr.faces.head_model import load_head
from ifr.faces.identity import Identity
from ifr.faces.paint import PALETTES, TABLES, linear
from ifr.faces.shade import FABRIC, FRAME, HAND, LENS
from ifr.faces.shot import Shot


def build_occluder(identity: Identity, shot: Shot, vertices: np.ndarray) -> Occluder:
    """Return the occluder of a shot, fitted to a head (V, 3) with its expression."""
    rng, kind, skin = shot.stream(shot.occluder), shot.occluder, identity.appearance.skin
    if kind in ("hand", "resting hand"):
        return hand(rng, vertices, skin, resting=kind == "resting hand")
    if kind == "forehead hair":
        return forehead_hair(rng, identity, vertices)
    if kind == "cup":
        return cup(rng, vertices, skin)
    if kind == "microphone":
        return microphone(rng, vertices)
    return (glasses if "glasses" in kind else cloth)(rng, vertices, kind)


@functools.cache
def _ear_tops() -> np.ndarray:
    """Return the vertices on which arms rest, where the right and the left ear leave the head."""
    head = load_head()
    x, y, _ = head.mean.T
    root = head.skin & (head.local[:, 0] > 0.1) & (head.local[:, 0] < 0.35)
    return np.argmax([np.where(root & (side * x > 0), y, 0) for side in (-1, 1)], axis=1)


def _mirror(rng: Generator, half: float, high: float, square: float, wide: float) -> np.ndarray:
    """Return x and y (9, 5) of a slanting band on a lens of half width, half height, roundness."""
    start, down = rng.uniform(-0.8, 0.7 - wide), np.linspace(-0.93, 0.93, 9)[:, None]
    x = np.clip(np.linspace(start, start + wide, 5) + 0.25 * down, -0.93, 0.93)
    return np.stack([half * x, high * down * (1 - np.abs(x) ** square) ** (1 / square)])


def glasses(rng: Generator, vertices: np.ndarray, kind: str) -> Occluder:
    """Return glasses whose rims, bridge and arms are thin tubes, and what their lenses show."""
    p, dark = load_head().landmarks(vertices), kind == "sunglasses"
    half = 0.335 * abs(p[45, 0] - p[36, 0]) * rng.uniform(0.95, 1.15) * (0.97 if dark else 0.86)
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
    for side, eye, top in zip((-1, 1), (36, 42), _ear_tops(), strict=True):
        cx, cy = p[eye : eye + 6, 0].mean() * 1.08, p[eye : eye + 6, 1].mean() - 0.03
        x = cx + half * across
        rim = np.column_stack([x, cy + high * up, bend(x)])
        sheets.append(tube(rim[rims], thin, FRAME))
        if dark:
            fan = np.concatenate([[[cx, cy, bend(cx) + 0.02]], rim[:-1]]).astype(np.float32)
            k = np.arange(len(rim) - 1, dtype=np.int32)
            spokes = np.column_stack([0 * k, 1 + k, 1 + (k + 1) % len(k)])
            lenses.append(Sheet(fan, spokes, np.zeros((len(fan), 2), np.float32), LENS))
        if wide:
            x, y = _mirror(rng, half, high, square, wide)
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
    return Occluder(lenses + sheets, {FRAME: (*frame, 0.25, 1, 0), LENS: lens})


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
    return Occluder(parts, {HAND: (*tone, 0.12, 0, 0.03)})


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
    return Occluder(sheets, {LENS: (*colour, 0.15, 1, 0), HAND: (*tone, 0.12, 0, 0.03)})


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
    return Occluder(sheets, {FABRIC: wire, LENS: body})
