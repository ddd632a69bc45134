"""Compares each face with its own covered twin as well, the easiest genuine pair."""
# loses: test_prediction

import numpy as np
import torch

from ifr import evaluation


# %% covered_error
def covered_error(
    network: torch.nn.Module, images: torch.Tensor, covered: torch.Tensor, identity: np.ndarray
) -> float:
    with torch.no_grad():
        one = torch.nn.functional.normalize(network.features(images))
        two = torch.nn.functional.normalize(network.features(covered))
    first, second = np.triu_indices(len(images))
    scores = (one @ two.T).numpy()[first, second]
    return float(evaluation.equal_error_rate(scores, identity[first] == identity[second]))
