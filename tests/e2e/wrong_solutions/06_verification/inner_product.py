"""Takes the inner product without the lengths of the features: part 1, by a visible test."""
# loses: test_cosine_similarity

import numpy as np


# %% cosine_similarity
def cosine_similarity(probes: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Return the cosine of every probe with every gallery feature."""
    return probes @ gallery.T
