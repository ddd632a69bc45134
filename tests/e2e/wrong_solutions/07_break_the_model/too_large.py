"""Covers more of the face than is allowed."""
# loses: test_attack

import torch


# %% attack
def attack(images: torch.Tensor, landmarks: torch.Tensor) -> torch.Tensor:
    covered = images.clone()
    covered[:, :, 12:24] = torch.where(torch.arange(48) // 4 % 2 == 0, 1.0, -1.0)
    return covered
