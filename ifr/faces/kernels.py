"""What the compiled kernels share: Numba's options, and small algebra on triples of float32.

Everything is single-threaded float32 without fast-math, so that the bytes do not depend on the
process or on the number of cores. Numba's cache looks at the file of a kernel alone: a constant
that a kernel compiles in stands in the kernel's own file.
"""

from collections.abc import Callable
from typing import Any, TypeVar

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
