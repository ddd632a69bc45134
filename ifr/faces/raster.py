"""Compiled kernels on triangle meshes, and what all kernels share: options, algebra on triples.

Everything is single-threaded float32 without fast-math, so that the bytes do not depend on the
process or on the number of cores. Numba's cache looks at the file of a kernel alone: a constant
that a kernel compiles in stands in the kernel's own file.
"""

from collections.abc import Callable
from math import ceil, floor, sqrt
from typing import Any, NamedTuple, TypeVar

import numba
import numpy as np

Kernel = TypeVar("Kernel", bound=Callable)
njit: Any = numba.njit
Scalar = Any  # inside a kernel: a float32 or an index
Triple = tuple[Scalar, Scalar, Scalar]
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}


def compiled(function: Kernel) -> Kernel:
    """Compile ``function`` with Numba, on disk where a cache folder is writable, else in memory."""
    try:
        return njit(cache=True, **OPTIONS)(function)
    except RuntimeError:  # neither the package folder nor the user's cache folder can be written
        return njit(**OPTIONS)(function)


def inlined(function: Kernel) -> Kernel:
    """Paste ``function`` into the kernels that call it: passing arrays costs reference counts."""
    return njit(inline="always", **OPTIONS)(function)


@inlined
def row(values: np.ndarray, i: Scalar) -> Triple:
    """Return the first three columns of a row."""
    return values[i, 0], values[i, 1], values[i, 2]


@inlined
def dot(a: Triple, b: Triple) -> Scalar:
    """Return the scalar product."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@inlined
def minus(a: Triple, b: Triple) -> Triple:
    """Return ``a - b``."""
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


class ZBuffer(NamedTuple):
    """What is nearest at each pixel of an image (H, W)."""

    depth: np.ndarray  # (H, W) float32, larger is nearer
    face: np.ndarray  # (H, W) int32 triangle, -1 for none
    bary: np.ndarray  # (H, W, 2) float32, weights of the triangle's first two corners


def z_buffer(size: int, far: float = -1e30) -> ZBuffer:
    """Return an empty square z-buffer."""
    depth, face = np.full((size, size), far, np.float32), np.full((size, size), -1, np.int32)
    return ZBuffer(depth, face, np.zeros((size, size, 2), np.float32))


@compiled
def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Return the area-weighted unit normals (V, 3) of a mesh."""
    out = np.zeros_like(vertices)
    for t in range(triangles.shape[0]):
        a, b, c = row(triangles, t)
        ux, uy, uz = minus(row(vertices, b), row(vertices, a))
        wx, wy, wz = minus(row(vertices, c), row(vertices, a))
        normal = uy * wz - uz * wy, uz * wx - ux * wz, ux * wy - uy * wx
        for k in (a, b, c):
            for axis in range(3):
                out[k, axis] += normal[axis]
    for i in range(out.shape[0]):
        length = sqrt(out[i, 0] ** 2 + out[i, 1] ** 2 + out[i, 2] ** 2) + np.float32(1e-12)
        for axis in range(3):
            out[i, axis] /= length
    return out


@compiled
def rasterise(
    points: np.ndarray, triangles: np.ndarray, buffer: ZBuffer, first: int, closed: int
) -> None:
    """Draw triangles from ``first`` on, of points in pixels and depth (V, 3), into a z-buffer."""
    # Pixel (i, j) is sampled at (j + 0.5, i + 0.5); before ``closed`` the backs are never seen.
    depth, face, bary = buffer
    height, width = depth.shape
    half, one = np.float32(0.5), np.float32(1)
    for t in range(first, triangles.shape[0]):
        a, b, c = row(triangles, t)
        (x0, y0, z0), (x1, y1, z1) = row(points, a), row(points, b)
        x2, y2, z2 = row(points, c)
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
        for y in range(top, bottom + 1):
            w0, w1 = row0, row1
            for x in range(left, right + 1):
                w2 = one - w0 - w1
                if w0 >= 0 and w1 >= 0 and w2 >= 0:
                    z = w0 * z0 + w1 * z1 + w2 * z2
                    if z > depth[y, x]:
                        depth[y, x], face[y, x] = z, t
                        bary[y, x, 0], bary[y, x, 1] = w0, w1
                w0 += step0x
                w1 += step1x
            row0 += step0y
            row1 += step1y
