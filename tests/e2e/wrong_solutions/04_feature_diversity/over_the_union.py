"""Divides by all elements that either batch selects."""
# loses: test_prediction

import torch
from torch import nn

from ifr import losses


# %% common_share
def common_share(
    network: nn.Module,
    first: tuple[torch.Tensor, torch.Tensor],
    second: tuple[torch.Tensor, torch.Tensor],
    keep: int,
) -> float:
    with torch.no_grad():
        one, two = (
            losses.feature_selection_mask(
                network.features(clean), network.features(twin), keep=keep
            )
            for clean, twin in (first, second)
        )
    return int((one & two).sum()) / int((one | two).sum())
