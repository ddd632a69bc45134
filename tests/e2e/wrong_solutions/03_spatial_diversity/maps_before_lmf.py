"""Measures the maps before LMF, which are not what the network pools."""
# loses: test_prediction

import torch

from ifr import losses


# %% overlap
def overlap(network: torch.nn.Module, images: torch.Tensor) -> float:
    with torch.no_grad():
        return float(losses.response_diversity(network.response(images), form="released"))
