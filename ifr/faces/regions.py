"""Which part of the face each canonical texel belongs to."""

import functools

import numpy as np

from ifr.faces.geometry import TEXELS
from ifr.faces.head_model import load_head
from ifr.faces.paint import COLUMNS, ROWS, polygon
from ifr.faces.shade import PARTS


@functools.cache
def region_map() -> np.ndarray:
    """Return the index in ``PARTS`` of each texel of bare skin, (TEXELS, TEXELS) uint8.

    Ears are left out: the kernel tells them by vertex, since they overlap in the map.
    """
    p = load_head().landmark_uv
    region = np.full((TEXELS, TEXELS), PARTS.index("skin"), np.uint8)
    off = np.abs(COLUMNS - TEXELS / 2)
    jaw = np.interp(off, [0, 30, 60, 75], [p[8, 1] + 3, p[6, 1] + 5, p[4, 1] + 6, p[3, 1] + 4])
    region[jaw < ROWS] = PARTS.index("neck")
    nose = [p[27] - [5, 0], p[27] + [5, 0], p[35] + [3, -3], p[35] + [2, 3], p[33] + [0, 2]]
    nose += [p[31] + [-2, 3], p[31] + [-3, -3]]
    shapes: dict[str, list] = {
        "nose": [nose],
        "brow": [
            np.concatenate([p[17:22] - [0, 4], p[[21, 20, 19, 18, 17]] + np.array([0, 3])]),
            np.concatenate([p[22:27] - [0, 4], p[[26, 25, 24, 23, 22]] + np.array([0, 3])]),
        ],
        "eye": [p[36:42], p[42:48]],
        "mouth": [p[48:60]],
    }
    for name, outlines in shapes.items():
        for outline in outlines:
            region[polygon(outline) > 0.5] = PARTS.index(name)
    return region
