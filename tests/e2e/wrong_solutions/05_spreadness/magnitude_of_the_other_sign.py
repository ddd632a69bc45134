"""Weighs a positive peak by |response| where all responses are negative: part 1, hidden tests."""
# loses: test_peak_points

import numpy as np


# %% peak_points
def peak_points(response: np.ndarray, sign: str) -> tuple[np.ndarray, np.ndarray]:
    """Return place and magnitude of the positive or the negative peak of every map."""
    images, filters, height, width = response.shape
    flat = response.reshape(images, filters, height * width)
    index = flat.argmax(axis=-1) if sign == "positive" else flat.argmin(axis=-1)
    value = np.take_along_axis(flat, index[..., None], axis=-1)[..., 0]
    cell = np.stack([index % width + 0.5, index // width + 0.5], axis=-1)
    return cell * 96 / np.array([width, height]), np.abs(value)
