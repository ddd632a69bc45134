"""The paper's losses: SAD (Eq. 1 and 2), FAD (Eq. 4) and the masked identity loss (Eq. 5).

All are computed in fp32 or better, and all-zero maps and filters are orthogonal to everything.
"""

from ifr.losses.feature import (
    PAPER_KEEP,
    feature_activation_diversity,
    feature_selection_mask,
    masked_identity_loss,
)
from ifr.losses.spatial import (
    FORMS,
    PAPER_SIGMA,
    RELEASED_KERNEL,
    filter_cosines,
    filter_diversity,
    gaussian_matrix,
    response_cosines,
    response_diversity,
)
