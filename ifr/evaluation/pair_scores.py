"""Millions of template pairs: cosines in bounded memory, on all cores, and how long that takes."""

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np

from ifr.evaluation.metrics import normalised, tars_at_fars

CHUNK = 65_536  # pairs a thread takes at once
FARS_AT_SCALE = (1e-2, 1e-3, 1e-4, 1e-5)
COMPARISONS, GENUINE, TEMPLATES = 15_658_489, 19_557, 23_124  # of IJB-C, 1:1


def fast(function):
    """Compile with Numba, letting sums be vectorised; on disk where a cache can be written.

    The order of a sum, hence the last bit of it, may differ from one kind of processor to another.
    """
    options = {"nogil": True, "error_model": "numpy", "fastmath": True}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither the package folder nor the user's cache folder can be written
        return numba.njit(**options)(function)


@fast
def _dots(unit, pairs, out):
    for i in range(len(pairs)):
        a, b = pairs[i, 0], pairs[i, 1]
        total = np.float32(0)
        for k in range(unit.shape[1]):
            total += unit[a, k] * unit[b, k]
        out[i] = total


def check_pairs(pairs: np.ndarray, count: int) -> None:
    """Raise ValueError unless pairs are (P, 2) integers from 0 to ``count`` less one."""
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iu":
        raise ValueError(f"pairs must be (P, 2) integers, got {pairs.shape} {pairs.dtype}")
    if len(pairs) and (pairs.min() < 0 or pairs.max() >= count):
        raise ValueError(
            f"pairs must name rows 0 to {count - 1}, got {pairs.min()} to {pairs.max()}"
        )


def in_threads(kernel, pairs: np.ndarray, *, threads: int | None = None) -> np.ndarray:
    """Fill a score for each pair, chunk by chunk on all cores.

    Args:
        kernel: called with (chunk, 2) pairs and the (chunk,) float32 to fill; frees the
            interpreter lock.
        pairs: (P, 2).
        threads: how many; None for one a core this process may use, or ``OMP_NUM_THREADS``.

    Returns:
        (P,) float32, the same for any number of threads.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = threads or int(os.environ.get("OMP_NUM_THREADS") or allowed or 1)
    out = np.empty(len(pairs), np.float32)
    step = min(CHUNK, max(1, -(-len(pairs) // threads)))
    with ThreadPoolExecutor(threads) as pool:
        jobs = [
            pool.submit(kernel, pairs[first : first + step], out[first : first + step])
            for first in range(0, len(pairs), step)
        ]
        for job in jobs:
            job.result()
    return out


def score_pairs(unit: np.ndarray, pairs: np.ndarray, *, threads: int | None = None) -> np.ndarray:
    """Return the inner product of each pair of rows, their cosine when rows have unit length.

    Nothing but the result is allocated: the rows of a pair are read where they lie.

    Args:
        unit: (T, K), such as template features; float32 is read in place.
        pairs: (P, 2) integer rows.
        threads: how many; None for one a core.

    Returns:
        (P,) float32.

    Raises:
        ValueError: for other shapes, rows that do not exist, or features that are not finite.
    """
    unit, pairs = np.ascontiguousarray(unit, np.float32), np.ascontiguousarray(pairs)
    if unit.ndim != 2:
        raise ValueError(f"features must be (T, K), got {unit.shape}")
    check_pairs(pairs, len(unit))
    broken = np.flatnonzero(~np.isfinite(unit).all(axis=1))
    if len(broken):
        raise ValueError(
            f"{len(broken)} of {len(unit)} features are not finite, the first is row {broken[0]}"
        )
    return in_threads(lambda part, out: _dots(unit, part, out), pairs, threads=threads)


def ijbc_benchmark(
    comparisons: int = COMPARISONS, templates: int = TEMPLATES, size: int = 512
) -> str:
    """Time IJB-C's comparisons on random features: scores, then TAR at four FARs.

    Args:
        comparisons: how many pairs, the share of genuine ones that of IJB-C.
        templates: how many.
        size: of a feature.

    Returns:
        One line with the seconds for both and the peak memory of this process.
    """
    rng = np.random.default_rng(0)
    unit = normalised(rng.standard_normal((templates, size), dtype=np.float32))
    pairs = rng.integers(0, templates, (comparisons, 2), dtype=np.int32)
    same = np.zeros(comparisons, bool)
    same[: max(1, round(comparisons * GENUINE / COMPARISONS))] = True
    score_pairs(unit, pairs[:2])  # compiles
    began = time.perf_counter()
    scores = score_pairs(unit, pairs)
    scored = time.perf_counter()
    tars_at_fars(scores, same, FARS_AT_SCALE)
    ended = time.perf_counter()
    return (
        f"{comparisons:,} comparisons of {templates:,} templates x {size}: scores "
        f"{scored - began:.1f} s, TAR at {len(FARS_AT_SCALE)} FARs {ended - scored:.1f} s"
        f"{_peak()}"
    )


def _peak() -> str:
    """Return the peak memory of this process as text, empty where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return ""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kibibytes elsewhere
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return f", peak memory of the process {peak / 1e9:.2f} GB"
