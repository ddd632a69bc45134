"""Removes the part from the images given, which are needed for the next part."""
# loses: test_without_part

import torch


# %% without_part
def without_part(images: torch.Tensor, labels: torch.Tensor, part: int, off: int) -> torch.Tensor:
    for image, label in zip(images, labels, strict=True):
        rest = (label != part) & (label != off)
        image[:, label == part] = image[:, rest].mean(dim=1, keepdim=True)
    return images
