"""Masks the clean feature too, where Eq. 3 classifies all of it: part 6, by a hidden test."""
# loses: test_siamese_step

import torch
from torch import nn

from ifr import losses


# %% siamese_step
def siamese_step(
    network: nn.Module,
    classifier: nn.Module,
    images: torch.Tensor,
    twins: torch.Tensor,
    labels: torch.Tensor,
    keep: int,
) -> dict[str, torch.Tensor]:
    """Return the weighted terms of one step; their sum is what is minimised."""
    clean, occluded = network(images), network(twins)
    mask = losses.feature_selection_mask(clean, occluded, keep=keep)
    return {
        "id": 2 * losses.masked_identity_loss(classifier, clean, mask, labels),
        "id occluded": 2 * losses.masked_identity_loss(classifier, occluded, mask, labels),
        "features": 0.1 * losses.feature_activation_diversity(clean, occluded, mask),
    }
