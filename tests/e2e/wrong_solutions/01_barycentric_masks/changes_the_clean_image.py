"""Writes the mask into the clean image, so that both branches see the twin (Part 6, hidden)."""
# loses: test_occluded_twin

import torch


# %% occluded_twin
def occluded_twin(images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Black out the masks in place."""
    images[masks[:, None].expand_as(images)] = -1
    return images
