"""Features of images, batch by batch."""

import numpy as np
import torch
from torch import nn


@torch.no_grad()
def extract_features(model: nn.Module, images: torch.Tensor, *, batch: int = 256) -> np.ndarray:
    """Return the features f(I) of preprocessed images.

    Args:
        model: a network in evaluation mode.
        images: (N, 3, S, S) in [-1, 1], on any device.
        batch: images at once.

    Returns:
        (N, K) float32.

    Raises:
        ValueError: if the network is in training mode, where batch norm mixes the images.
    """
    if model.training:
        raise ValueError("the network is in training mode: call model.eval() first")
    device = next(model.parameters()).device
    parts = [
        model(part.to(device).contiguous(memory_format=torch.channels_last)).float().cpu()
        for part in images.split(batch)
    ]
    return torch.cat(parts).numpy()
