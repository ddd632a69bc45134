"""Takes inner products for cosines."""
# loses: test_prediction

import torch


# %% effect
def effect(network: torch.nn.Module, images: torch.Tensor, twins: torch.Tensor) -> float:
    with torch.no_grad():
        clean, covered = network.features(images), network.features(twins)
    return float((1 - (clean * covered).sum(dim=1)).mean())
