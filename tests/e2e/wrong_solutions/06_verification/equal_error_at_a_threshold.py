"""Takes the point where both rates are closest, without the line between: part 3, hidden tests."""
# loses: test_reading

import numpy as np


# %% reading
def tar_at_far(fars: np.ndarray, tars: np.ndarray, far: float) -> float:
    """Return the highest true accept rate whose false accept rate is not above ``far``."""
    return float(tars[np.searchsorted(fars, far, side="right") - 1])


def equal_error_rate(fars: np.ndarray, tars: np.ndarray) -> float:
    """Return the rate at which false accepts and false rejects are equal."""
    nearest = np.abs(fars - (1 - tars)).argmin()
    return float((fars[nearest] + 1 - tars[nearest]) / 2)
