"""Writes into the images given, so that the clean face is lost."""
# loses: test_wear

import torch


# %% wear
def wear(images: torch.Tensor, masks: torch.Tensor, texture: torch.Tensor) -> torch.Tensor:
    texture = texture.to(images).expand_as(images)
    where = masks[:, None].expand_as(images)
    images[where] = texture[where]
    return images
