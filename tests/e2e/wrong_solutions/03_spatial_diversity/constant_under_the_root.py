"""Adds a constant under the root: short rows do not reach length 1, zero rows get a gradient."""
# loses: test_unit_rows

import torch


# %% unit_rows
def unit_rows(rows: torch.Tensor) -> torch.Tensor:
    """Divide each row by the root of its squared length plus a constant."""
    return rows / (rows.square().sum(dim=-1, keepdim=True) + 1e-6).sqrt()
