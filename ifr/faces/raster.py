"""Compiled kernels on triangle meshes: z-buffer, vertex normals, blends of shape vectors.

Everything is single-threaded float32 without fast-math, so that the bytes do not depend on the
process or on the number of cores.
"""

from math import ceil, floor, sqrt

import numba
import numpy as np


def compiled(function):
    """Compile ``function`` with Numba, on disk where a cache folder is writable, else in memory."""
    options = {"nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither the package folder nor the user's cache folder can be written
        return numba.njit(**options)(function)


def inlined(function):
    """Paste ``function`` into the kernels that call it: passing arrays costs reference counts."""
    return numba.njit(inline="always", error_model="numpy")(function)


@compiled
def blend(out, basis, scale, weights):
    """Add ``sum_k weights[k] * scale[k] * basis[k]`` to ``out``, skipping zero weights.

    Args:
        out: (V, 3) float32, changed in place.
        basis: (K, V, 3) int16 quantised displacement vectors.
        scale: (K,) float32, the size of one quantum.
        weights: (K,) float32.
    """
    for k in range(weights.shape[0]):
        factor = np.float32(weights[k] * scale[k])
        if factor == 0:
            continue
        for i in range(out.shape[0]):
            out[i, 0] += factor * np.float32(basis[k, i, 0])
            out[i, 1] += factor * np.float32(basis[k, i, 1])
            out[i, 2] += factor * np.float32(basis[k, i, 2])


@compiled
def vertex_normals(vertices, triangles, out):
    """Write the area-weighted unit normals of a mesh to ``out`` (V, 3)."""
    out[:] = 0
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ux = vertices[b, 0] - vertices[a, 0]
        uy = vertices[b, 1] - vertices[a, 1]
        uz = vertices[b, 2] - vertices[a, 2]
        wx = vertices[c, 0] - vertices[a, 0]
        wy = vertices[c, 1] - vertices[a, 1]
        wz = vertices[c, 2] - vertices[a, 2]
        nx = uy * wz - uz * wy
        ny = uz * wx - ux * wz
        nz = ux * wy - uy * wx
        for k in (a, b, c):
            out[k, 0] += nx
            out[k, 1] += ny
            out[k, 2] += nz
    for i in range(out.shape[0]):
        length = sqrt(out[i, 0] ** 2 + out[i, 1] ** 2 + out[i, 2] ** 2) + np.float32(1e-12)
        out[i, 0] /= length
        out[i, 1] /= length
        out[i, 2] /= length


@compiled
def rasterise(points, triangles, first, closed, depth, face, bary):
    """Draw triangles into a z-buffer; pixel (i, j) is sampled at its centre (j + 0.5, i + 0.5).

    The buffers are not cleared, so further meshes can be drawn over earlier ones.

    Args:
        points: (V, 3) float32: x, y (down) in pixels, and depth, larger is nearer.
        triangles: (T, 3) int32; triangles before ``first`` are left out.
        closed: the triangles before this index have a hidden inside: their backs are skipped.
        depth: (H, W) float32 buffer, changed where a triangle is nearer.
        face: (H, W) int32 buffer of triangle indices.
        bary: (H, W, 2) float32 buffer, the weights of the first two corners.
    """
    height, width = depth.shape
    half = np.float32(0.5)
    one = np.float32(1)
    for t in range(first, triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        x0, y0 = points[a, 0], points[a, 1]
        x1, y1 = points[b, 0], points[b, 1]
        x2, y2 = points[c, 0], points[c, 1]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area == 0 or (t < closed and area > 0):
            continue
        left = max(0, ceil(min(x0, x1, x2) - half))
        right = min(width - 1, floor(max(x0, x1, x2) - half))
        top = max(0, ceil(min(y0, y1, y2) - half))
        bottom = min(height - 1, floor(max(y0, y1, y2) - half))
        if left > right or top > bottom:
            continue
        inverse = one / area
        # The barycentric weights are linear in x and y: they are stepped, not recomputed.
        step0x, step0y = (y1 - y2) * inverse, (x2 - x1) * inverse
        step1x, step1y = (y2 - y0) * inverse, (x0 - x2) * inverse
        px, py = np.float32(left) + half, np.float32(top) + half
        row0 = ((x1 - px) * (y2 - py) - (x2 - px) * (y1 - py)) * inverse
        row1 = ((x2 - px) * (y0 - py) - (x0 - px) * (y2 - py)) * inverse
        za, zb, zc = points[a, 2], points[b, 2], points[c, 2]
        for y in range(top, bottom + 1):
            w0, w1 = row0, row1
            for x in range(left, right + 1):
                w2 = one - w0 - w1
                if w0 >= 0 and w1 >= 0 and w2 >= 0:
                    z = w0 * za + w1 * zb + w2 * zc
                    if z > depth[y, x]:
                        depth[y, x] = z
                        face[y, x] = t
                        bary[y, x, 0] = w0
                        bary[y, x, 1] = w1
                w0 += step0x
                w1 += step1x
            row0 += step0y
            row1 += step1y
