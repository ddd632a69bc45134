"""Fills with the mean of all pixels, the removed part and the ground included."""
# loses: test_without_part

import torch


# %% without_part
def without_part(images: torch.Tensor, labels: torch.Tensor, part: int, off: int) -> torch.Tensor:
    colour = images.mean(dim=(2, 3), keepdim=True)
    return torch.where((labels == part)[:, None], colour, images)
