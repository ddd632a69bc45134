"""Takes the absolute value of the mean change, so that opposite changes cancel: part 1 is lost."""
# loses: test_mean_difference

import torch


# %% mean_difference
def mean_difference(clean: torch.Tensor, occluded: torch.Tensor) -> torch.Tensor:
    """Return how much each element of the feature changes over a mini-batch."""
    return (clean - occluded).mean(dim=0).abs()
