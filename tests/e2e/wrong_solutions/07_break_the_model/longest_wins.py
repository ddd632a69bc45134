"""Compares by inner products, so that a long gallery feature wins."""
# loses: test_rank_one

import torch


# %% rank_one
def rank_one(gallery: torch.Tensor, probes: torch.Tensor, people: torch.Tensor) -> float:
    return float(((probes @ gallery.T).argmax(dim=1) == people).float().mean())
