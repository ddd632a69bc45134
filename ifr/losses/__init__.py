"""The paper's losses: SAD (Eq. 1 and 2), FAD (Eq. 4) and the masked identity loss (Eq. 5).

All are computed in fp32 or better, also under autocast, and have finite values and gradients for
all-zero maps and filters, which count as orthogonal to everything.
"""

from ifr.losses.feature import (
    PAPER_KEEP,
    feature_activation_diversity,
    feature_selection_mask,
    masked_identity_loss,
)
from ifr.losses.smoothing import PAPER_SIGMA, RELEASED_KERNEL, gaussian_matrix
from ifr.losses.spatial import (
    FORMS,
    filter_cosines,
    filter_diversity,
    response_cosines,
    response_diversity,
)
