"""Compares with 0 exactly: a point on a shared edge may miss both triangles (Part 2, hidden)."""
# loses: test_enclosing_triangle

import numpy as np


# %% enclosing_triangle
def enclosing_triangle(weights: np.ndarray, tolerance: float = 1e-9) -> np.ndarray:
    """Return the lowest triangle with no negative coordinate, -1 if there is none."""
    encloses = (weights >= 0).all(axis=-1)
    return np.where(encloses.any(axis=-1), encloses.argmax(axis=-1), -1)
