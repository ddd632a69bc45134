"""Takes the mean in the maps' own type and widens too late (Part 3, hidden)."""
# loses: test_average_feature

import torch


# %% average_feature
def average_feature(filtered: torch.Tensor) -> torch.Tensor:
    """Return the mean over all places."""
    mean = filtered.mean(dim=(2, 3))
    return mean.to(torch.promote_types(mean.dtype, torch.float32))
