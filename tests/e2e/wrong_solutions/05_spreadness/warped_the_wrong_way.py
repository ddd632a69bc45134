"""Warps from the template to the face in place of from the face to the template: part 2 is lost."""
# loses: test_to_frontal

import numpy as np

from ifr.mesh import FaceMesh


# %% to_frontal
def to_frontal(points: np.ndarray, landmarks: np.ndarray, mesh: FaceMesh) -> np.ndarray:
    """Warp points of each face to the frontal template."""
    frontal = mesh.transfer(points, mesh.landmarks, landmarks)
    inside = ((frontal >= 0) & (frontal <= 96)).all(axis=-1)
    return np.where(inside[..., None], frontal, np.nan)
