"""The compiled shading kernel: skin, hair, eyes, cloth and occluders under a few lights."""

from math import floor, sqrt

import numpy as np

from ifr.faces.raster import Scalar, Triple, ZBuffer, compiled, dot, inlined, minus, row
from ifr.faces.shading_data import Lights, Look, Maps, Stage, Strands, Target

# A triangle's material, and its row in the material table.
SKIN, LEFT_EYE, RIGHT_EYE, UPPER_TEETH, LOWER_TEETH, TONGUE, STRANDS, BRIM = range(8)
FRAME, LENS, FABRIC, HAND, MATERIALS = range(8, 13)
# Columns of the material table after the albedo; CLEAR: the share of what lies behind that shows.
GLOSS, SHARP, PATTERN, CLEAR = range(3, 7)
EDGES, FIBRES, PORES, LUMPS, CURLS, LOOSE = range(6)  # the fixed patterns of Maps.detail
# Columns of ``Look.eyes``: where the pupil is; middle and inverse half width of the lids' slit;
# height and slope of the line between its corners; how far each lid bulges from that line.
PUPIL_X, PUPIL_Y, SLIT_X, SLIT_INVERSE, CORNERS_Y, CORNERS_SLOPE, UPPER_LID, LOWER_LID = range(8)
OF_HAIR, OF_HAT, OF_CLOTHING = range(3)  # rows of Look.colours and Maps.curves

PARTS: tuple[str, ...] = ("background", "skin", "brow", "eye", "nose", "mouth", "ear", "neck")
PARTS += ("hair", "hat", "clothing", "occluder")
_, _, _, EYE, _, MOUTH, EAR, _, HAIR, HAT, CLOTHING, OCCLUDER = map(np.uint8, range(len(PARTS)))

ZERO, HALF, ONE, NAN = (np.float32(value) for value in (0, 0.5, 1, np.nan))
Coat = tuple[Triple, Scalar, Scalar, Scalar]  # albedo, gloss, share of strands, part
Surface = tuple[Triple, Triple, Scalar]  # albedo, bleed by colour, share of the sky seen
Shine = tuple[Scalar, Scalar, Scalar]  # gloss; whether highlights are sharp; sheen of strands
# How far red, green and blue light bleed round the terminator: most in flesh, and most the red.
FLESH = (np.float32(0.32), np.float32(0.22), np.float32(0.18))
WOOL = (np.float32(0.4), np.float32(0.4), np.float32(0.4))
OPAQUE = (ZERO, ZERO, ZERO)
SOFTENED = np.float32(0.75)  # texels of the shadow map
STRAY = np.float32(26)  # texels below the hairline that loose strands reach
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
    u, v = min(max(u - HALF, ZERO), last), min(max(v - HALF, ZERO), last)
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
def _seen_from_light(
    point: Triple, normal: Triple, key: Triple, to_light: np.ndarray, x: int
) -> Triple:
    """Return a surface point in pixels and depth of the shadow maps, lifted off the surface."""
    aside = SOFTENED if x & 1 else -SOFTENED  # to either side in turn, which softens shadows
    point = _moved(point, normal, np.float32(0.035))
    # Slanting surfaces need more slack against shadowing themselves.
    slack = np.float32(0.03) + np.float32(0.05) * (ONE - max(dot(normal, key), ZERO))
    across = dot(row(to_light, 0), point) + to_light[0, 3] + aside
    down = dot(row(to_light, 1), point) + to_light[1, 3] + aside * HALF
    return across, down, dot(row(to_light, 2), point) + slack


@inlined
def _fibre(detail: np.ndarray, strands: Strands, u: Scalar, v: Scalar) -> Scalar:
    """Return the tone of hair at a texel: strands, or curls."""
    wrap = detail.shape[1] - 1
    i, j = int(u) & wrap, int(v) & wrap
    straight, curly = detail[FIBRES, j, i], detail[CURLS, j, i]
    return ONE + strands.streak * (straight + strands.curl * (curly - straight))


@inlined
def _hair(detail: np.ndarray, strands: Strands, u: Scalar, v: Scalar, above: Scalar) -> Triple:
    """Return how far hair covers a texel ``above`` texels over the hairline, its tone and depth."""
    wrap = detail.shape[1] - 1
    side = u - strands.part
    lean = strands.lean_right if side > 0 else strands.lean_left
    u, v = u + strands.offset_u + lean * v, v + strands.offset_v
    i, j, share = int(u) & wrap, int(v) & wrap, u - np.float32(floor(u))
    near, next_one = detail[EDGES, j, i], detail[EDGES, j, (i + 1) & wrap]
    # Strands end unevenly along the line, so no mask is ever painted for it.
    edge = (above + strands.ragged * (near + share * (next_one - near))) / strands.softness + HALF
    tone = _fibre(detail, strands, u, v)
    cover = _clip(edge + np.float32(0.3) * detail[FIBRES, j, i]) if edge > 0 else ZERO
    if edge > ONE:  # the scalp shows along a parting
        cover -= strands.gap * _clip(ONE - np.float32(0.8) * abs(side))
    elif strands.loose > 0:
        fade = _clip((above + STRAY) / STRAY) * strands.loose
        cover = max(cover, fade * detail[LOOSE, j, i])
    return cover * strands.density, tone, edge


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
    if look.has_hat and v < curves[OF_HAT, i]:
        hi, hj = int(column + strands.offset_u), int(v + strands.offset_v)
        rib = ONE + np.float32(0.1) * detail[FIBRES, hj & (wide - 1), hi & (wide - 1)]
        if curves[OF_HAT, i] - v < 11:
            rib *= np.float32(0.88)  # the turned-up band
        return _scaled(row(look.colours, OF_HAT), rib), ZERO, ZERO, HAT
    albedo, oil = _lookup(maps.texture, u, v)
    specular = SKIN_GLOSS * oil * (ONE + np.float32(0.3) * pores)
    part, cover = EAR if ear > np.float32(0.25) else maps.region[j, i], ZERO
    right, share = min(i + 1, wide - 1), column - np.float32(i)
    above = curves[OF_HAIR, i] + share * (curves[OF_HAIR, right] - curves[OF_HAIR, i]) - v
    if above > -STRAY:
        cover, tone, edge = _hair(detail, strands, column, v, above)
        cover *= _clip(np.float32(1.5) - np.float32(4) * ear)  # ears stay bare
    if cover > 0:
        # Roots and the rim of the hair lie deeper and darker.
        tone *= np.float32(0.78) + np.float32(0.22) * _clip(edge * HALF)
        hair = _scaled(row(look.colours, OF_HAIR), tone)
        albedo = _moved(albedo, minus(hair, albedo), cover)
        specular *= ONE - np.float32(0.9) * cover
        part = HAIR if cover > HALF else part
    return albedo, specular, cover, part


@inlined
def _eyeball(look: Look, white: Triple, eye: int, x: Scalar, y: Scalar) -> tuple[Triple, Scalar]:
    """Return the albedo of an eye, pupil, iris and white, and the light that its lids leave it."""
    eyes = look.eyes
    aside = x - eyes[eye, SLIT_X]
    q = aside * eyes[eye, SLIT_INVERSE]
    bulge = max(ONE - q * q, ZERO)
    line = eyes[eye, CORNERS_Y] + eyes[eye, CORNERS_SLOPE] * aside
    under = line + eyes[eye, UPPER_LID] * bulge - y
    over = y - line + eyes[eye, LOWER_LID] * bulge
    # The upper lid and its lashes shade the ball, the corners lie deep.
    shade = np.float32(0.4) + np.float32(0.6) * _clip(under * np.float32(3.6))
    shade *= np.float32(0.75) + np.float32(0.25) * _clip(over * np.float32(6))
    shade *= np.float32(0.55) + np.float32(0.45) * _clip(bulge * np.float32(2.5))
    dx, dy = x - eyes[eye, PUPIL_X], y - eyes[eye, PUPIL_Y]
    radius = sqrt(dx * dx + dy * dy)
    if radius < np.float32(0.2):
        return PUPIL, shade
    if radius < look.iris_radius:
        ring = radius > np.float32(0.84) * look.iris_radius
        # Light from above crosses the iris and brightens it below.
        tone = np.float32(0.45) if ring else np.float32(0.9) - np.float32(0.8) * dy
        return _scaled((look.iris[0], look.iris[1], look.iris[2]), tone), shade
    # Blood shows towards the corners.
    pink = HALF * q * q
    pale = ONE - np.float32(0.5) * pink
    return (white[0] * (ONE - np.float32(0.15) * pink), white[1] * pale, white[2] * pale), shade


@inlined
def _catchlight(look: Look, lights: Lights, normal: Triple) -> Scalar:
    """Return the mirror image of the key light in an eye."""
    dx, dy = normal[0] - look.catch[0], normal[1] - look.catch[1]
    near = ONE - (dx * dx + dy * dy) / (look.catch[2] * look.catch[2])
    return np.float32(0.6) * _clip(np.float32(2) * near) * lights.intensities[0, 1]


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
def _highlight(shine: Shine, normal: Triple, light: Triple) -> Scalar:
    """Return the share of a light that glances off towards the camera."""
    gloss, sharp, sheen = shine
    half = light[0], light[1], light[2] + ONE  # half way between light and camera
    inverse = ONE / sqrt(dot(half, half))
    cosine = dot(normal, half) * inverse
    share = ZERO
    if sheen > 0:
        # Kajiya and Kay: strands run down the head and shine across their direction.
        along = half[1] * inverse - normal[1] * cosine
        share = (ONE - along * along) ** 8 * sheen
    if cosine > 0 and gloss > 0:
        power = cosine**8
        broad = np.float32(0.3) * power + np.float32(0.7) * power * power * power
        share += gloss * (power**8 if sharp else broad)
    return share


@inlined
def _reflected(
    lights: Lights, surface: Surface, shine: Shine, normal: Triple, lit: Scalar
) -> Triple:
    """Return what a surface sends to the camera, ``lit`` a share by the key light."""
    albedo, bleed, ambient = surface
    sky, ground = row(lights.ambient, 0), row(lights.ambient, 1)
    received = _moved(ground, minus(sky, ground), HALF + HALF * normal[1])
    r, g, b = _scaled(received, ambient)
    glance = OPAQUE
    for k in range(lights.directions.shape[0]):
        direction, power = row(lights.directions, k), row(lights.intensities, k)
        cosine = dot(normal, direction)
        if k:  # only the key light casts shadows
            lit = HALF + HALF * ambient
        if cosine > -bleed[0]:  # bled round the terminator
            r += power[0] * max(ZERO, (cosine + bleed[0]) / (ONE + bleed[0])) * lit
            g += power[1] * max(ZERO, (cosine + bleed[1]) / (ONE + bleed[1])) * lit
            b += power[2] * max(ZERO, (cosine + bleed[2]) / (ONE + bleed[2])) * lit
        if cosine > 0:
            # Highlights fade towards the terminator.
            share = lit * min(np.float32(4) * cosine, ONE)
            share = _highlight(shine, normal, direction) * (share * ambient)
            glance = _moved(glance, power, share)
    red, green, blue = max(albedo[0], ZERO), max(albedo[1], ZERO), max(albedo[2], ZERO)
    return red * r + glance[0], green * g + glance[1], blue * b + glance[2]


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
def _repeat(light: np.ndarray, label: np.ndarray, y: int, x: int) -> None:
    """Copy a sample's neighbour: inside a smooth surface, one diagonal of a pixel is enough."""
    j, i = (y - 1, x) if y & 1 else (y, x - 1)
    label[y, x] = label[j, i]
    for k in range(3):
        light[y, x, k] = light[j, i, k]


@inlined
def _unit(normal: Triple, m: Scalar) -> Triple:
    """Return a normal at length 1; open sheets show their backs."""
    unit = ONE / sqrt(dot(normal, normal) + np.float32(1e-12))
    return _scaled(normal, -unit if normal[2] < 0 and m >= STRANDS else unit)


@compiled
def shade(target: Target, stage: Stage, first_occluder: int) -> None:
    """Shade a z-buffer into the images of ``target``.

    With ``first_occluder`` >= 0, the occluder's first triangle, only pixels on the occluder or in
    its shadow are written: the rest stays what an earlier pass without it, with -1, left there.
    """
    # Opened once: where tuples are opened or handed down twice, references to arrays are counted.
    buffer, light, label, shadow, canonical = target
    mesh, maps, look, lights, to_light, head_depth, occluder_depth, table = stage
    key, texels = row(lights.directions, 0), np.float32(maps.detail.shape[1])
    for y in range(buffer.face.shape[0]):
        for x in range(buffer.face.shape[1]):
            t = buffer.face[y, x]
            if t < 0:
                continue
            m = mesh.material[t]
            if first_occluder < 0 and (x ^ y) & 1 and _uniform(buffer, mesh.material, m, y, x):
                _repeat(light, label, y, x)
                continue
            corners, w0, w1 = row(mesh.triangles, t), buffer.bary[y, x, 0], buffer.bary[y, x, 1]
            weights = (w0, w1, ONE - w0 - w1)
            normal = _unit(_mix_row(mesh.normals, corners, weights), m)
            head_lit, occluder_lit = ONE, ONE
            if lights.shadows:  # of the key light: the head's, and separately the occluder's
                point = _mix_row(mesh.position, corners, weights)
                point = _seen_from_light(point, normal, key, to_light, x)
                if first_occluder >= 0:
                    occluder_lit = min(_lit(occluder_depth, point), ONE)
                if t >= first_occluder or occluder_lit < ONE:
                    head_lit = _lit(head_depth, point)
            if t < first_occluder:
                if occluder_lit >= ONE:
                    continue
                shadow[y, x] = head_lit * (ONE - occluder_lit)
            u, v = _mix(mesh.uv, corners, weights, 0), _mix(mesh.uv, corners, weights, 1)
            local = _mix(mesh.local, corners, weights, 0), _mix(mesh.local, corners, weights, 1)
            ambient = _mix(mesh.occlusion, corners, weights, 0)
            glint = ZERO
            if m == SKIN:
                albedo, gloss, strand, label[y, x] = _skin(maps, look, u, v, local[0])
            elif m in (LEFT_EYE, RIGHT_EYE):
                albedo, ambient = _eyeball(look, row(table, m), m - LEFT_EYE, local[0], local[1])
                gloss, strand, label[y, x] = table[m, GLOSS], ZERO, EYE
                head_lit *= ambient
                glint = _catchlight(look, lights, normal) * head_lit * occluder_lit
            else:
                albedo, gloss, strand, label[y, x] = _sheet(maps, look, table, m, u, v)
            if canonical.shape[0]:
                scale = ONE / texels if m == SKIN and label[y, x] < HAIR else NAN
                canonical[y, x, 0], canonical[y, x, 1] = u * scale, v * scale
            bleed = FLESH if m in (SKIN, HAND) else OPAQUE
            if strand > HALF:  # light goes through hair
                bleed, head_lit = WOOL, HALF + HALF * head_lit
            shine = gloss, table[m, SHARP] > 0, SHEEN * strand * (ONE - HALF * look.strands.curl)
            surface, lit = (albedo, bleed, ambient), head_lit * occluder_lit
            rgb = _reflected(lights, surface, shine, normal, lit)
            for k in range(3):  # behind clear things an earlier pass has left what shows through
                seen = rgb[k] + glint
                light[y, x, k] = seen + table[m, CLEAR] * (light[y, x, k] - seen)
