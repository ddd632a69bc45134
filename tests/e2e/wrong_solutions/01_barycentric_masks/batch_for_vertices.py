"""Indexes the first axis, which is the vertices of one face but the faces of a batch (hidden)."""
# loses: test_place

import numpy as np


# %% place
def place(
    triangle: np.ndarray, weights: np.ndarray, vertices: np.ndarray, triangles: np.ndarray
) -> np.ndarray:
    """Return the points of one face with the given triangle and coordinates."""
    corners = vertices[triangles[triangle]]
    points = (weights[..., None] * corners).sum(axis=-2)
    points[triangle < 0] = np.nan
    return points
