"""Leaves the negative peaks out."""
# loses: test_prediction

import numpy as np
import torch

from ifr import interpretation
from ifr.mesh import FaceMesh


# %% network_spreadness
def network_spreadness(
    network: torch.nn.Module, images: torch.Tensor, landmarks: np.ndarray, mesh: FaceMesh
) -> tuple[float, float]:
    with torch.no_grad():
        maps = network.lmf_response(images).numpy()
    peaks = interpretation.peak_locations(maps, landmarks, mesh)
    centres, around = interpretation.average_locations(*peaks.of("positive"))
    return float(interpretation.spreadness(centres)), float(around.mean())
