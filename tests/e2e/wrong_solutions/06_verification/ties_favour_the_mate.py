"""Counts only strictly better impostors as ahead, so that ties are hits: part 4, hidden tests."""
# loses: test_rank_accuracy

import numpy as np


# %% rank_accuracy
def rank_accuracy(
    similarity: np.ndarray, probe_ids: np.ndarray, gallery_ids: np.ndarray, k: int
) -> float:
    """Return the share of probes whose mate is among the k most alike, over probes with a mate."""
    mate = probe_ids[:, None] == gallery_ids
    best = np.where(mate, similarity, -np.inf).max(axis=1, keepdims=True)
    ahead = (similarity > best).sum(axis=1)
    return float((ahead < k)[mate.any(axis=1)].mean())
