"""Indexes the mask by x for rows and y for columns."""
# loses: test_share_under

import torch


# %% share_under
def share_under(peaks: torch.Tensor, change: torch.Tensor, masks: torch.Tensor) -> float:
    x, y = peaks.long().unbind(dim=-1)
    under = masks[torch.arange(len(masks))[:, None], x, y]
    total = float(change.sum())
    return float((change * under).sum()) / total if total > 0 else 0.0
