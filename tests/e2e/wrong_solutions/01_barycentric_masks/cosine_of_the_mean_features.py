"""Averages the features over the faces first, so that changes of different faces cancel."""
# loses: test_prediction

import torch


# %% effect
def effect(network: torch.nn.Module, images: torch.Tensor, twins: torch.Tensor) -> float:
    with torch.no_grad():
        clean, covered = (network.features(faces).mean(dim=0) for faces in (images, twins))
    return float(1 - torch.cosine_similarity(clean, covered, dim=0))
