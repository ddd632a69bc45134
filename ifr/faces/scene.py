"""The meshes of one shot: a head with its expression, hair, hat and occluder before a camera."""

import functools
from dataclasses import dataclass

import cv2
import numpy as np

from ifr.common.seeding import stream
from ifr.faces.appearance import PALETTES, noise, strokes
from ifr.faces.geometry import AXIS, HALF_ANGLE, TEXELS, Sheet, grid_sheet, rotate, rotation
from ifr.faces.head_model import load_head
from ifr.faces.identity import COMBED, STYLES, Identity
from ifr.faces.occluders import build_occluder
from ifr.faces.raster import vertex_normals
from ifr.faces.shade import BRIM, CURLS, FRAME, LUMPS, OF_HAIR, OF_HAT, STRANDS, UPPER_TEETH
from ifr.faces.shading_data import Mesh, Strands
from ifr.faces.shot import Shot
from ifr.landmarks import ARCFACE_TEMPLATE, FACE_SIZE, five_points, similarity

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


SUPERSAMPLING = 2
CENTRE = np.array([0, 7.0, 0.5], np.float32)  # about which the head turns, in its own axes
LIDS = ([1, 2], [4, 5])  # points of an eye on its upper and its lower lid


@dataclass(frozen=True, eq=False)
class Scene:
    """All meshes of a shot, ready to be drawn: the head, then hair and hat, then the occluder."""

    mesh: Mesh
    screen: np.ndarray  # (V, 3) float32: x, y in supersampled pixels, 1 / distance
    closed: int  # triangles of the closed surfaces, skin and eyes, which come first
    first_occluder: int  # number of the occluder's first triangle
    first_thin: int  # of its parts too thin to cast a shadow, which come last
    materials: dict[int, tuple[float, ...]]  # of the occluder
    eyes: np.ndarray  # (2, 8) float32, pupils and lids
    landmarks: np.ndarray  # (68, 2) float32 aligned pixels
    landmark_nearness: np.ndarray  # (68,) 1 / distance


def _pose_head(identity: Identity, shot: Shot, outfit: Outfit) -> tuple[np.ndarray, np.ndarray]:
    """Return the head with its expression, bare and with hair and hat lifted off the scalp."""
    head = load_head()
    bare = identity.vertices.copy()
    for unit, strength in shot.units:
        moved, offsets = head.units[unit]
        bare[moved] += offsets * np.float32(strength)
    lifted = bare + vertex_normals(bare, head.triangles) * outfit.lift[:, None]
    if outfit.framed or outfit.hat:
        # Ears lie flat under hair that frames the face, and under hats.
        outward = np.where(head.skin, 0.2 * head.local[:, 0], 0) * np.sign(bare[:, 0])
        lifted[:, 0] -= outward.astype(np.float32)
    return bare, lifted


def _eyes(bare: np.ndarray, shot: Shot) -> np.ndarray:
    """Return where both pupils and the lids are on the eyeballs, (2, 8) for the shading kernel."""
    head, marks, out = load_head(), load_head().landmarks(bare), np.zeros((2, 8), np.float32)
    for eye, (ball, first) in enumerate(zip(head.eyeballs, (42, 36), strict=True)):
        low, high = bare[ball].min(0), bare[ball].max(0)
        centre, radius = (low + high) / 2, (high[1] - low[1]) / 2
        p = (marks[first : first + 6] - centre)[:, :2] / radius
        middle, half = p[[0, 3]].mean(0), (p[3, 0] - p[0, 0]) / 2
        slope = (p[3, 1] - p[0, 1]) / (2 * half)
        # A parabola from corner to corner is at 8 / 9 of its height where the lids' points lie.
        bulge = [(p[k, 1] - middle[1] - slope * (p[k, 0] - middle[0])).mean() for k in LIDS]
        out[eye, :2] = shot.gaze[0] - centre[0] / shot.distance, shot.gaze[1]
        out[eye, 2:] = middle[0], 1 / half, middle[1], slope, bulge[0] * 9 / 8, -bulge[1] * 9 / 8
    return out


def _project(
    points: np.ndarray, landmarks: np.ndarray, frame: np.ndarray, shot: Shot, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return aligned pixels and nearness, (V, 3), of points and of the landmarks (68, 3)."""
    seen = []  # x, y down, and nearness
    for x, y, z in (values.T for values in (points, landmarks, frame)):
        near = 1 / (shot.distance - z)
        seen.append(np.stack([x * near, -y * near, near], 1))
    flat, marks, placed = seen
    # The five points of ``frame`` are fitted to the template, a little off as a detector's.
    target = ARCFACE_TEMPLATE + shot.jitter[:10].reshape(5, 2)
    matrix = similarity(five_points(placed[:, :2]), target) * (size / FACE_SIZE)
    # A detector's box varies in scale as well, about the middle of the picture.
    zoom, middle = 1 + shot.jitter[10], np.full(2, size / 2)
    linear, offset = matrix[:, :2] * zoom, (matrix[:, 2] - middle) * zoom + middle
    for image in (flat, marks):
        x, y = image[:, 0].copy(), image[:, 1].copy()
        for k in range(2):
            image[:, k] = linear[k, 0] * x + linear[k, 1] * y + offset[k]
    return flat, marks


def _join(lifted: np.ndarray, outfit: Outfit, sheets: list[Sheet], turn: np.ndarray) -> Mesh:
    """Return head and sheets as one mesh in camera axes."""
    head, count = load_head(), len(lifted)
    vertices = np.concatenate([lifted] + [sheet.vertices for sheet in sheets]) - CENTRE
    vertices = np.ascontiguousarray(rotate(vertices, turn), np.float32)
    starts = np.cumsum([count] + [len(sheet.vertices) for sheet in sheets])
    shifted = [sheet.triangles + start for sheet, start in zip(sheets, starts, strict=False)]
    triangles = np.concatenate([head.triangles, *shifted]).astype(np.int32)
    materials = [np.full(len(sheet.triangles), sheet.material) for sheet in sheets]
    material = np.concatenate([head.part, *materials]).astype(np.int32)
    uv, added = np.concatenate([head.uv] + [sheet.uv for sheet in sheets]), len(vertices) - count
    local = np.concatenate([head.local, np.zeros((added, 2), np.float32)])
    # Hair fills the hollows that the bare scalp's occlusion was baked for.
    filled = np.where(outfit.lift > 0.02, np.maximum(head.occlusion, 0.75), head.occlusion)
    occlusion = np.concatenate([filled, np.ones(added, np.float32)])[:, None]
    normals = vertex_normals(vertices, triangles)
    return Mesh(triangles, material, vertices, normals, uv, local, occlusion)


def build_scene(identity: Identity, shot: Shot, outfit: Outfit, size: int) -> Scene:
    """Return the scene of a shot in the aligned frame of ``size`` pixels."""
    head = load_head()
    bare, lifted = _pose_head(identity, shot, outfit)
    sheets = [hanging_hair(identity, shot, lifted)] if outfit.long else []
    if outfit.hat and outfit.brim:
        sheets.append(hat_brim(outfit, lifted))
    first_occluder = len(head.triangles) + sum(len(sheet.triangles) for sheet in sheets)
    worn, materials = build_occluder(identity, shot, bare)
    thick, thin = ([s for s in worn if (s.material == FRAME) == k] for k in (0, 1))
    first_thin = first_occluder + sum(len(sheet.triangles) for sheet in thick)
    turn = rotation(shot.yaw, shot.pitch, shot.roll)
    mesh = _join(lifted, outfit, [*sheets, *thick, *thin], turn)
    frame = marks = rotate(head.landmarks(bare) - CENTRE, turn)
    if identity.frame is not identity.vertices:  # a part was exchanged: placed as without
        shifted = bare + (identity.frame - identity.vertices)
        frame = rotate(head.landmarks(shifted) - CENTRE, turn)
    screen, marks = _project(mesh.position, marks, frame, shot, size)
    screen[:, :2] *= SUPERSAMPLING
    screen = np.ascontiguousarray(screen, np.float32)
    closed = int(np.searchsorted(head.part, UPPER_TEETH))
    numbers = closed, first_occluder, first_thin, materials, _eyes(bare, shot)
    return Scene(mesh, screen, *numbers, marks[:, :2].astype(np.float32), marks[:, 2])
