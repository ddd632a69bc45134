"""Takes the cosine of every place by itself, so that faint places count as much as strong ones."""
# loses: test_place_shares

import torch


# %% place_shares
def place_shares(maps: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    cosines = torch.cosine_similarity(maps, g[:, :, None, None].expand_as(maps), dim=1)
    return cosines / (maps.shape[2] * maps.shape[3])
