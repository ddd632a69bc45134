"""Render one shot of one identity: image, landmarks with visibility, part labels, masks."""

from dataclasses import dataclass

import cv2
import numpy as np

from ifr.faces import camera as film
from ifr.faces.geometry import rotate, rotation
from ifr.faces.hair import Sheet, Wear, detail, dress, hanging_hair, hat_brim
from ifr.faces.head import LEFT_EYE, load_head
from ifr.faces.identity import Identity
from ifr.faces.occluders import build_occluder
from ifr.faces.raster import rasterise, vertex_normals
from ifr.faces.regions import region_map
from ifr.faces.shade import BRIM, GLOSS, MATERIALS, SCALARS, shade
from ifr.faces.shot import Shot
from ifr.landmarks import ARCFACE_TEMPLATE, five_points, similarity

# Faces are rendered in worker processes, one per core: OpenCV's own threads only get in the way.
cv2.setNumThreads(1)

ALIGNED = 112
SUPERSAMPLING = 2
SHADOW_SIZE = 160
CENTRE = np.array([0, 7.0, 0.5], np.float32)
FAR = np.float32(-1e30)
# Albedo, gloss, sharpness and pattern of what is neither skin nor occluder.
FIXED_MATERIALS = {
    **dict.fromkeys((1, 2), (0.52, 0.47, 0.44, 0.7, 1, 0)),
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


@dataclass(frozen=True, eq=False)
class Scene:
    """All meshes of a shot in camera axes, ready to be drawn."""

    vertices: np.ndarray  # (V, 3)
    triangles: np.ndarray  # (T, 3): the head, hair and hat, then the occluder
    material: np.ndarray  # (T,)
    uv: np.ndarray  # (V, 2)
    normals: np.ndarray  # (V, 3)
    screen: np.ndarray  # (V, 3) x, y in supersampled pixels, depth
    first_occluder: int
    landmarks: np.ndarray  # (68, 2) pixels
    landmark_depth: np.ndarray  # (68,)


@dataclass(frozen=True, eq=False)
class Buffers:
    """What the rasteriser leaves behind for each pixel."""

    depth: np.ndarray
    face: np.ndarray
    bary: np.ndarray

    @classmethod
    def empty(cls, size: int) -> "Buffers":
        """Return cleared buffers of (size, size) pixels."""
        return cls(
            np.full((size, size), FAR, np.float32),
            np.full((size, size), -1, np.int32),
            np.zeros((size, size, 2), np.float32),
        )


def _pose_head(identity: Identity, shot: Shot, wear: Wear) -> tuple[np.ndarray, np.ndarray]:
    """Return the head with its expression, bare and with hair and hat lifted off the scalp."""
    head = load_head()
    bare = identity.vertices.copy()
    for unit, strength in shot.units:
        moved, offsets = head.units[unit]
        bare[moved] += offsets * np.float32(strength)
    normals = np.empty_like(bare)
    vertex_normals(bare, head.triangles, normals)
    lifted = bare + normals * wear.lift[:, None]
    if wear.long or wear.hat:
        # Ears lie flat under long hair and hats.
        outward = np.where(head.skin, 0.16 * head.local[:, 0], 0) * np.sign(bare[:, 0])
        lifted[:, 0] -= outward.astype(np.float32)
    return bare, lifted


def _project(
    points: np.ndarray, landmarks: np.ndarray, shot: Shot, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return aligned pixels (V, 3) with depth, and those of the landmarks (68, 3).

    The five ArcFace points of the projected landmarks, each a little off as a detector's would
    be, are brought onto the template by a similarity.
    """

    def perspective(p: np.ndarray) -> np.ndarray:
        near = 1 / (shot.distance - p[:, 2])
        return np.stack([p[:, 0] * near, -p[:, 1] * near, near], 1)

    flat, marks = perspective(points), perspective(landmarks)
    target = ARCFACE_TEMPLATE + shot.jitter[:10].reshape(5, 2)
    matrix = similarity(five_points(marks[:, :2]), target) * (size / ALIGNED)
    middle = np.full(2, size / 2)
    # A detector's box varies in scale as well, about the middle of the picture.
    zoom = 1 + shot.jitter[10]
    linear = matrix[:, :2] * zoom
    offset = (matrix[:, 2] - middle) * zoom + middle
    for image in (flat, marks):
        x, y = image[:, 0].copy(), image[:, 1].copy()
        image[:, 0] = linear[0, 0] * x + linear[0, 1] * y + offset[0]
        image[:, 1] = linear[1, 0] * x + linear[1, 1] * y + offset[1]
    return flat, marks


def _assemble(
    identity: Identity, shot: Shot, wear: Wear, size: int
) -> tuple[Scene, dict[int, tuple[float, ...]]]:
    """Return the scene of a shot and the materials of its occluder."""
    head = load_head()
    bare, lifted = _pose_head(identity, shot, wear)
    sheets: list[Sheet] = []
    if wear.long:
        sheets.append(hanging_hair(identity, shot, lifted))
    if wear.hat and wear.brim:
        sheets.append(hat_brim(lifted, wear.curves[1]))
    worn = len(sheets)
    materials: dict[int, tuple[float, ...]] = {}
    if shot.occluder != "none":
        occluder = build_occluder(identity, shot, bare)
        sheets, materials = sheets + occluder.sheets, occluder.materials
    starts = np.cumsum([len(lifted)] + [len(sheet.vertices) for sheet in sheets])
    triangles = [head.triangles]
    triangles += [s.triangles + start for s, start in zip(sheets, starts, strict=False)]
    material = [head.part.astype(np.int32)]
    material += [np.full(len(sheet.triangles), sheet.material, np.int32) for sheet in sheets]
    turn = rotation(shot.yaw, shot.pitch, shot.roll)
    vertices = np.concatenate([lifted] + [sheet.vertices for sheet in sheets])
    vertices = np.ascontiguousarray(rotate(vertices - CENTRE, turn), np.float32)
    marks = rotate(head.landmarks(bare) - CENTRE, turn)
    screen, marks = _project(vertices, marks, shot, size)
    screen[:, :2] *= SUPERSAMPLING
    scene_triangles = np.ascontiguousarray(np.concatenate(triangles), np.int32)
    normals = np.empty_like(vertices)
    vertex_normals(vertices, scene_triangles, normals)
    scene = Scene(
        vertices=vertices,
        triangles=scene_triangles,
        material=np.concatenate(material),
        uv=np.concatenate([head.uv] + [sheet.uv for sheet in sheets]),
        normals=normals,
        screen=np.ascontiguousarray(screen, np.float32),
        first_occluder=sum(len(t) for t in triangles[: worn + 1]),
        landmarks=marks[:, :2].astype(np.float32),
        landmark_depth=marks[:, 2],
    )
    return scene, materials


def _light_frame(direction: np.ndarray) -> np.ndarray:
    """Return the (3, 4) map from camera axes to the pixels and depth of the shadow map."""
    right = np.cross([0, 1, 0], direction)
    right = right / np.linalg.norm(right)
    scale = SHADOW_SIZE / 3.4
    frame = np.zeros((3, 4), np.float32)
    down = np.cross(right, direction)
    frame[0, :3], frame[1, :3], frame[2, :3] = right * scale, down * scale, direction
    frame[:2, 3] = SHADOW_SIZE / 2
    return frame


def _draw(scene: Scene, points: np.ndarray, buffers: Buffers, *, occluder: bool, cull: int) -> None:
    """Rasterise the head with hair and hat, or the occluder, into buffers."""
    first = scene.first_occluder if occluder else 0
    last = len(scene.triangles) if occluder else scene.first_occluder
    rasterise(points, scene.triangles[:last], first, cull, buffers.depth, buffers.face, buffers.bary)


def _shading_inputs(identity: Identity, shot: Shot, wear: Wear, scene: Scene, materials: dict) -> tuple:
    """Return the arguments of the kernel that do not change between its two passes."""
    head, look, light = load_head(), identity.appearance, shot.light
    count = len(scene.vertices)
    local = np.zeros((count, 2), np.float32)
    local[: len(head.local)] = head.local
    occlusion = np.ones(count, np.float32)
    # Hair fills the hollows that the bare scalp's occlusion was baked for.
    occlusion[: len(head.occlusion)] = np.where(
        wear.lift > 0.02, np.maximum(head.occlusion, 0.75), head.occlusion
    )
    scalars = dict.fromkeys(SCALARS, 0.0)
    scalars |= {"gloss": 0.16, "hair_soft": wear.softness, "hair_density": wear.density}
    scalars |= {"hair_ragged": wear.ragged, "hair_streak": wear.streak}
    scalars |= {"hair_u": wear.offset[0], "hair_v": wear.offset[1]}
    scalars |= {"iris_radius": look.iris_radius, "gaze_x": shot.gaze[0], "gaze_y": shot.gaze[1]}
    scalars |= {"shadows": float(light.shadows), "hat": float(wear.hat), "bias": 0.03}
    table = np.zeros((MATERIALS, 6), np.float32)
    for number, values in (FIXED_MATERIALS | materials).items():
        table[number] = values
    table[BRIM, :GLOSS] = wear.colours[1]
    colours = np.stack([*wear.colours, look.iris, light.sky, light.ground])
    mesh = (scene.triangles, scene.material, scene.normals, scene.uv, local, occlusion, scene.vertices)
    maps = (look.texture, region_map(), detail(), wear.curves)
    rest = (np.array(list(scalars.values()), np.float32), colours.astype(np.float32), table)
    return (*mesh, *maps, *rest, light.directions, light.intensities)


@dataclass(frozen=True, eq=False)
class Layer:
    """One shaded pass, supersampled: linear light, part labels, occluder shadow, canonical map."""

    light: np.ndarray
    label: np.ndarray
    buffers: Buffers
    shadow: np.ndarray
    canonical: np.ndarray


def _shade_passes(
    identity: Identity, shot: Shot, wear: Wear, scene: Scene, materials: dict, size: int
) -> list[Layer]:
    """Return the shaded clean pass and, with an occluder, the occluded one."""
    n = size * SUPERSAMPLING
    inputs = _shading_inputs(identity, shot, wear, scene, materials)
    closed = int(np.searchsorted(scene.material[: len(load_head().part)], LEFT_EYE + 2))
    to_light = _light_frame(shot.light.directions[0])
    caster, worn_caster = Buffers.empty(SHADOW_SIZE), Buffers.empty(SHADOW_SIZE)
    occluded = shot.occluder != "none"
    if shot.light.shadows:
        seen = rotate(scene.vertices, to_light[:, :3]) + to_light[:, 3]
        seen = np.ascontiguousarray(seen, np.float32)
        _draw(scene, seen, caster, occluder=False, cull=closed)
        if occluded:
            _draw(scene, seen, worn_caster, occluder=True, cull=0)
    layers = []
    buffers = Buffers.empty(n)
    light, label = np.zeros((n, n, 3), np.float32), np.zeros((n, n), np.uint8)
    canonical = np.full((n, n, 2), np.nan, np.float32)
    for occluder in (False, True)[: 1 + occluded]:
        if occluder:
            buffers = Buffers(buffers.depth.copy(), buffers.face.copy(), buffers.bary.copy())
            light, label = light.copy(), label.copy()
        _draw(scene, scene.screen, buffers, occluder=occluder, cull=0 if occluder else closed)
        shadow = np.zeros((n, n), np.float32)
        shade(
            *(buffers.face, buffers.bary, *inputs, to_light, caster.depth, worn_caster.depth),
            *(scene.first_occluder if occluder else -1, light, label, shadow, canonical),
        )
        layers.append(Layer(light, label, buffers, shadow, canonical))
    return layers


def _visibility(scene: Scene, buffers: Buffers, shot: Shot, size: int) -> np.ndarray:
    """Return which landmarks (68,) the z-buffer shows."""
    inside = ((scene.landmarks >= 0) & (scene.landmarks < size)).all(1)
    n = size * SUPERSAMPLING
    column, row = np.clip((scene.landmarks * SUPERSAMPLING).astype(int), 0, n - 1).T
    # 1 / distance changes by tolerance / distance² over 0.08 decimetres of depth.
    near = buffers.depth[row, column] - 0.08 / shot.distance**2
    return inside & (scene.landmark_depth > near) & (buffers.face[row, column] < scene.first_occluder)


def _shrink(image: np.ndarray, size: int) -> np.ndarray:
    """Average supersampled pixels."""
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)


def _photograph(identity: Identity, shot: Shot, layers: list[Layer], scene: Scene, size: int) -> tuple:
    """Return the picture, the occluder's mask and its shadow's mask.

    The picture with an occluder is taken twice, with and without it. Outside the occluder and its
    shadow, as the lens spreads them, the clean picture stands: neither compression nor anything
    else carries the occluder further, so twins differ only where they are said to.
    """
    camera = shot.camera
    behind = film.background(shot, size)
    gain = film.exposure_gain(shot.light, identity, camera)
    pictures = []
    for layer in layers:
        covered = _shrink((layer.buffers.face >= 0).astype(np.float32), size)[..., None]
        light = _shrink(layer.light, size) * gain + behind * (1 - covered)
        pictures.append(film.record(film.resolve(film.develop(light, camera), camera), shot))
    nothing = np.zeros((size, size), bool)
    if len(layers) == 1:
        return pictures[0], nothing, nothing
    worn = (layers[1].buffers.face >= scene.first_occluder).astype(np.float32)
    reach = film.resolve(_shrink(worn, size), camera)
    shade_reach = film.resolve(_shrink(layers[1].shadow, size), camera)
    occluder = reach > 0.02
    shadow = (shade_reach > 0.02) & ~occluder
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
    wear = dress(identity, shot)
    scene, materials = _assemble(identity, shot, wear, size)
    layers = _shade_passes(identity, shot, wear, scene, materials, size)
    image, occluder_mask, shadow_mask = _photograph(identity, shot, layers, scene, size)
    last = layers[-1]
    label, depth = last.label[1::2, 1::2], last.buffers.depth[1::2, 1::2]
    with np.errstate(divide="ignore"):
        distance = np.where(depth > 0, shot.distance - 1 / depth, np.float32(np.nan))
    return Render(
        image=image,
        landmarks=scene.landmarks,
        visible=_visibility(scene, last.buffers, shot, size),
        yaw=shot.yaw,
        pitch=shot.pitch,
        roll=shot.roll,
        occluder=shot.occluder,
        occluder_mask=occluder_mask,
        shadow_mask=shadow_mask,
        parts=label.copy(),
        depth=distance.astype(np.float32),
        canonical=last.canonical[1::2, 1::2].copy(),
    )
