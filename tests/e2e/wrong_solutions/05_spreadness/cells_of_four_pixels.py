"""Takes every map for 24 x 24 cells of four pixels: part 1, by hidden tests on other sizes."""
# loses: test_peak_points

import numpy as np


# %% peak_points
def peak_points(response: np.ndarray, sign: str) -> tuple[np.ndarray, np.ndarray]:
    """Return place and magnitude of the positive or the negative peak of every map."""
    images, filters, height, width = response.shape
    flat = response.reshape(images, filters, height * width) * (1 if sign == "positive" else -1)
    rows, columns = np.unravel_index(flat.argmax(axis=-1), (height, width))
    return 4 * np.stack([columns, rows], axis=-1) + 2.0, np.maximum(flat.max(axis=-1), 0)
