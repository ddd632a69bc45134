"""Render one shot of one identity: image, landmarks with visibility, part labels, masks."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ifr.common.errors import UserError
from ifr.faces.appearance import PALETTES, TABLES, linear, single_threaded
from ifr.faces.geometry import rotate
from ifr.faces.head_model import load_head
from ifr.faces.identity import Identity
from ifr.faces.raster import rasterise, z_buffer
from ifr.faces.scene import SUPERSAMPLING, Outfit, Scene, build_scene, detail, sample_outfit
from ifr.faces.shade import BRIM, CLEAR, GLOSS, LEFT_EYE, MATERIALS, OF_HAT, TONGUE, shade
from ifr.faces.shading_data import Lights, Look, Maps, Stage, Target
from ifr.faces.shot import Camera, Shot
from ifr.landmarks import FACE_SIZE


def _clouds(rng: np.random.Generator, size: int, cells: int) -> np.ndarray:
    """Return smooth 1/f noise (size, size, 1)."""
    total = np.zeros((size, size), np.float32)
    for octave in range(3):
        values = rng.standard_normal((cells * 2**octave,) * 2, dtype=np.float32)
        total += cv2.resize(values, (size, size), interpolation=cv2.INTER_CUBIC) / 2**octave
    return total[..., None]


def _room(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return a wall with a slope of light and a few blurred upright things before it."""
    walls = PALETTES["wall"]
    wall = walls[rng.integers(len(walls))] * np.exp(rng.normal(0, 0.25))
    slope = np.linspace(rng.uniform(0.5, 1.3), rng.uniform(0.5, 1.3), size, dtype=np.float32)
    image = (wall * slope[None, :, None] * (1 + 0.06 * _clouds(rng, size, 2))).astype(np.float32)
    for _ in range(rng.integers(0, 5)):
        x, width = rng.uniform(-0.2, 1) * size, rng.uniform(0.08, 0.5) * size
        y, height = rng.uniform(-0.3, 0.8) * size, rng.uniform(0.2, 1.2) * size
        colour = walls[rng.integers(len(walls))] * np.exp(rng.normal(0, 0.4))
        corners = (int(x), int(y)), (int(x + width), int(y + height))
        cv2.rectangle(image, *corners, colour.tolist(), -1)
    return image


def _outdoors(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return a sky over foliage, both out of focus."""
    skies, greens = PALETTES["sky"], PALETTES["green"]
    sky = skies[rng.integers(len(skies))] * rng.uniform(0.6, 1.2)
    green = greens[rng.integers(len(greens))] * np.exp(rng.normal(0, 0.3))
    horizon = rng.uniform(-0.2, 0.9) + 0.10 * _clouds(rng, size, 3)
    level = np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
    ground = 1 / (1 + np.exp(-(level - horizon) * 14))
    leaves = green * np.exp(0.45 * _clouds(rng, size, 6))
    return (sky * (1 - ground) + leaves * ground).astype(np.float32)


def background(shot: Shot, size: int) -> np.ndarray:
    """Return the background (size, size, 3) of a shot as linear light at display exposure."""
    if shot.plain:
        return np.full((size, size, 3), linear(0.5), np.float32)
    rng = shot.stream("background")
    image = (_room if rng.random() < 0.6 else _outdoors)(rng, size)
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(1.0, 5.0) * size / FACE_SIZE)
    return np.clip(image * np.float32(rng.uniform(0.5, 1.1)), 0, 1)


def exposure_gain(lights: Lights, identity: Identity, camera: Camera) -> np.ndarray:
    """Return the gain (3,) of an automatic exposure, from lights and albedo, not from occluders."""
    # It is metered on the directions in which the visible face looks.
    cosines = np.array(TABLES["meter"]) @ lights.directions.T.astype(np.float64)
    cosine = np.clip(cosines, 0, 1).mean(0)
    received = lights.ambient.sum(0).mean() * 0.45 + (cosine * lights.intensities.mean(1)).sum()
    # Dark skin stays darker than light skin: the gain makes up for part of the albedo only.
    gain = (1 / received) ** 0.85 * (0.33 / identity.appearance.skin.mean()) ** 0.38 * 0.95
    return (gain * np.exp(camera.exposure) * np.asarray(camera.tint)).astype(np.float32)


def develop(image: np.ndarray, camera: Camera) -> np.ndarray:
    """Return display values 0..1 of linear light: highlights roll off instead of clipping."""
    knee = np.float32(0.6)
    over = np.maximum(image - knee, 0)
    image = np.minimum(image, knee) + (1 - knee) * (1 - np.exp(-over / (1 - knee)))
    return cv2.pow(image, 1 / camera.gamma)


def resolve(image: np.ndarray, camera: Camera) -> np.ndarray:
    """Blur and resample an image (N, N[, 3]) as the camera does."""
    size = image.shape[0]
    if camera.blur:
        image = cv2.GaussianBlur(image, (0, 0), camera.blur * size / FACE_SIZE)
    if camera.low_size:
        low = round(camera.low_size * size / FACE_SIZE)
        image = cv2.resize(image, (low, low), interpolation=cv2.INTER_AREA)
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)
    return image


def record(image: np.ndarray, noise: np.ndarray, camera: Camera) -> np.ndarray:
    """Return the uint8 picture: noise, quantisation, compression."""
    picture = (np.clip(image + noise, 0, 1) * 255 + np.float32(0.5)).astype(np.uint8)
    if camera.jpeg:
        quality = [cv2.IMWRITE_JPEG_QUALITY, camera.jpeg]
        _, encoded = cv2.imencode(".jpg", picture[..., ::-1], quality)  # as blue, green, red
        picture = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))[..., ::-1].copy()
    return picture


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
    maps = Maps(face.texture, load_head().region, detail(), outfit.curves)
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
    behind, gain, pictures = (
        background(shot, size),
        exposure_gain(shot.lights, identity, camera),
        [],
    )
    noise = shot.stream("noise").standard_normal((size, size, 3), dtype=np.float32)
    for light, covered in passes:
        image = resolve(develop(light * gain + behind * (1 - covered), camera), camera)
        pictures.append(record(image, noise * np.float32(camera.noise), camera))
    if len(passes) == 1:
        return pictures[0], *np.zeros((2, size, size), bool)
    hidden = (target.buffer.face >= scene.first_occluder).astype(np.float32)
    occluder = resolve(_shrink(hidden, size), camera) > PRESENT
    shadow = (resolve(_shrink(target.shadow, size), camera) > PRESENT) & ~occluder
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


def contact_sheet(images: Sequence[np.ndarray], columns: int, *, gap: int = 2) -> np.ndarray:
    """Lay uint8 images (H, W, 3) of one size out in rows, ``gap`` white pixels between them."""
    from skimage.util import montage  # workers start without it

    shapes = sorted({np.shape(image) for image in images})
    if len(shapes) != 1 or columns < 1:
        raise UserError(f"need images of one shape and columns >= 1, got {shapes}, {columns}")
    grid = (-(-len(images) // columns), columns)
    sheet = montage(images, [255] * 3, False, grid, padding_width=gap, channel_axis=-1)
    return sheet[gap : len(sheet) - gap, gap : sheet.shape[1] - gap]
