"""Divides by the number of responses that are kept, so that hardly any length is lost."""
# loses: test_prediction

import torch
from torch.nn import functional as F

from ifr.models import large_magnitude_filter


# %% survives
def survives(network: torch.nn.Module, images: torch.Tensor, rate: float) -> tuple[float, float]:
    with torch.no_grad():
        maps = network.response(images)
    kept = large_magnitude_filter(maps, rate)
    full = maps.mean(dim=(2, 3))
    filtered = kept.sum(dim=(2, 3)) / (kept != 0).sum(dim=(2, 3)).clamp_min(1)
    lengths = filtered.norm(dim=1) / full.norm(dim=1)
    return float(lengths.mean()), float(F.cosine_similarity(filtered, full).mean())
