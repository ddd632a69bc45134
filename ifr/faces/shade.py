"""The compiled shading kernel: skin, hair, eyes, cloth and occluders under a few lights."""

from math import floor, sqrt
from typing import NamedTuple

import numpy as np

from ifr.faces.raster import compiled, inlined

# A triangle's material, and its row in the material table.
SKIN, LEFT_EYE, RIGHT_EYE, UPPER_TEETH, LOWER_TEETH, TONGUE, STRANDS, BRIM = range(8)
FRAME, LENS, FABRIC, HAND = range(8, 12)
MATERIALS = 12
# Columns of the material table: albedo, gloss, whether highlights are sharp, strength of the weave.
RED, GREEN, BLUE, GLOSS, SHARP, PATTERN = range(6)
# The fixed patterns stacked in ``Maps.detail``.
EDGES, FIBRES, PORES, LUMPS, CURLS = range(5)

PARTS = (
    *("background", "skin", "brow", "eye", "nose", "mouth", "ear", "neck"),
    *("hair", "hat", "clothing", "occluder"),
)
MOUTH, EYE, EAR, HAIR, HAT, CLOTHING, OCCLUDER = (
    np.uint8(PARTS.index(name))
    for name in ("mouth", "eye", "ear", "hair", "hat", "clothing", "occluder")
)

ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)
# How far red, green and blue light bleed round the terminator: most in flesh, and most the red.
FLESH = (np.float32(0.36), np.float32(0.2), np.float32(0.14))
OPAQUE = (ZERO, ZERO, ZERO)
SHEEN = np.float32(0.035)  # of hair


class Mesh(NamedTuple):
    """All triangles of a scene in camera axes: V vertices, T triangles."""

    triangles: np.ndarray  # (T, 3) int32
    material: np.ndarray  # (T,) int32
    position: np.ndarray  # (V, 3) float32
    normals: np.ndarray  # (V, 3) float32
    uv: np.ndarray  # (V, 2) float32 texels
    local: np.ndarray  # (V, 2) float32: place on the eyeball in radii; how far out on an ear, 0..1
    occlusion: np.ndarray  # (V,) float32


class Maps(NamedTuple):
    """Images over the canonical map of S texels to a side, a power of two."""

    texture: np.ndarray  # (S, S, 4) float32 albedo and gloss of skin
    region: np.ndarray  # (S, S) uint8 part of bare skin
    detail: np.ndarray  # (5, S, S) float32 fixed patterns
    curves: np.ndarray  # (3, S) float32: lower ends of hair and hat, upper end of clothing


class Look(NamedTuple):
    """Colours (3,) and scalars, all float32, of a person in a shot."""

    hair: np.ndarray
    hat: np.ndarray
    cloth: np.ndarray
    iris: np.ndarray
    gloss: np.float32
    softness: np.float32  # of the hairline, texels
    density: np.float32
    ragged: np.float32  # texels
    streak: np.float32
    curl: np.float32
    offset_u: np.float32  # of the strand pattern, texels
    offset_v: np.float32
    iris_radius: np.float32
    gaze_x: np.float32
    gaze_y: np.float32
    has_hat: bool


class Lights(NamedTuple):
    """Lights in camera axes, and the shadow maps of the first."""

    directions: np.ndarray  # (L, 3) float32
    intensities: np.ndarray  # (L, 3) float32
    sky: np.ndarray  # (3,) float32
    ground: np.ndarray  # (3,) float32
    shadows: bool
    to_light: np.ndarray  # (3, 4) float32: camera axes to pixels and depth of the shadow maps
    depth: np.ndarray  # (M, M) float32, of head, hair and hat
    occluder_depth: np.ndarray  # (M, M) float32


class Target(NamedTuple):
    """The z-buffer to shade and the images to write, all (H, W, ...)."""

    face: np.ndarray  # int32 triangle, -1 for none
    nearness: np.ndarray  # float32, 1 / distance
    bary: np.ndarray  # (H, W, 2) float32
    light: np.ndarray  # (H, W, 3) float32, linear
    label: np.ndarray  # uint8, index into PARTS
    shadow: np.ndarray  # float32, share of the key light that the occluder takes
    canonical: np.ndarray  # (H, W, 2) float32, 0..1 on skin


@inlined
def _clip(value):
    """Return the value limited to 0..1."""
    return min(max(value, ZERO), ONE)


@inlined
def _mix(values, corners, weights, k):
    """Return column ``k`` of per-vertex values at a point of a triangle."""
    a, b, c = corners
    return weights[0] * values[a, k] + weights[1] * values[b, k] + weights[2] * values[c, k]


@inlined
def _lookup(image, u, v):
    """Return the four bilinear values of a (S, S, 4) image at texel (u, v), clamped to it."""
    last = np.float32(image.shape[0] - 1.001)
    u = min(max(u - HALF, ZERO), last)
    v = min(max(v - HALF, ZERO), last)
    i, j = int(u), int(v)
    fu, fv = u - np.float32(i), v - np.float32(j)
    d = fu * fv
    b, c = fu - d, fv - d
    a = ONE - fu - c
    x, y = i + 1, j + 1
    return (
        a * image[j, i, 0] + b * image[j, x, 0] + c * image[y, i, 0] + d * image[y, x, 0],
        a * image[j, i, 1] + b * image[j, x, 1] + c * image[y, i, 1] + d * image[y, x, 1],
        a * image[j, i, 2] + b * image[j, x, 2] + c * image[y, i, 2] + d * image[y, x, 2],
        a * image[j, i, 3] + b * image[j, x, 3] + c * image[y, i, 3] + d * image[y, x, 3],
    )


@inlined
def _lit(depth, x, y, z):
    """Return the share (0..1) of a 2 x 2 neighbourhood of a shadow map that the light reaches."""
    last = depth.shape[0] - 1
    x, y = x - HALF, y - HALF
    i, j = floor(x), floor(y)
    fx, fy = x - np.float32(i), y - np.float32(j)
    share = ZERO
    for dj in range(2):
        for di in range(2):
            if depth[min(max(j + dj, 0), last), min(max(i + di, 0), last)] < z:
                share += (fx if di == 1 else ONE - fx) * (fy if dj == 1 else ONE - fy)
    return share


@inlined
def _in_light_axes(mesh, lamps, corners, weights, nx, ny, nz):
    """Return a surface point in pixels and depth of the shadow maps, lifted off the surface."""
    lift = np.float32(0.03)
    x = _mix(mesh.position, corners, weights, 0) + lift * nx
    y = _mix(mesh.position, corners, weights, 1) + lift * ny
    z = _mix(mesh.position, corners, weights, 2) + lift * nz
    m, d = lamps.to_light, lamps.directions
    # Slanting surfaces need more slack against shadowing themselves.
    slack = np.float32(0.03) + np.float32(0.05) * (
        ONE - max(nx * d[0, 0] + ny * d[0, 1] + nz * d[0, 2], ZERO)
    )
    return (
        m[0, 0] * x + m[0, 1] * y + m[0, 2] * z + m[0, 3],
        m[1, 0] * x + m[1, 1] * y + m[1, 2] * z + m[1, 3],
        m[2, 0] * x + m[2, 1] * y + m[2, 2] * z + slack,
    )


@inlined
def _fibre(maps, look, u, v):
    """Return the tone of hair at a texel: strands, or curls."""
    wrap = maps.detail.shape[1] - 1
    i, j = int(u) & wrap, int(v) & wrap
    straight, curly = maps.detail[FIBRES, j, i], maps.detail[CURLS, j, i]
    return ONE + look.streak * (straight + look.curl * (curly - straight))


@inlined
def _skin(maps, look, u, v, ear):
    """Return albedo, gloss, strand share and part of skin, hair, hat or clothing."""
    wide = maps.detail.shape[1]
    column = min(max(u, ZERO), np.float32(wide - 1))
    i, j = int(column), int(min(max(v, ZERO), np.float32(wide - 1)))
    pores = maps.detail[PORES, (3 * j) & (wide - 1), (3 * i) & (wide - 1)]
    if v > maps.curves[2, i]:
        weave, cloth = ONE + np.float32(0.08) * pores, look.cloth
        return cloth[0] * weave, cloth[1] * weave, cloth[2] * weave, ZERO, ZERO, CLOTHING
    pattern_u, pattern_v = column + look.offset_u, v + look.offset_v
    hi, hj = int(pattern_u) & (wide - 1), int(pattern_v) & (wide - 1)
    if look.has_hat and v < maps.curves[1, i]:
        rib, hat = ONE + np.float32(0.1) * maps.detail[FIBRES, hj, hi], look.hat
        if maps.curves[1, i] - v < 11:
            rib *= np.float32(0.88)  # the turned-up band
        return hat[0] * rib, hat[1] * rib, hat[2] * rib, ZERO, ZERO, HAT
    r, g, b, oil = _lookup(maps.texture, u, v)
    specular = look.gloss * oil * (ONE + np.float32(0.25) * pores)
    part = EAR if ear > np.float32(0.25) else maps.region[j, i]
    # Hair is a ragged edge along its line, so no mask is ever painted for it; ears stay bare.
    edge = (maps.curves[0, i] - v + look.ragged * maps.detail[EDGES, hj, hi]) / look.softness + HALF
    cover = _clip(edge) * look.density * _clip(np.float32(1.5) - np.float32(4) * ear)
    if cover > 0:
        # Roots and the rim of the hair lie deeper and darker.
        tone = _fibre(maps, look, pattern_u, pattern_v)
        tone *= np.float32(0.72) + np.float32(0.28) * _clip(edge * HALF)
        r += cover * (look.hair[0] * tone - r)
        g += cover * (look.hair[1] * tone - g)
        b += cover * (look.hair[2] * tone - b)
        specular *= ONE - np.float32(0.9) * cover
        part = HAIR if cover > HALF else part
    return r, g, b, specular, cover, part


@inlined
def _eyeball(table, m, look, x, y):
    """Return albedo and gloss of an eye: pupil, iris with its dark ring, white."""
    dx, dy = x - look.gaze_x, y - look.gaze_y
    radius = sqrt(dx * dx + dy * dy)
    if radius < np.float32(0.2):
        return np.float32(0.006), np.float32(0.006), np.float32(0.006), table[m, GLOSS]
    if radius < look.iris_radius:
        tone = np.float32(0.85) - HALF * dy
        if radius > np.float32(0.84) * look.iris_radius:
            tone = np.float32(0.4)
        return look.iris[0] * tone, look.iris[1] * tone, look.iris[2] * tone, table[m, GLOSS]
    return table[m, RED], table[m, GREEN], table[m, BLUE], table[m, GLOSS]


@inlined
def _sheet(maps, look, table, m, u, v):
    """Return albedo, gloss, strand share and part of teeth, hanging hair, brims and occluders."""
    if m == STRANDS:
        tone = _fibre(maps, look, u, v)
        return look.hair[0] * tone, look.hair[1] * tone, look.hair[2] * tone, ZERO, ONE, HAIR
    wrap = maps.detail.shape[1] - 1
    tone = ONE + table[m, PATTERN] * maps.detail[FIBRES, int(v) & wrap, int(u) & wrap]
    part = OCCLUDER
    if m <= TONGUE:
        part = MOUTH
    elif m == BRIM:
        part = HAT
    return (
        table[m, RED] * tone,
        table[m, GREEN] * tone,
        table[m, BLUE] * tone,
        table[m, GLOSS],
        ZERO,
        part,
    )


@inlined
def _highlight(nx, ny, nz, dx, dy, dz, specular, sharp, strand):
    """Return the share of a light that glances off towards the camera."""
    hx, hy, hz = dx, dy, dz + ONE  # half way between light and camera
    inverse = ONE / sqrt(hx * hx + hy * hy + hz * hz)
    cosine = (nx * hx + ny * hy + nz * hz) * inverse
    share = ZERO
    if strand > 0:
        # Kajiya and Kay: strands run down the head and shine across their direction.
        along = hy * inverse - ny * cosine
        across = ONE - along * along
        across *= across
        across *= across
        share = across * across * strand
    if cosine > 0 and specular > 0:
        power = cosine * cosine
        power *= power
        power *= power  # cosine ^ 8
        if sharp:
            power *= power
            power *= power
            power *= power  # cosine ^ 64
            share += specular * power
        else:
            share += specular * (np.float32(0.3) * power + np.float32(0.7) * power * power * power)
    return share


@inlined
def _received(lamps, nx, ny, nz, key_lit, ambient, bleed):
    """Return the red, green and blue light that falls on a surface."""
    up = HALF + HALF * ny
    sky, ground = lamps.sky, lamps.ground
    r = (ground[0] + (sky[0] - ground[0]) * up) * ambient
    g = (ground[1] + (sky[1] - ground[1]) * up) * ambient
    b = (ground[2] + (sky[2] - ground[2]) * up) * ambient
    directions, power = lamps.directions, lamps.intensities
    for k in range(lamps.directions.shape[0]):
        cosine = nx * directions[k, 0] + ny * directions[k, 1] + nz * directions[k, 2]
        if cosine > -bleed[0]:
            # Only the key light casts shadows; the others reach hollows less.
            lit = key_lit if k == 0 else HALF + HALF * ambient
            r += power[k, 0] * max(ZERO, (cosine + bleed[0]) / (ONE + bleed[0])) * lit
            g += power[k, 1] * max(ZERO, (cosine + bleed[1]) / (ONE + bleed[1])) * lit
            b += power[k, 2] * max(ZERO, (cosine + bleed[2]) / (ONE + bleed[2])) * lit
    return r, g, b


@inlined
def _glanced(lamps, nx, ny, nz, key_lit, ambient, specular, sharp, sheen):
    """Return the red, green and blue light that glances off a surface towards the camera."""
    r, g, b = ZERO, ZERO, ZERO
    directions, power = lamps.directions, lamps.intensities
    for k in range(lamps.directions.shape[0]):
        dx, dy, dz = directions[k, 0], directions[k, 1], directions[k, 2]
        if nx * dx + ny * dy + nz * dz > 0:
            share = _highlight(nx, ny, nz, dx, dy, dz, specular, sharp, sheen)
            share *= (key_lit if k == 0 else HALF + HALF * ambient) * ambient
            r += share * power[k, 0]
            g += share * power[k, 1]
            b += share * power[k, 2]
    return r, g, b


@inlined
def _uniform(target, material, m, y, x):
    """Return whether the 2 x 2 samples of a pixel lie on one smooth surface without fine detail."""
    if m in (LEFT_EYE, RIGHT_EYE):
        return False
    nearest, farthest = ZERO, np.float32(1e30)
    for j in range(y & ~1, (y & ~1) + 2):
        for i in range(x & ~1, (x & ~1) + 2):
            t = target.face[j, i]
            if t < 0 or material[t] != m:
                return False
            nearest = max(nearest, target.nearness[j, i])
            farthest = min(farthest, target.nearness[j, i])
    # Half a per cent of the distance is about 0.05 decimetres.
    return nearest - farthest < np.float32(0.005) * nearest


@compiled
def shade(target, mesh, maps, look, lamps, table, first_occluder):
    """Shade every pixel of a z-buffer.

    With ``first_occluder`` >= 0, the number of the occluder's first triangle, only pixels on the
    occluder or in its shadow are written: the rest stays what an earlier pass without it, called
    with -1, left there.

    Args:
        target: ``Target``, its images changed in place.
        mesh: ``Mesh``.
        maps: ``Maps``.
        look: ``Look``.
        lamps: ``Lights``.
        table: (MATERIALS, 6) float32.
        first_occluder: int.
    """
    texels = np.float32(maps.detail.shape[1])
    for y in range(target.face.shape[0]):
        for x in range(target.face.shape[1]):
            t = target.face[y, x]
            if t < 0:
                continue
            m = mesh.material[t]
            if first_occluder < 0 and (x ^ y) & 1 and _uniform(target, mesh.material, m, y, x):
                # Inside a smooth surface the two samples of one diagonal are enough.
                from_y, from_x = (y - 1, x) if y & 1 else (y, x - 1)
                for k in range(3):
                    target.light[y, x, k] = target.light[from_y, from_x, k]
                target.label[y, x] = target.label[from_y, from_x]
                continue
            corners = (mesh.triangles[t, 0], mesh.triangles[t, 1], mesh.triangles[t, 2])
            w0, w1 = target.bary[y, x, 0], target.bary[y, x, 1]
            weights = (w0, w1, ONE - w0 - w1)
            nx = _mix(mesh.normals, corners, weights, 0)
            ny = _mix(mesh.normals, corners, weights, 1)
            nz = _mix(mesh.normals, corners, weights, 2)
            unit = ONE / sqrt(nx * nx + ny * ny + nz * nz + np.float32(1e-12))
            if nz < 0 and m >= STRANDS:
                unit = -unit  # open sheets show their backs
            nx, ny, nz = nx * unit, ny * unit, nz * unit

            # The key light's shadow: of the head, and separately of the occluder.
            head_lit, occluder_lit = ONE, ONE
            if lamps.shadows:
                lx, ly, lz = _in_light_axes(mesh, lamps, corners, weights, nx, ny, nz)
                if first_occluder >= 0:
                    occluder_lit = min(_lit(lamps.occluder_depth, lx, ly, lz), ONE)
                if t >= first_occluder or occluder_lit < ONE:
                    head_lit = _lit(lamps.depth, lx, ly, lz)
            if t < first_occluder:
                if occluder_lit >= ONE:
                    continue
                target.shadow[y, x] = head_lit * (ONE - occluder_lit)

            # Surface: albedo, gloss, part; how far light bleeds round the terminator of flesh.
            ambient = w0 * mesh.occlusion[corners[0]] + w1 * mesh.occlusion[corners[1]]
            ambient += weights[2] * mesh.occlusion[corners[2]]
            u, v = _mix(mesh.uv, corners, weights, 0), _mix(mesh.uv, corners, weights, 1)
            bleed, strand = FLESH if m in (SKIN, HAND) else OPAQUE, ZERO
            if m == SKIN:
                ear = _mix(mesh.local, corners, weights, 0)
                r, g, b, specular, strand, part = _skin(maps, look, u, v, ear)
                target.canonical[y, x, 0], target.canonical[y, x, 1] = u / texels, v / texels
            elif m in (LEFT_EYE, RIGHT_EYE):
                eye_x = _mix(mesh.local, corners, weights, 0)
                eye_y = _mix(mesh.local, corners, weights, 1)
                r, g, b, specular = _eyeball(table, m, look, eye_x, eye_y)
                # The upper lid and its lashes shade the ball.
                lid = ONE - np.float32(1.1) * min(max(eye_y, ZERO), HALF)
                ambient, part = (np.float32(0.35) + np.float32(0.65) * ambient) * lid, EYE
            else:
                r, g, b, specular, strand, part = _sheet(maps, look, table, m, u, v)
                target.canonical[y, x, 0] = target.canonical[y, x, 1] = np.float32(np.nan)

            light = _received(lamps, nx, ny, nz, head_lit * occluder_lit, ambient, bleed)
            sharp, sheen = table[m, SHARP] > 0, SHEEN * strand * (ONE - HALF * look.curl)
            glance = _glanced(
                lamps, nx, ny, nz, head_lit * occluder_lit, ambient, specular, sharp, sheen
            )
            target.light[y, x, 0] = max(r, ZERO) * light[0] + glance[0]
            target.light[y, x, 1] = max(g, ZERO) * light[1] + glance[1]
            target.light[y, x, 2] = max(b, ZERO) * light[2] + glance[2]
            target.label[y, x] = part
