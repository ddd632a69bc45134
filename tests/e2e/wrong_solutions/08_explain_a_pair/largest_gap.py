"""Names the largest difference, whether or not it changes a decision."""
# loses: test_where_it_fails

import torch


# %% where_it_fails
def where_it_fails(predicted: torch.Tensor, measured: torch.Tensor, threshold: float):
    if ((predicted >= threshold) == (measured >= threshold)).all():
        return None
    return divmod(int((predicted - measured).abs().argmax()), predicted.shape[1])
