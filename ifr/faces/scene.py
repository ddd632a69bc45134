"""The meshes of one shot: a head with its expression, hair, hat and occluder before a camera."""

from dataclasses import dataclass

import numpy as np

from ifr.faces.geometry import Sheet, rotate, rotation
from ifr.faces.hair import Outfit, hanging_hair, hat_brim
from ifr.faces.head_model import load_head
from ifr.faces.identity import Identity
from ifr.faces.occluders import build_occluder
from ifr.faces.raster import vertex_normals
from ifr.faces.shade import FRAME, UPPER_TEETH
from ifr.faces.shading_data import Mesh
from ifr.faces.shot import Shot
from ifr.landmarks import ARCFACE_TEMPLATE, FACE_SIZE, five_points, similarity

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


def _perspective(points: np.ndarray, distance: float) -> np.ndarray:
    """Return x, y (down) and nearness of points (N, 3) seen from a distance."""
    near = 1 / (distance - points[:, 2])
    return np.stack([points[:, 0] * near, -points[:, 1] * near, near], 1)


def _project(
    points: np.ndarray, landmarks: np.ndarray, frame: np.ndarray, shot: Shot, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return aligned pixels and nearness, (V, 3), of points and of the landmarks (68, 3)."""
    flat, marks, placed = (_perspective(x, shot.distance) for x in (points, landmarks, frame))
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
    first_thin, materials = first_occluder, {}
    if shot.occluder != "none":
        occluder = build_occluder(identity, shot, bare)
        thick, thin = ([s for s in occluder.sheets if (s.material == FRAME) == k] for k in (0, 1))
        sheets, materials = [*sheets, *thick, *thin], occluder.materials
        first_thin += sum(len(sheet.triangles) for sheet in thick)
    turn = rotation(shot.yaw, shot.pitch, shot.roll)
    mesh = _join(lifted, outfit, sheets, turn)
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
