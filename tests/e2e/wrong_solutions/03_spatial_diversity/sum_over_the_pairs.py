"""Takes the sum of Eq. 2, which grows with the number of filters."""
# loses: test_prediction

import torch

from ifr import losses


# %% overlap
def overlap(network: torch.nn.Module, images: torch.Tensor) -> float:
    with torch.no_grad():
        return float(losses.response_diversity(network.lmf_response(images)))
