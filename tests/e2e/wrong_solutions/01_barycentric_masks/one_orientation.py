"""Asks for plus signs only: a quadrilateral given anticlockwise is empty (Part 5, hidden)."""
# loses: test_fill_quadrilateral

import torch


# %% fill_quadrilateral
def fill_quadrilateral(quadrilaterals: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Return the pixels on the right-hand side of all four edges."""
    y = torch.arange(height, dtype=quadrilaterals.dtype)[:, None] + 0.5
    x = torch.arange(width, dtype=quadrilaterals.dtype) + 0.5
    start = quadrilaterals[..., None, None]
    edge = start.roll(-1, dims=1) - start
    side = edge[:, :, 0] * (y - start[:, :, 1]) - edge[:, :, 1] * (x - start[:, :, 0])
    return (side >= 0).all(dim=1)
