"""Reads the curve at the nearest FAR, above or below, as the released code does: part 3 is lost."""
# loses: test_reading

import numpy as np


# %% reading
def tar_at_far(fars: np.ndarray, tars: np.ndarray, far: float) -> float:
    """Return the highest true accept rate whose false accept rate is not above ``far``."""
    nearest = np.abs(fars - far)
    return float(tars[nearest == nearest.min()].max())


def equal_error_rate(fars: np.ndarray, tars: np.ndarray) -> float:
    """Return the rate at which false accepts and false rejects are equal."""
    return float(np.interp(0, fars - (1 - tars), fars))
