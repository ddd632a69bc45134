"""Named random streams: every random draw of the project comes from one of these."""

import hashlib

import numpy as np


def stream(seed: int, name: str, *indices: int) -> np.random.Generator:
    """Return the generator of one purpose, such as ``"pose"``: no draw from it moves another's."""
    if seed < 0 or any(index < 0 for index in indices):
        raise ValueError(f"a stream needs seed and indices >= 0, got {seed=}, {indices=}")
    tag = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    return np.random.default_rng([int(seed), tag, *(int(index) for index in indices)])


def stream_seed(seed: int, name: str, *indices: int) -> int:
    """Return a 63-bit seed from the named stream, for libraries with their own generator."""
    return int(stream(seed, name, *indices).integers(2**63))
