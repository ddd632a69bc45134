"""Takes the areas without their sign: right inside a triangle, wrong outside it (Part 1)."""
# loses: test_barycentric

import numpy as np


# %% barycentric
def barycentric(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Return the barycentric coordinates of points in triangles, from areas without sign."""
    points, corners = np.asarray(points, np.float64), np.asarray(corners, np.float64)
    a, b, c = corners[..., 0, :], corners[..., 1, :], corners[..., 2, :]

    def area(p: np.ndarray, q: np.ndarray, r: np.ndarray) -> np.ndarray:
        u, v = q - p, r - p
        return np.abs(u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]) / 2

    parts = np.stack([area(points, b, c), area(points, c, a), area(points, a, b)], axis=-1)
    return parts / area(a, b, c)[..., None]
