"""Gives row before column, so that x and y of every peak are swapped: part 1, by a visible test."""
# loses: test_peak_points

import numpy as np


# %% peak_points
def peak_points(response: np.ndarray, sign: str) -> tuple[np.ndarray, np.ndarray]:
    """Return place and magnitude of the positive or the negative peak of every map."""
    images, filters, height, width = response.shape
    flat = response.reshape(images, filters, height * width) * (1 if sign == "positive" else -1)
    rows, columns = np.unravel_index(flat.argmax(axis=-1), (height, width))
    cell = np.stack([rows + 0.5, columns + 0.5], axis=-1)
    return cell * 96 / np.array([height, width]), np.maximum(flat.max(axis=-1), 0)
