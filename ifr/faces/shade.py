"""The compiled shading kernel: skin, hair, eyes, cloth and occluders under a few lights."""

from math import floor, sqrt

import numpy as np

from ifr.faces.raster import compiled

# Rows of the material table and meaning of a triangle's material number.
SKIN, LEFT_EYE, RIGHT_EYE, UPPER_TEETH, LOWER_TEETH, TONGUE, STRANDS, BRIM = range(8)
FRAME, LENS, FABRIC, HAND = range(8, 12)
MATERIALS = 12
# Columns of the material table.
RED, GREEN, BLUE, GLOSS, SHARP, PATTERN = range(6)

PARTS = (
    *("background", "skin", "brow", "eye", "nose", "mouth", "ear", "neck"),
    *("hair", "hat", "clothing", "occluder"),
)
MOUTH, EYE, EAR, HAIR, HAT, CLOTHING, OCCLUDER = (
    np.uint8(PARTS.index(name)) for name in ("mouth", "eye", "ear", "hair", "hat", "clothing", "occluder")
)

# Places in the vector of scalars that one shot hands to the kernel.
SCALARS = (
    *("gloss", "hair_soft", "hair_density", "hair_ragged", "hair_streak", "hair_u", "hair_v"),
    *("iris_radius", "gaze_x", "gaze_y", "shadows", "hat", "bias"),
)
# Rows of the colours that one shot hands to the kernel.
COLOURS = ("hair", "hat", "cloth", "iris", "sky", "ground")


@compiled
def _lookup(image, u, v):
    """Return the four bilinear values of a (S, S, 4) image at texel (u, v), clamped at its border."""
    last = np.float32(image.shape[0] - 1.001)
    u = min(max(u - np.float32(0.5), np.float32(0)), last)
    v = min(max(v - np.float32(0.5), np.float32(0)), last)
    i, j = int(u), int(v)
    fu, fv = u - np.float32(i), v - np.float32(j)
    d = fu * fv
    b, c = fu - d, fv - d
    a = np.float32(1) - fu - c
    p, q, r, s = image[j, i], image[j, i + 1], image[j + 1, i], image[j + 1, i + 1]
    return (
        a * p[0] + b * q[0] + c * r[0] + d * s[0],
        a * p[1] + b * q[1] + c * r[1] + d * s[1],
        a * p[2] + b * q[2] + c * r[2] + d * s[2],
        a * p[3] + b * q[3] + c * r[3] + d * s[3],
    )


@compiled
def _lit(depth, x, y, z, slack):
    """Return the share (0..1) of a 2 x 2 neighbourhood of the shadow map that the light reaches."""
    size = depth.shape[0]
    x -= np.float32(0.5)
    y -= np.float32(0.5)
    i, j = int(floor(x)), int(floor(y))
    fx, fy = x - np.float32(i), y - np.float32(j)
    share = np.float32(0)
    for dj in range(2):
        for di in range(2):
            column = min(max(i + di, 0), size - 1)
            row = min(max(j + dj, 0), size - 1)
            if depth[row, column] < z + slack:
                share += (fx if di == 1 else np.float32(1) - fx) * (fy if dj == 1 else np.float32(1) - fy)
    return share


@compiled
def shade(
    face,
    bary,
    triangles,
    material,
    normals,
    uv,
    local,
    occlusion,
    position,
    texture,
    region,
    detail,
    curves,
    scalars,
    colours,
    table,
    directions,
    intensities,
    to_light,
    depth,
    occluder_depth,
    first_occluder,
    out,
    label,
    shadow,
    canonical,
):
    """Shade every pixel of a z-buffer into ``out`` (H, W, 3) linear light and ``label`` (H, W).

    With ``first_occluder`` >= 0 only pixels on an occluder or in its shadow are written, so the
    rest stays what an earlier pass without the occluder left there. ``curves`` holds, per
    canonical column, the lower ends of hair and hat and the upper end of clothing; ``local`` is the
    place on an eyeball in radii or, on skin, how far out on an ear (0..1) a vertex lies. ``shadow``
    receives the share of the key light that the occluder takes away, ``canonical`` (H, W, 2) the
    canonical coordinates of skin.
    """
    one, zero, half = np.float32(1), np.float32(0), np.float32(0.5)
    gloss, soft, density, ragged = scalars[0], scalars[1], scalars[2], scalars[3]
    streak, hair_u, hair_v, iris_radius = scalars[4], scalars[5], scalars[6], scalars[7]
    gaze_x, gaze_y, shadows, hat, bias = scalars[8], scalars[9], scalars[10], scalars[11], scalars[12]
    wide = detail.shape[1]
    for y in range(face.shape[0]):
        for x in range(face.shape[1]):
            t = face[y, x]
            if t < 0:
                continue
            a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            w0, w1 = bary[y, x, 0], bary[y, x, 1]
            w2 = one - w0 - w1
            m = material[t]
            nx = w0 * normals[a, 0] + w1 * normals[b, 0] + w2 * normals[c, 0]
            ny = w0 * normals[a, 1] + w1 * normals[b, 1] + w2 * normals[c, 1]
            nz = w0 * normals[a, 2] + w1 * normals[b, 2] + w2 * normals[c, 2]
            length = one / sqrt(nx * nx + ny * ny + nz * nz + np.float32(1e-12))
            if nz < 0 and m >= STRANDS:
                length = -length  # open sheets show their backs
            nx, ny, nz = nx * length, ny * length, nz * length

            # The key light's shadow: of the head, and separately of the occluder.
            head_lit, occluder_lit = one, one
            if shadows > 0:
                lift = np.float32(0.03)
                px = w0 * position[a, 0] + w1 * position[b, 0] + w2 * position[c, 0] + lift * nx
                py = w0 * position[a, 1] + w1 * position[b, 1] + w2 * position[c, 1] + lift * ny
                pz = w0 * position[a, 2] + w1 * position[b, 2] + w2 * position[c, 2] + lift * nz
                lx = to_light[0, 0] * px + to_light[0, 1] * py + to_light[0, 2] * pz + to_light[0, 3]
                ly = to_light[1, 0] * px + to_light[1, 1] * py + to_light[1, 2] * pz + to_light[1, 3]
                lz = to_light[2, 0] * px + to_light[2, 1] * py + to_light[2, 2] * pz
                facing = nx * directions[0, 0] + ny * directions[0, 1] + nz * directions[0, 2]
                slack = bias + np.float32(0.05) * (one - max(facing, zero))
                if first_occluder >= 0:
                    occluder_lit = _lit(occluder_depth, lx, ly, lz, slack)
                    if t < first_occluder and occluder_lit >= one:
                        continue
                head_lit = _lit(depth, lx, ly, lz, slack)
            elif t < first_occluder:
                continue
            shadow[y, x] = head_lit * (one - min(occluder_lit, one)) if t < first_occluder else zero

            # Surface: albedo, gloss, how far light bleeds round the terminator, part label.
            ambient = w0 * occlusion[a] + w1 * occlusion[b] + w2 * occlusion[c]
            bleed_r, bleed_g, bleed_b, strand = zero, zero, zero, zero
            sharp = table[m, SHARP] > 0
            if m == SKIN:
                u = w0 * uv[a, 0] + w1 * uv[b, 0] + w2 * uv[c, 0]
                v = w0 * uv[a, 1] + w1 * uv[b, 1] + w2 * uv[c, 1]
                column = min(max(u, zero), np.float32(wide - 1))
                i, j = int(column), int(min(max(v, zero), np.float32(wide - 1)))
                r, g, bl, oil = _lookup(texture, u, v)
                canonical[y, x, 0] = u / np.float32(wide)
                canonical[y, x, 1] = v / np.float32(wide)
                pores = detail[2, (3 * j) % wide, (3 * i) % wide]
                specular = gloss * oil * (one + np.float32(0.25) * pores)
                bleed_r, bleed_g, bleed_b = np.float32(0.36), np.float32(0.2), np.float32(0.14)
                part = region[j, i]
                if v > curves[2, i]:
                    r, g, bl = colours[2, 0], colours[2, 1], colours[2, 2]
                    weave = one + np.float32(0.08) * pores
                    r, g, bl, specular, part = r * weave, g * weave, bl * weave, zero, CLOTHING
                else:
                    # Hair is a ragged edge along its line: no mask is ever painted for it.
                    hi, hj = int(column + hair_u) % wide, int(v + hair_v) % wide
                    edge = (curves[0, i] - v + ragged * detail[0, hj, hi]) / soft + half
                    ear = w0 * local[a, 0] + w1 * local[b, 0] + w2 * local[c, 0]
                    if ear > np.float32(0.25):
                        part = EAR
                    bare = min(max(np.float32(1.5) - np.float32(4) * ear, zero), one)
                    cover = min(max(edge, zero), one) * density * bare
                    if cover > 0:
                        tone = one + streak * detail[1, hj, hi]
                        # Roots and the rim of the hair lie deeper and darker.
                        tone *= np.float32(0.72) + np.float32(0.28) * min(max(edge * half, zero), one)
                        r += cover * (colours[0, 0] * tone - r)
                        g += cover * (colours[0, 1] * tone - g)
                        bl += cover * (colours[0, 2] * tone - bl)
                        specular *= one - np.float32(0.9) * cover
                        strand = cover
                        if cover > half:
                            part = HAIR
                    if hat > 0 and v < curves[1, i]:
                        rib = one + np.float32(0.10) * detail[1, hj, hi]
                        if curves[1, i] - v < 11:
                            rib *= np.float32(0.88)  # the turned-up band
                        r, g, bl = colours[1, 0] * rib, colours[1, 1] * rib, colours[1, 2] * rib
                        specular, strand, part = zero, zero, HAT
            elif m == LEFT_EYE or m == RIGHT_EYE:
                ex = w0 * local[a, 0] + w1 * local[b, 0] + w2 * local[c, 0]
                ey = w0 * local[a, 1] + w1 * local[b, 1] + w2 * local[c, 1]
                dx, dy = ex - gaze_x, ey - gaze_y
                radius = sqrt(dx * dx + dy * dy)
                if radius < np.float32(0.2):
                    r, g, bl = np.float32(0.006), np.float32(0.006), np.float32(0.006)
                elif radius < iris_radius:
                    q = np.float32(0.85) - np.float32(0.5) * dy
                    if radius > np.float32(0.84) * iris_radius:
                        q = np.float32(0.4)  # the dark limbal ring
                    r, g, bl = colours[3, 0] * q, colours[3, 1] * q, colours[3, 2] * q
                else:
                    r, g, bl = table[m, RED], table[m, GREEN], table[m, BLUE]
                # The upper lid and its lashes shade the ball.
                lid = one - np.float32(1.1) * min(max(ey, zero), half)
                ambient = (np.float32(0.35) + np.float32(0.65) * ambient) * lid
                specular, part = table[m, GLOSS], EYE
            else:
                r, g, bl = table[m, RED], table[m, GREEN], table[m, BLUE]
                specular, part = table[m, GLOSS], OCCLUDER
                canonical[y, x, 0] = canonical[y, x, 1] = np.float32(np.nan)
                if m <= TONGUE:
                    part = MOUTH
                elif m == BRIM:
                    part = HAT
                u = w0 * uv[a, 0] + w1 * uv[b, 0] + w2 * uv[c, 0]
                v = w0 * uv[a, 1] + w1 * uv[b, 1] + w2 * uv[c, 1]
                tone = one + table[m, PATTERN] * detail[1, int(abs(v)) % wide, int(abs(u)) % wide]
                if m == STRANDS:
                    r, g, bl = colours[0, 0], colours[0, 1], colours[0, 2]
                    tone = one + streak * detail[1, int(abs(v)) % wide, int(abs(u)) % wide]
                    strand, part = one, HAIR
                elif m == HAND:
                    bleed_r, bleed_g, bleed_b = np.float32(0.3), np.float32(0.18), np.float32(0.12)
                r, g, bl = r * tone, g * tone, bl * tone

            up = half + half * ny
            sum_r = (colours[5, 0] + (colours[4, 0] - colours[5, 0]) * up) * ambient
            sum_g = (colours[5, 1] + (colours[4, 1] - colours[5, 1]) * up) * ambient
            sum_b = (colours[5, 2] + (colours[4, 2] - colours[5, 2]) * up) * ambient
            gloss_r, gloss_g, gloss_b = zero, zero, zero
            for k in range(directions.shape[0]):
                dx, dy, dz = directions[k, 0], directions[k, 1], directions[k, 2]
                cosine = nx * dx + ny * dy + nz * dz
                if cosine < -bleed_r:
                    continue
                lit = head_lit * occluder_lit if k == 0 else half + half * ambient
                sum_r += intensities[k, 0] * max(zero, (cosine + bleed_r) / (one + bleed_r)) * lit
                sum_g += intensities[k, 1] * max(zero, (cosine + bleed_g) / (one + bleed_g)) * lit
                sum_b += intensities[k, 2] * max(zero, (cosine + bleed_b) / (one + bleed_b)) * lit
                if cosine <= 0:
                    continue
                hx, hy, hz = dx, dy, dz + one  # half way to the camera
                inverse = one / sqrt(hx * hx + hy * hy + hz * hz)
                if strand > 0:
                    # Kajiya-Kay: strands run down the head and shine across their direction.
                    along = (hy - ny * (nx * hx + ny * hy + nz * hz)) * inverse
                    q = one - along * along
                    q *= q
                    q *= q
                    q = q * q * np.float32(0.035) * strand
                else:
                    q = zero
                h = (nx * hx + ny * hy + nz * hz) * inverse
                if h > 0 and specular > 0:
                    h *= h
                    h *= h
                    h *= h  # ^8
                    if sharp:
                        h *= h
                        h *= h
                        h *= h  # ^64
                        q += specular * h
                    else:
                        q += specular * (np.float32(0.3) * h + np.float32(0.7) * h * h * h)
                q *= lit * ambient
                gloss_r += q * intensities[k, 0]
                gloss_g += q * intensities[k, 1]
                gloss_b += q * intensities[k, 2]
            out[y, x, 0] = max(r, zero) * sum_r + gloss_r
            out[y, x, 1] = max(g, zero) * sum_g + gloss_g
            out[y, x, 2] = max(bl, zero) * sum_b + gloss_b
            label[y, x] = part
