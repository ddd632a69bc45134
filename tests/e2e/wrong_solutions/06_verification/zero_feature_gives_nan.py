"""Divides a zero feature by its length 0, so its similarities are NaN: part 1, hidden tests."""
# loses: test_cosine_similarity

import numpy as np


# %% cosine_similarity
def cosine_similarity(probes: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Return the cosine of every probe with every gallery feature."""
    with np.errstate(invalid="ignore"):
        probes = probes / np.linalg.norm(probes, axis=1, keepdims=True)
        gallery = gallery / np.linalg.norm(gallery, axis=1, keepdims=True)
    return probes @ gallery.T
