"""Finds the coordinates on each face in place of the template, so no mask moves (Part 4)."""
# loses: test_warp_rectangle

import numpy as np

from ifr.mesh import FaceMesh


# %% warp_rectangle
def warp_rectangle(
    rectangle: tuple[float, float, float, float], landmarks: np.ndarray, mesh: FaceMesh
) -> np.ndarray:
    """Locate the rectangle on every face and place it on the same face."""
    x, y, width, height = rectangle
    corners = np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]], float)
    triangle, weights = mesh.locate(corners, landmarks)
    return mesh.place(triangle, weights, landmarks)
