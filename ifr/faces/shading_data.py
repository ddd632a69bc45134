"""What the shading kernel reads and writes."""

from typing import NamedTuple

import numpy as np

from ifr.faces.raster import ZBuffer


class Mesh(NamedTuple):
    """All triangles of a scene in camera axes: V vertices, T triangles."""

    triangles: np.ndarray  # (T, 3) int32
    material: np.ndarray  # (T,) int32
    position: np.ndarray  # (V, 3) float32
    normals: np.ndarray  # (V, 3) float32
    uv: np.ndarray  # (V, 2) float32 texels
    local: np.ndarray  # (V, 2) float32: place on the eyeball in radii; how far out on an ear, 0..1
    occlusion: np.ndarray  # (V, 1) float32: share of the sky seen


class Maps(NamedTuple):
    """Images over the canonical map of S texels to a side, a power of two."""

    texture: np.ndarray  # (S, S, 4) float32 albedo and gloss of skin
    region: np.ndarray  # (S, S) uint8 part of bare skin
    detail: np.ndarray  # (6, S, S) float32 fixed patterns
    curves: np.ndarray  # (3, S) float32: lower ends of hair and hat, upper end of clothing


class Strands(NamedTuple):
    """How hair grows and falls in a shot, all float32."""

    softness: np.float32  # of the hairline, texels
    density: np.float32
    ragged: np.float32  # texels
    streak: np.float32
    curl: np.float32
    loose: np.float32  # strength of single strands below the line
    part: np.float32  # column of the parting, texels
    gap: np.float32  # how plainly the parting shows
    lean_left: np.float32  # slope of the strands left and right of it
    lean_right: np.float32
    offset_u: np.float32  # of the strand pattern, texels
    offset_v: np.float32


class Look(NamedTuple):
    """Colours and eyes of a person in a shot."""

    colours: np.ndarray  # (3, 3) float32 albedo: hair, hat, clothing
    strands: Strands
    has_hat: bool
    iris: np.ndarray  # (3,) float32 albedo
    iris_radius: np.float32  # in eyeball radii
    eyes: np.ndarray  # (2, 8) float32 in eyeball radii, the columns named in the kernel
    catch: np.ndarray  # (3,) float32: normal where eyes mirror the key light, and its radius


class Lights(NamedTuple):
    """Lights and an ambient sky, in camera axes: x right, y up, z towards the camera."""

    directions: np.ndarray  # (L, 3) float32, towards the light; the first is the key light
    intensities: np.ndarray  # (L, 3) float32
    ambient: np.ndarray  # (2, 3) float32: of the sky above and the ground below
    shadows: bool  # whether the key light casts them


class Stage(NamedTuple):
    """All that a shot is shaded by."""

    mesh: Mesh
    maps: Maps
    look: Look
    lights: Lights
    to_light: np.ndarray  # (3, 4) float32: camera axes to pixels and depth of the next two
    head_depth: np.ndarray  # (M, M) float32, of head, hair and hat as the key light sees them
    occluder_depth: np.ndarray  # (M, M) float32
    materials: np.ndarray  # (MATERIALS, 7) float32


class Target(NamedTuple):
    """The z-buffer to shade and the images to write."""

    buffer: ZBuffer  # its depth is 1 / distance
    light: np.ndarray  # (H, W, 3) float32, linear
    label: np.ndarray  # (H, W) uint8, index into PARTS
    shadow: np.ndarray  # (H, W) float32, share of the key light that the occluder takes
    canonical: np.ndarray  # (H, W, 2) float32, 0..1 on skin; (0, 0, 2) where not asked for
