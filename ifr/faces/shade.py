"""The compiled shading kernel: skin, hair, eyes, cloth and occluders under a few lights."""

from math import floor, sqrt

import numpy as np

from ifr.faces.kernels import Scalar, Triple, compiled, dot, inlined, minus, row
from ifr.faces.raster import ZBuffer
from ifr.faces.shading_data import Lights, Look, Maps, Stage, Strands, Surface, Target

# A triangle's material, and its row in the material table.
SKIN, LEFT_EYE, RIGHT_EYE, UPPER_TEETH, LOWER_TEETH, TONGUE, STRANDS, BRIM = range(8)
FRAME, LENS, FABRIC, HAND = range(8, 12)
MATERIALS = 12
# Columns of the material table: albedo (3), gloss, whether highlights are sharp, weave's strength.
GLOSS, SHARP, PATTERN = range(3, 6)
# The fixed patterns stacked in ``Maps.detail``.
EDGES, FIBRES, PORES, LUMPS, CURLS = range(5)
# Rows of ``Look.colours`` and ``Maps.curves``.
OF_HAIR, OF_HAT, OF_CLOTHING = range(3)

PARTS = (
    *("background", "skin", "brow", "eye", "nose", "mouth", "ear", "neck"),
    *("hair", "hat", "clothing", "occluder"),
)
_, _, _, EYE, _, MOUTH, EAR, _, HAIR, HAT, CLOTHING, OCCLUDER = map(np.uint8, range(len(PARTS)))

ZERO, HALF, ONE, NAN = (np.float32(value) for value in (0, 0.5, 1, np.nan))
Coat = tuple[Triple, Scalar, Scalar, Scalar]  # albedo, gloss, share of strands, part
# How far red, green and blue light bleed round the terminator: most in flesh, and most the red.
FLESH = (np.float32(0.36), np.float32(0.2), np.float32(0.14))
OPAQUE = (ZERO, ZERO, ZERO)
SKIN_GLOSS, SHEEN = np.float32(0.16), np.float32(0.035)  # of skin, of hair
PUPIL = (np.float32(0.006), np.float32(0.006), np.float32(0.006))


@inlined
def _clip(value: Scalar) -> Scalar:
    """Return the value limited to 0..1."""
    return min(max(value, ZERO), ONE)


@inlined
def _scaled(a: Triple, factor: Scalar) -> Triple:
    """Return ``factor * a``."""
    return a[0] * factor, a[1] * factor, a[2] * factor


@inlined
def _moved(a: Triple, b: Triple, factor: Scalar) -> Triple:
    """Return ``a + factor * b``."""
    return a[0] + b[0] * factor, a[1] + b[1] * factor, a[2] + b[2] * factor


@inlined
def _mix(values: np.ndarray, corners: Triple, weights: Triple, k: int) -> Scalar:
    """Return column ``k`` of per-vertex values at a point of a triangle."""
    a, b, c = corners
    return weights[0] * values[a, k] + weights[1] * values[b, k] + weights[2] * values[c, k]


@inlined
def _mix_row(values: np.ndarray, corners: Triple, weights: Triple) -> Triple:
    """Return the three columns of per-vertex values at a point of a triangle."""
    x, y = _mix(values, corners, weights, 0), _mix(values, corners, weights, 1)
    return x, y, _mix(values, corners, weights, 2)


@inlined
def _lookup(image: np.ndarray, u: Scalar, v: Scalar) -> tuple[Triple, Scalar]:
    """Return bilinear colour and gloss of a (S, S, 4) image at texel (u, v), clamped to it."""
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
    ), a * image[j, i, 3] + b * image[j, x, 3] + c * image[y, i, 3] + d * image[y, x, 3]


@inlined
def _lit(depth: np.ndarray, point: Triple) -> Scalar:
    """Return the share (0..1) of a 2 x 2 neighbourhood of a shadow map that the light reaches."""
    last = depth.shape[0] - 1
    x, y = point[0] - HALF, point[1] - HALF
    i, j = floor(x), floor(y)
    fx, fy = x - np.float32(i), y - np.float32(j)
    share = ZERO
    for dj in range(2):
        for di in range(2):
            if depth[min(max(j + dj, 0), last), min(max(i + di, 0), last)] < point[2]:
                share += (fx if di == 1 else ONE - fx) * (fy if dj == 1 else ONE - fy)
    return share


@inlined
def _seen_from_light(point: Triple, normal: Triple, key: Triple, to_light: np.ndarray) -> Triple:
    """Return a surface point in pixels and depth of the shadow maps, lifted off the surface."""
    point = _moved(point, normal, np.float32(0.03))
    # Slanting surfaces need more slack against shadowing themselves.
    slack = np.float32(0.03) + np.float32(0.05) * (ONE - max(dot(normal, key), ZERO))
    return (
        dot(row(to_light, 0), point) + to_light[0, 3],
        dot(row(to_light, 1), point) + to_light[1, 3],
        dot(row(to_light, 2), point) + slack,
    )


@inlined
def _fibre(detail: np.ndarray, strands: Strands, u: Scalar, v: Scalar) -> Scalar:
    """Return the tone of hair at a texel: strands, or curls."""
    wrap = detail.shape[1] - 1
    i, j = int(u) & wrap, int(v) & wrap
    straight, curly = detail[FIBRES, j, i], detail[CURLS, j, i]
    return ONE + strands.streak * (straight + strands.curl * (curly - straight))


@inlined
def _skin(maps: Maps, look: Look, u: Scalar, v: Scalar, ear: Scalar) -> Coat:
    """Return what covers a texel of the head: skin, hair, hat or clothing."""
    detail, curves, strands = maps.detail, maps.curves, look.strands
    wide = detail.shape[1]
    column = min(max(u, ZERO), np.float32(wide - 1))
    i, j = int(column), int(min(max(v, ZERO), np.float32(wide - 1)))
    pores = detail[PORES, (3 * j) & (wide - 1), (3 * i) & (wide - 1)]
    if v > curves[OF_CLOTHING, i]:
        weave = ONE + np.float32(0.08) * pores
        return _scaled(row(look.colours, OF_CLOTHING), weave), ZERO, ZERO, CLOTHING
    pattern_u, pattern_v = column + strands.offset_u, v + strands.offset_v
    hi, hj = int(pattern_u) & (wide - 1), int(pattern_v) & (wide - 1)
    if look.has_hat and v < curves[OF_HAT, i]:
        rib = ONE + np.float32(0.1) * detail[FIBRES, hj, hi]
        if curves[OF_HAT, i] - v < 11:
            rib *= np.float32(0.88)  # the turned-up band
        return _scaled(row(look.colours, OF_HAT), rib), ZERO, ZERO, HAT
    albedo, oil = _lookup(maps.texture, u, v)
    specular = SKIN_GLOSS * oil * (ONE + np.float32(0.25) * pores)
    part = EAR if ear > np.float32(0.25) else maps.region[j, i]
    # Hair is a ragged edge along its line, so no mask is ever painted for it; ears stay bare.
    edge = curves[OF_HAIR, i] - v + strands.ragged * detail[EDGES, hj, hi]
    edge = edge / strands.softness + HALF
    cover = _clip(edge) * strands.density * _clip(np.float32(1.5) - np.float32(4) * ear)
    if cover > 0:
        # Roots and the rim of the hair lie deeper and darker.
        tone = _fibre(detail, strands, pattern_u, pattern_v)
        tone *= np.float32(0.72) + np.float32(0.28) * _clip(edge * HALF)
        hair = _scaled(row(look.colours, OF_HAIR), tone)
        albedo = _moved(albedo, minus(hair, albedo), cover)
        specular *= ONE - np.float32(0.9) * cover
        part = HAIR if cover > HALF else part
    return albedo, specular, cover, part


@inlined
def _eyeball(look: Look, white: Triple, x: Scalar, y: Scalar) -> Triple:
    """Return the albedo of an eye: pupil, iris with its dark ring, white."""
    dx, dy = x - look.gaze[0], y - look.gaze[1]
    radius = sqrt(dx * dx + dy * dy)
    if radius < np.float32(0.2):
        return PUPIL
    if radius < look.iris_radius:
        ring = radius > np.float32(0.84) * look.iris_radius
        tone = np.float32(0.4) if ring else np.float32(0.85) - HALF * dy
        return look.iris[0] * tone, look.iris[1] * tone, look.iris[2] * tone
    return white


@inlined
def _sheet(maps: Maps, look: Look, table: np.ndarray, m: Scalar, u: Scalar, v: Scalar) -> Coat:
    """Return what covers teeth, hanging hair, brims and occluders."""
    if m == STRANDS:
        tone = _fibre(maps.detail, look.strands, u, v)
        return _scaled(row(look.colours, OF_HAIR), tone), ZERO, ONE, HAIR
    wrap = maps.detail.shape[1] - 1
    tone = ONE + table[m, PATTERN] * maps.detail[FIBRES, int(v) & wrap, int(u) & wrap]
    part = MOUTH if m <= TONGUE else HAT if m == BRIM else OCCLUDER
    return _scaled(row(table, m), tone), table[m, GLOSS], ZERO, part


@inlined
def _highlight(surface: Surface, normal: Triple, light: Triple) -> Scalar:
    """Return the share of a light that glances off towards the camera."""
    half = light[0], light[1], light[2] + ONE  # half way between light and camera
    inverse = ONE / sqrt(dot(half, half))
    cosine = dot(normal, half) * inverse
    share = ZERO
    if surface.sheen > 0:
        # Kajiya and Kay: strands run down the head and shine across their direction.
        along = half[1] * inverse - normal[1] * cosine
        share = (ONE - along * along) ** 8 * surface.sheen
    if cosine > 0 and surface.specular > 0:
        power = cosine**8
        if surface.sharp:
            power = power**8
        else:
            power = np.float32(0.3) * power + np.float32(0.7) * power * power * power
        share += surface.specular * power
    return share


@inlined
def _wrapped(cosine: Scalar, bleed: Scalar) -> Scalar:
    """Return the share of light on a surface at an angle, bled round its terminator."""
    return max(ZERO, (cosine + bleed) / (ONE + bleed))


@inlined
def _reflected(lights: Lights, surface: Surface, normal: Triple, key_lit: Scalar) -> Triple:
    """Return the light that a surface sends to the camera."""
    albedo, bleed, ambient = surface.albedo, surface.bleed, surface.ambient
    sky, ground = row(lights.ambient, 0), row(lights.ambient, 1)
    received = _moved(ground, minus(sky, ground), HALF + HALF * normal[1])
    r, g, b = _scaled(received, ambient)
    glance = (ZERO, ZERO, ZERO)
    for k in range(lights.directions.shape[0]):
        direction, power = row(lights.directions, k), row(lights.intensities, k)
        cosine = dot(normal, direction)
        # Only the key light casts shadows; the others reach hollows less.
        lit = key_lit if k == 0 else HALF + HALF * ambient
        if cosine > -bleed[0]:
            r += power[0] * _wrapped(cosine, bleed[0]) * lit
            g += power[1] * _wrapped(cosine, bleed[1]) * lit
            b += power[2] * _wrapped(cosine, bleed[2]) * lit
        if cosine > 0:
            share = _highlight(surface, normal, direction) * (lit * ambient)
            glance = _moved(glance, power, share)
    return (
        max(albedo[0], ZERO) * r + glance[0],
        max(albedo[1], ZERO) * g + glance[1],
        max(albedo[2], ZERO) * b + glance[2],
    )


@inlined
def _uniform(buffer: ZBuffer, material: np.ndarray, m: Scalar, y: int, x: int) -> Scalar:
    """Return whether the 2 x 2 samples of a pixel lie on one smooth surface without fine detail."""
    if m in (LEFT_EYE, RIGHT_EYE):
        return False
    nearest, farthest = ZERO, np.float32(1e30)
    for j in range(y & ~1, (y & ~1) + 2):
        for i in range(x & ~1, (x & ~1) + 2):
            t = buffer.face[j, i]
            if t < 0 or material[t] != m:
                return False
            nearest = max(nearest, buffer.depth[j, i])
            farthest = min(farthest, buffer.depth[j, i])
    # Half a per cent of the distance is about 0.05 decimetres.
    return nearest - farthest < np.float32(0.005) * nearest


@inlined
def _unit(normal: Triple, m: Scalar) -> Triple:
    """Return a normal at length 1; open sheets show their backs."""
    unit = ONE / sqrt(dot(normal, normal) + np.float32(1e-12))
    if normal[2] < 0 and m >= STRANDS:
        unit = -unit
    return _scaled(normal, unit)


@compiled
def shade(target: Target, stage: Stage, first_occluder: int) -> None:
    """Shade a z-buffer into the images of ``target``.

    With ``first_occluder`` >= 0, the occluder's first triangle, only pixels on the occluder or in
    its shadow are written: the rest stays what an earlier pass without it, with -1, left there.
    """
    # Opened once: where tuples are opened or handed down twice, references to arrays are counted.
    buffer, light, label, shadow, canonical = target
    mesh, maps, look, lights, shadows, table = stage
    texels, key = np.float32(maps.detail.shape[1]), row(lights.directions, 0)
    for y in range(buffer.face.shape[0]):
        for x in range(buffer.face.shape[1]):
            t = buffer.face[y, x]
            if t < 0:
                continue
            m = mesh.material[t]
            if first_occluder < 0 and (x ^ y) & 1 and _uniform(buffer, mesh.material, m, y, x):
                # Inside a smooth surface the two samples of one diagonal are enough.
                from_y, from_x = (y - 1, x) if y & 1 else (y, x - 1)
                for k in range(3):
                    light[y, x, k] = light[from_y, from_x, k]
                label[y, x] = label[from_y, from_x]
                continue
            corners, w0, w1 = row(mesh.triangles, t), buffer.bary[y, x, 0], buffer.bary[y, x, 1]
            weights = (w0, w1, ONE - w0 - w1)
            normal = _unit(_mix_row(mesh.normals, corners, weights), m)
            # The key light's shadow: of the head, and separately of the occluder.
            head_lit, occluder_lit = ONE, ONE
            if lights.shadows:
                point = _mix_row(mesh.position, corners, weights)
                point = _seen_from_light(point, normal, key, shadows.to_light)
                if first_occluder >= 0:
                    occluder_lit = min(_lit(shadows.occluder, point), ONE)
                if t >= first_occluder or occluder_lit < ONE:
                    head_lit = _lit(shadows.head, point)
            if t < first_occluder:
                if occluder_lit >= ONE:
                    continue
                shadow[y, x] = head_lit * (ONE - occluder_lit)
            u, v = _mix(mesh.uv, corners, weights, 0), _mix(mesh.uv, corners, weights, 1)
            local = _mix(mesh.local, corners, weights, 0), _mix(mesh.local, corners, weights, 1)
            ambient = _mix(mesh.occlusion, corners, weights, 0)
            gloss, strand = table[m, GLOSS], ZERO
            if m == SKIN:
                albedo, gloss, strand, label[y, x] = _skin(maps, look, u, v, local[0])
            elif m in (LEFT_EYE, RIGHT_EYE):
                albedo, label[y, x] = _eyeball(look, row(table, m), local[0], local[1]), EYE
                # The upper lid and its lashes shade the ball.
                lid = ONE - np.float32(1.1) * min(max(local[1], ZERO), HALF)
                ambient = (np.float32(0.35) + np.float32(0.65) * ambient) * lid
            else:
                albedo, gloss, strand, label[y, x] = _sheet(maps, look, table, m, u, v)
            canonical[y, x, 0] = u / texels if m == SKIN else NAN
            canonical[y, x, 1] = v / texels if m == SKIN else NAN
            bleed, sharp = FLESH if m in (SKIN, HAND) else OPAQUE, table[m, SHARP] > 0
            sheen = SHEEN * strand * (ONE - HALF * look.strands.curl)
            surface = Surface(albedo, bleed, ambient, gloss, sharp, sheen)
            rgb = _reflected(lights, surface, normal, head_lit * occluder_lit)
            light[y, x, 0], light[y, x, 1], light[y, x, 2] = rgb
