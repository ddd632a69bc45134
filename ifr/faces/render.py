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
from ifr.faces.paint import single_threaded
from ifr.faces.raster import ZBuffer, rasterise, z_buffer
from ifr.faces.scene import SUPERSAMPLING, Scene, build_scene
from ifr.faces.shade import BRIM, GLOSS, LEFT_EYE, MATERIALS, OF_HAT, TONGUE, shade
from ifr.faces.shading_data import Lights, Look, Maps, ShadowMaps, Stage, Target
from ifr.faces.shot import Shot
from ifr.faces.tables import TABLES
from ifr.landmarks import FACE_SIZE

SHADOW_SIZE = 160
SHADOW_REACH = 3.4  # decimetres that the shadow map is wide
# An occluder or its shadow counts where it makes up this share of a pixel, after the lens.
PRESENT = 0.02


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
    canonical: np.ndarray  # (size, size, 2) float32 u, v in 0..1 on the skin; NaN elsewhere


def _shadow_maps(lights: Lights, scene: Scene) -> ShadowMaps:
    """Return the depths that the key light sees along its direction."""
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
        rasterise(seen, triangles, occluder, first, 0)
    return ShadowMaps(to_light, head.depth, occluder.depth)


def _stage(identity: Identity, shot: Shot, outfit: Outfit, scene: Scene) -> Stage:
    """Return all that the kernel shades a shot by."""
    face = identity.appearance
    maps = Maps(face.texture, region_map(), detail(), outfit.curves)
    eyes = (face.iris, face.iris_radius, shot.gaze)
    look = Look(outfit.colours, outfit.strands, outfit.hat, *eyes)
    table = np.zeros((MATERIALS, 6), np.float32)
    table[LEFT_EYE : TONGUE + 1] = list(TABLES["materials"].values())
    for number, values in scene.materials.items():
        table[number] = values
    table[BRIM, :GLOSS] = outfit.colours[OF_HAT]
    return Stage(scene.mesh, maps, look, shot.lights, _shadow_maps(shot.lights, scene), table)


def _shade_passes(scene: Scene, stage: Stage, size: int) -> list[Target]:
    """Return the shaded clean pass and, with an occluder, the occluded one, supersampled."""
    n = size * SUPERSAMPLING
    light, label = np.zeros((n, n, 3), np.float32), np.zeros((n, n), np.uint8)
    shadow, canonical = np.zeros((n, n), np.float32), np.full((n, n, 2), np.nan, np.float32)
    clean = Target(z_buffer(n), light, label, shadow, canonical)
    first, triangles = scene.first_occluder, scene.mesh.triangles
    rasterise(scene.screen, triangles[:first], clean.buffer, 0, scene.closed)
    shade(clean, stage, -1)
    if first == len(triangles):
        return [clean]
    buffer = ZBuffer(*(image.copy() for image in clean.buffer))
    occluded = Target(buffer, *(image.copy() for image in clean[1:]))
    rasterise(scene.screen, triangles, buffer, first, 0)
    shade(occluded, stage, first)
    return [clean, occluded]


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
    identity: Identity, shot: Shot, passes: list[Target], scene: Scene, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the picture, the occluder's mask and its shadow's mask.

    With an occluder the picture is taken with and without it. Outside it and its shadow, as the
    lens spreads them, the clean picture stands: compression carries the occluder no further.
    """
    camera, behind, pictures = shot.camera, film.background(shot, size), []
    gain = film.exposure_gain(shot.lights, identity, camera)
    for target in passes:
        covered = _shrink((target.buffer.face >= 0).astype(np.float32), size)[..., None]
        light = _shrink(target.light, size) * gain + behind * (1 - covered)
        pictures.append(film.record(film.resolve(film.develop(light, camera), camera), shot))
    if len(passes) == 1:
        return pictures[0], *np.zeros((2, size, size), bool)
    covered = (passes[1].buffer.face >= scene.first_occluder).astype(np.float32)
    occluder = film.resolve(_shrink(covered, size), camera) > PRESENT
    shadow = (film.resolve(_shrink(passes[1].shadow, size), camera) > PRESENT) & ~occluder
    return np.where((occluder | shadow)[..., None], pictures[1], pictures[0]), occluder, shadow


@single_threaded()
def render(identity: Identity, shot: Shot, size: int = FACE_SIZE) -> Render:
    """Render a shot drawn for the identity; landmarks and blur scale with ``size``, in pixels."""
    if size < 32:
        raise UserError(f"size must be at least 32 pixels to show a face, got {size}")
    if (drawn := shot.identity_seed) != (seed := identity.seed):
        message = f"the shot was drawn for identity {drawn}, not {seed}"
        raise UserError(f"{message}; call draw_shot(identity.seed, ...)")
    outfit = sample_outfit(identity, shot)
    scene = build_scene(identity, shot, outfit, size)
    passes = _shade_passes(scene, _stage(identity, shot, outfit, scene), size)
    image, occluder_mask, shadow_mask = _photograph(identity, shot, passes, scene, size)
    last = passes[-1]
    # One sample of each pixel, on the diagonal that is always shaded.
    nearness = last.buffer.depth[1::2, 1::2]
    seen = nearness > 0
    depth = np.where(seen, shot.distance - 1 / np.where(seen, nearness, 1), np.nan)
    points = scene.landmarks, _visibility(scene, last, shot, size)
    parts, canonical = last.label[1::2, 1::2].copy(), last.canonical[1::2, 1::2].copy()
    maps = occluder_mask, shadow_mask, parts, depth.astype(np.float32), canonical
    return Render(image, *points, shot.yaw, shot.pitch, shot.roll, shot.occluder, *maps)
