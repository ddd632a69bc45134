"""The numbers of ``assets/faces.json``: colours, materials, expressions, lights, the hand."""

import json
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ifr.common.paths import ASSETS

TABLES: dict[str, Any] = json.loads((ASSETS / "faces.json").read_text(encoding="utf-8"))


def linear(colour: ArrayLike) -> np.ndarray:
    """Return linear light (float32) of display values 0..1."""
    return (np.asarray(colour, np.float64) ** 2.2).astype(np.float32)


PALETTES = {name: linear(colours) for name, colours in TABLES["palettes"].items()}  # (N, 3)
