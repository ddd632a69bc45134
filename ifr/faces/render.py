"""Render one shot of one identity: image, landmarks with visibility, part labels, masks."""

from dataclasses import dataclass

import cv2
import numpy as np

from ifr.common.errors import UserError
from ifr.faces import camera as film
from ifr.faces.appearance import region_map
from ifr.faces.geometry import rotate
from ifr.faces.hair import Outfit, detail, sample_outfit
from ifr.faces.identity import Identity
from ifr.faces.paint import TABLES, single_threaded
from ifr.faces.raster import rasterise, z_buffer
from ifr.faces.scene import SUPERSAMPLING, Scene, build_scene
from ifr.faces.shade import BRIM, CLEAR, GLOSS, LEFT_EYE, MATERIALS, OF_HAT, TONGUE, shade
from ifr.faces.shading_data import Lights, Look, Maps, Stage, Target
from ifr.faces.shot import Shot
from ifr.landmarks import FACE_SIZE

SHADOW_SIZE = 128
SHADOW_REACH = 3.4  # decimetres that the shadow map is wide
PRESENT = 0.02  # share of a pixel, after the lens, from which an occluder or its shadow counts
Passes = list[tuple[np.ndarray, np.ndarray]]  # light and cover of each, (size, size, 3) and (.., 1)


@dataclass(frozen=True, eq=False)
class Render:
    """A rendered face, aligned; the centre of the upper left pixel is (0.5, 0.5)."""

    image: np.ndarray  # (size, size, 3) uint8 RGB
    landmarks: np.ndarray  # (68, 2) float32, x then y, also where hidden
    visible: np.ndarray  # (68,) bool: inside, and hidden neither by the head nor by an occluder
    yaw: float  # degrees, as are pitch and roll
    pitch: float
    roll: float
    occluder: str
    occluder_mask: np.ndarray  # (size, size) bool, where the occluder colours the picture
    shadow_mask: np.ndarray  # (size, size) bool, where only its shadow does
    parts: np.ndarray  # (size, size) uint8, index into PARTS
    depth: np.ndarray  # (size, size) float32, decimetres in front of the head's centre; NaN outside
    canonical: np.ndarray | None  # (size, size, 2) float32 u, v in 0..1 on bare skin, else NaN


def _shadow_maps(lights: Lights, scene: Scene) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return how the key light looks at the scene, and depths of head and occluder seen by it."""
    key, to_light = lights.directions[0], np.zeros((3, 4), np.float32)
    right = np.cross([0, 1, 0], key)
    right = right / np.linalg.norm(right)
    # Rows run down as on the screen, so that the same side of a triangle is its front.
    to_light[:2, :3] = np.stack([right, np.cross(right, key)]) * (SHADOW_SIZE / SHADOW_REACH)
    to_light[:2, 3], to_light[2, :3] = SHADOW_SIZE / 2, key
    head, occluder = z_buffer(SHADOW_SIZE), z_buffer(SHADOW_SIZE)
    if lights.shadows:
        seen = np.ascontiguousarray(rotate(scene.mesh.position, to_light[:, :3]) + to_light[:, 3])
        triangles, first = scene.mesh.triangles, scene.first_occluder
        rasterise(seen, triangles[:first], head, 0, scene.closed)
        rasterise(seen, triangles[: scene.first_thin], occluder, first, 0)
    return to_light, head.depth, occluder.depth


def _stage(identity: Identity, shot: Shot, outfit: Outfit, scene: Scene) -> Stage:
    """Return all that the kernel shades a shot by."""
    face, key = identity.appearance, shot.lights.directions[0]
    maps = Maps(face.texture, region_map(), detail(), outfit.curves)
    # An eye mirrors the light where its normal halves the angle; lids hide the rest.
    half = key[:2] / np.linalg.norm(key + np.array([0, 0, 1], np.float32))
    catch = np.append(np.clip(half, [-0.24, -0.1], [0.24, 0.1]), 0.13).astype(np.float32)
    eyes = (face.iris, face.iris_radius, scene.eyes, catch)
    look = Look(outfit.colours, outfit.strands, outfit.hat, *eyes)
    table = np.zeros((MATERIALS, CLEAR + 1), np.float32)
    table[LEFT_EYE : TONGUE + 1, :CLEAR] = list(TABLES["materials"].values())
    for number, values in scene.materials.items():
        table[number, : len(values)] = values
    table[BRIM, :GLOSS] = outfit.colours[OF_HAT]
    return Stage(scene.mesh, maps, look, shot.lights, *_shadow_maps(shot.lights, scene), table)


def _shade_passes(scene: Scene, stage: Stage, size: int, mapped: bool) -> tuple[Target, Passes]:
    """Return what was shaded last, supersampled, and light and cover of each pass, clean first."""
    n, passes, side = size * SUPERSAMPLING, [], size * SUPERSAMPLING * mapped
    light, label = np.zeros((n, n, 3), np.float32), np.zeros((n, n), np.uint8)
    shadow, canonical = np.zeros((n, n), np.float32), np.full((side, side, 2), np.nan, np.float32)
    target = Target(z_buffer(n), light, label, shadow, canonical)
    first, triangles = scene.first_occluder, scene.mesh.triangles
    # With an occluder, a second pass draws it into the same images.
    for start, end, shown in ((0, first, -1), (first, len(triangles), first)):
        if start < end:
            rasterise(scene.screen, triangles[:end], target.buffer, start, scene.closed)
            shade(target, stage, shown)
            covered = _shrink((target.buffer.face >= 0).astype(np.float32), size)
            passes.append((_shrink(light, size), covered[..., None]))
    return target, passes


def _visibility(scene: Scene, target: Target, shot: Shot, size: int) -> np.ndarray:
    """Return which landmarks (68,) the z-buffer shows."""
    inside = ((scene.landmarks >= 0) & (scene.landmarks < size)).all(1)
    last = size * SUPERSAMPLING - 1
    column, row = np.clip((scene.landmarks * SUPERSAMPLING).astype(int), 0, last).T
    # 1 / distance changes by tolerance / distance² over 0.08 decimetres of depth.
    reached = scene.landmark_nearness > target.buffer.depth[row, column] - 0.08 / shot.distance**2
    return inside & reached & (target.buffer.face[row, column] < scene.first_occluder)


def _shrink(image: np.ndarray, size: int) -> np.ndarray:
    """Average supersampled pixels."""
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)


def _photograph(
    identity: Identity, shot: Shot, scene: Scene, target: Target, passes: Passes
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the picture, the occluder's mask and its shadow's mask."""
    camera, size = shot.camera, len(passes[0][0])
    behind, grain, pictures = film.background(shot, size), film.grain(shot, size), []
    gain = film.exposure_gain(shot.lights, identity, camera)
    for light, covered in passes:
        image = film.develop(light * gain + behind * (1 - covered), camera)
        pictures.append(film.record(film.resolve(image, camera), grain, camera))
    if len(passes) == 1:
        return pictures[0], *np.zeros((2, size, size), bool)
    hidden = (target.buffer.face >= scene.first_occluder).astype(np.float32)
    occluder = film.resolve(_shrink(hidden, size), camera) > PRESENT
    shadow = (film.resolve(_shrink(target.shadow, size), camera) > PRESENT) & ~occluder
    # Elsewhere the clean picture stands: compression carries the occluder no further.
    return np.where((occluder | shadow)[..., None], pictures[1], pictures[0]), occluder, shadow


@single_threaded()
def render(
    identity: Identity, shot: Shot, size: int = FACE_SIZE, *, canonical: bool = False
) -> Render:
    """Render a shot drawn for the identity; landmarks and blur scale with ``size``, in pixels.

    ``canonical`` asks for the coordinates of the bare skin in the canonical map as well.
    """
    if size < 32:
        raise UserError(f"size must be at least 32 pixels to show a face, got {size}")
    if (drawn := shot.identity_seed) != (seed := identity.seed):
        raise UserError(f"the shot is of identity {drawn}, not {seed}: use draw_shot({seed}, ...)")
    outfit = sample_outfit(identity, shot)
    scene = build_scene(identity, shot, outfit, size)
    last, passes = _shade_passes(scene, _stage(identity, shot, outfit, scene), size, canonical)
    image, occluder_mask, shadow_mask = _photograph(identity, shot, scene, last, passes)
    # One sample of each pixel, on the diagonal that is always shaded.
    nearness = last.buffer.depth[1::2, 1::2]
    seen = nearness > 0
    depth = np.where(seen, shot.distance - 1 / np.where(seen, nearness, 1), np.nan)
    points = scene.landmarks, _visibility(scene, last, shot, size)
    surface = last.canonical[1::2, 1::2].copy() if canonical else None
    maps = occluder_mask, shadow_mask, last.label[1::2, 1::2].copy(), depth.astype(np.float32)
    angles = shot.yaw, shot.pitch, shot.roll
    return Render(image, *points, *angles, shot.occluder, *maps, canonical=surface)
