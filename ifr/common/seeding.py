"""Named random streams: every random draw of the project comes from one of these."""

import hashlib

import numpy as np


def stream(seed: int, name: str, *indices: int) -> np.random.Generator:
    """Return the random generator of one named purpose.

    Streams with different names or indices are statistically independent, so adding a draw to one
    never moves another: the same shot with and without an occluder shares every other attribute.

    Args:
        seed: non-negative integer, the seed of the run or of the identity.
        name: what the numbers are for, such as ``"pose"`` or ``"training/crops"``.
        *indices: further non-negative integers, such as an identity and a shot number.

    Returns:
        A NumPy generator (PCG64); the same arguments give the same numbers on every machine.

    Raises:
        ValueError: if the seed or an index is negative.
    """
    if seed < 0 or any(index < 0 for index in indices):
        raise ValueError(
            f"a stream needs seed and indices >= 0, got seed={seed}, indices={indices}"
        )
    tag = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    return np.random.default_rng([int(seed), tag, *(int(index) for index in indices)])


def stream_seed(seed: int, name: str, *indices: int) -> int:
    """Return a 63-bit seed from the named stream, for libraries with their own generator."""
    return int(stream(seed, name, *indices).integers(2**63))
