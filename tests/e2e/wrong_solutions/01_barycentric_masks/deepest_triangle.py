"""Takes the triangle with the largest smallest coordinate, so there is always one (Part 2)."""
# loses: test_enclosing_triangle

import numpy as np


# %% enclosing_triangle
def enclosing_triangle(weights: np.ndarray, tolerance: float = 1e-9) -> np.ndarray:
    """Return the triangle whose least coordinate is the largest."""
    return np.nan_to_num(weights, nan=-np.inf).min(axis=-1).argmax(axis=-1)
