"""Render one shot of one identity: image, landmarks with visibility, part labels, masks."""

from dataclasses import dataclass

import cv2
import numpy as np

from ifr.faces import camera as film
from ifr.faces.geometry import rotate
from ifr.faces.hair import Outfit, detail, sample_outfit
from ifr.faces.identity import Identity
from ifr.faces.raster import rasterise
from ifr.faces.regions import region_map
from ifr.faces.scene import ALIGNED, SUPERSAMPLING, Scene, build_scene
from ifr.faces.shade import BRIM, GLOSS, MATERIALS, Lights, Look, Maps, Target, shade
from ifr.faces.shot import Light, Shot

# Faces are rendered in worker processes, one per core: OpenCV's own threads only get in the way.
cv2.setNumThreads(1)

SHADOW_SIZE = 160
SHADOW_REACH = 3.4  # decimetres that the shadow map is wide
FAR = np.float32(-1e30)
# An occluder or its shadow counts where it makes up this share of a pixel, after the lens.
PRESENT = 0.02
# Albedo, gloss, sharpness and weave of eyes, teeth and tongue.
FIXED_MATERIALS = {
    **dict.fromkeys((1, 2), (0.46, 0.42, 0.40, 0.6, 1, 0)),
    **dict.fromkeys((3, 4), (0.62, 0.56, 0.46, 0.2, 0, 0)),
    5: (0.36, 0.11, 0.10, 0.1, 0, 0),
}


@dataclass(frozen=True, eq=False)
class Render:
    """A rendered face in the aligned frame of ``size`` pixels.

    Coordinates are continuous: the centre of the upper left pixel is (0.5, 0.5).
    """

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


def _shadow_buffer(scene: Scene, to_light: np.ndarray, *, occluder: bool) -> np.ndarray:
    """Return the depth (SHADOW_SIZE, SHADOW_SIZE) of the head, or the occluder, from the light."""
    depth = np.full((SHADOW_SIZE, SHADOW_SIZE), FAR, np.float32)
    face, bary = np.empty(depth.shape, np.int32), np.empty((*depth.shape, 2), np.float32)
    seen = np.ascontiguousarray(rotate(scene.mesh.position, to_light[:, :3]) + to_light[:, 3])
    first, last = scene.first_occluder, len(scene.mesh.triangles)
    first, last = (first, last) if occluder else (0, first)
    rasterise(seen, scene.mesh.triangles[:last], first, scene.closed, depth, face, bary)
    return depth


def _lamps(light: Light, scene: Scene) -> Lights:
    """Return the lights with the shadow maps of the key light, which look along its direction."""
    key = light.directions[0]
    right = np.cross([0, 1, 0], key)
    right = right / np.linalg.norm(right)
    frame = np.zeros((3, 4), np.float32)
    # Rows run down as on the screen, so that the same side of a triangle is its front.
    frame[:2, :3] = np.stack([right, np.cross(right, key)]) * (SHADOW_SIZE / SHADOW_REACH)
    frame[:2, 3], frame[2, :3] = SHADOW_SIZE / 2, key
    depth = occluder_depth = np.full((1, 1), FAR, np.float32)
    if light.shadows:
        depth = _shadow_buffer(scene, frame, occluder=False)
        if scene.first_occluder < len(scene.mesh.triangles):
            occluder_depth = _shadow_buffer(scene, frame, occluder=True)
    return Lights(
        directions=light.directions,
        intensities=light.intensities,
        sky=light.sky,
        ground=light.ground,
        shadows=light.shadows,
        to_light=frame,
        depth=depth,
        occluder_depth=occluder_depth,
    )


def _look(identity: Identity, shot: Shot, wear: Outfit) -> Look:
    """Return the colours and scalars of a person in a shot."""
    hair, hat, cloth = wear.colours
    return Look(
        hair=hair,
        hat=hat,
        cloth=cloth,
        iris=identity.appearance.iris,
        gloss=np.float32(0.16),
        softness=np.float32(wear.softness),
        density=np.float32(wear.density),
        ragged=np.float32(wear.ragged),
        streak=np.float32(wear.streak),
        curl=np.float32(identity.habit.curl),
        offset_u=np.float32(wear.offset[0]),
        offset_v=np.float32(wear.offset[1]),
        iris_radius=np.float32(identity.appearance.iris_radius),
        gaze_x=np.float32(shot.gaze[0]),
        gaze_y=np.float32(shot.gaze[1]),
        has_hat=wear.hat,
    )


def _shade_passes(
    identity: Identity, shot: Shot, wear: Outfit, scene: Scene, size: int
) -> list[Target]:
    """Return the shaded clean pass and, with an occluder, the occluded one, supersampled."""
    n = size * SUPERSAMPLING
    maps = Maps(identity.appearance.texture, region_map(), detail(), wear.curves)
    look, lamps = _look(identity, shot, wear), _lamps(shot.light, scene)
    table = np.zeros((MATERIALS, 6), np.float32)
    for number, values in (FIXED_MATERIALS | scene.materials).items():
        table[number] = values
    table[BRIM, :GLOSS] = wear.colours[1]
    target = Target(
        face=np.full((n, n), -1, np.int32),
        nearness=np.full((n, n), FAR, np.float32),
        bary=np.zeros((n, n, 2), np.float32),
        light=np.zeros((n, n, 3), np.float32),
        label=np.zeros((n, n), np.uint8),
        shadow=np.zeros((n, n), np.float32),
        canonical=np.full((n, n, 2), np.nan, np.float32),
    )
    first, triangles = scene.first_occluder, scene.mesh.triangles
    buffers = (target.nearness, target.face, target.bary)
    rasterise(scene.screen, triangles[:first], 0, scene.closed, *buffers)
    shade(target, scene.mesh, maps, look, lamps, table, -1)
    if shot.occluder == "none":
        return [target]
    clean, target = target, Target(*(image.copy() for image in target))
    buffers = (target.nearness, target.face, target.bary)
    rasterise(scene.screen, triangles, first, 0, *buffers)
    shade(target, scene.mesh, maps, look, lamps, table, first)
    return [clean, target]


def _visibility(scene: Scene, target: Target, shot: Shot, size: int) -> np.ndarray:
    """Return which landmarks (68,) the z-buffer shows."""
    inside = ((scene.landmarks >= 0) & (scene.landmarks < size)).all(1)
    last = size * SUPERSAMPLING - 1
    column, row = np.clip((scene.landmarks * SUPERSAMPLING).astype(int), 0, last).T
    # 1 / distance changes by tolerance / distance² over 0.08 decimetres of depth.
    reached = scene.landmark_nearness > target.nearness[row, column] - 0.08 / shot.distance**2
    return inside & reached & (target.face[row, column] < scene.first_occluder)


def _shrink(image: np.ndarray, size: int) -> np.ndarray:
    """Average supersampled pixels."""
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)


def _photograph(
    identity: Identity, shot: Shot, passes: list[Target], scene: Scene, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the picture, the occluder's mask and its shadow's mask.

    The picture with an occluder is taken twice, with and without it. Outside the occluder and its
    shadow, as the lens spreads them, the clean picture stands: compression carries the occluder
    no further, so twins differ only where they are said to.
    """
    camera = shot.camera
    behind = film.background(shot, size)
    gain = film.exposure_gain(shot.light, identity, camera)
    pictures = []
    for target in passes:
        covered = _shrink((target.face >= 0).astype(np.float32), size)[..., None]
        light = _shrink(target.light, size) * gain + behind * (1 - covered)
        pictures.append(film.record(film.resolve(film.develop(light, camera), camera), shot))
    if len(passes) == 1:
        nothing = np.zeros((size, size), bool)
        return pictures[0], nothing, nothing.copy()
    worn = (passes[1].face >= scene.first_occluder).astype(np.float32)
    occluder = film.resolve(_shrink(worn, size), camera) > PRESENT
    shadow = (film.resolve(_shrink(passes[1].shadow, size), camera) > PRESENT) & ~occluder
    return np.where((occluder | shadow)[..., None], pictures[1], pictures[0]), occluder, shadow


def render(identity: Identity, shot: Shot, size: int = ALIGNED) -> Render:
    """Render a shot.

    Args:
        identity: the person; ``shot`` must have been drawn for the same seed.
        shot: pose, expression, light, camera and occluder.
        size: side of the aligned image in pixels; landmarks and blur scale with it.

    Returns:
        The image and everything known about it.

    Raises:
        ValueError: if the size is below 32, or the shot belongs to another identity.
    """
    if size < 32:
        raise ValueError(f"size must be at least 32 pixels to show a face, got {size}")
    if shot.identity_seed != identity.seed:
        raise ValueError(
            f"the shot was drawn for identity {shot.identity_seed}, not {identity.seed}; "
            "call draw_shot(identity.seed, ...)"
        )
    wear = sample_outfit(identity, shot)
    scene = build_scene(identity, shot, wear, size)
    passes = _shade_passes(identity, shot, wear, scene, size)
    image, occluder_mask, shadow_mask = _photograph(identity, shot, passes, scene, size)
    last = passes[-1]
    # One sample of each pixel, on the diagonal that is always shaded.
    nearness = last.nearness[1::2, 1::2]
    seen = nearness > 0
    depth = np.where(seen, shot.distance - 1 / np.where(seen, nearness, 1), np.nan)
    return Render(
        image=image,
        landmarks=scene.landmarks,
        visible=_visibility(scene, last, shot, size),
        yaw=shot.yaw,
        pitch=shot.pitch,
        roll=shot.roll,
        occluder=shot.occluder,
        occluder_mask=occluder_mask,
        shadow_mask=shadow_mask,
        parts=last.label[1::2, 1::2].copy(),
        depth=depth.astype(np.float32),
        canonical=last.canonical[1::2, 1::2].copy(),
    )
