"""Averages the features over the faces before it measures their length."""
# loses: test_prediction

import torch
from torch.nn import functional as F

from ifr.models import large_magnitude_filter


# %% survives
def survives(network: torch.nn.Module, images: torch.Tensor, rate: float) -> tuple[float, float]:
    with torch.no_grad():
        maps = network.response(images)
    full = maps.mean(dim=(0, 2, 3))
    filtered = large_magnitude_filter(maps, rate).mean(dim=(0, 2, 3))
    share = filtered.norm() / full.norm()
    return float(share), float(F.cosine_similarity(filtered, full, dim=0))
