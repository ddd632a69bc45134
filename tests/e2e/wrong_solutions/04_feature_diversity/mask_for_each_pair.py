"""Selects the elements anew for each pair, not once for the mini-batch: part 6 is lost."""
# loses: test_siamese_step

import torch
from torch import nn
from torch.nn import functional as F

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
    order = (clean - occluded).detach().abs().argsort(dim=1, stable=True)
    mask = torch.zeros_like(clean, dtype=torch.bool).scatter(1, order[:, :keep], True)
    return {
        "id": 2 * F.cross_entropy(classifier(clean), labels),
        "id occluded": 2 * losses.masked_identity_loss(classifier, occluded, mask, labels),
        "features": 0.1 * losses.feature_activation_diversity(clean, occluded, mask),
    }
