"""Contact sheets of rendered faces."""

from collections.abc import Sequence

import numpy as np

from ifr.common.errors import UserError


def contact_sheet(
    images: Sequence[np.ndarray] | np.ndarray, columns: int, *, gap: int = 2
) -> np.ndarray:
    """Lay uint8 images (H, W, 3) of one size out in rows, ``gap`` white pixels between them."""
    images = [np.asarray(image) for image in images]
    shapes = sorted({image.shape for image in images})
    if len(shapes) != 1 or columns < 1:
        raise UserError(
            f"need images of one shape and columns >= 1, got {shapes} and {columns} columns"
        )
    height, width = images[0].shape[:2]
    rows = -(-len(images) // columns)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, 3)
    sheet = np.full(shape, 255, np.uint8)
    for k, image in enumerate(images):
        y, x = (k // columns) * (height + gap), (k % columns) * (width + gap)
        sheet[y : y + height, x : x + width] = image
    return sheet
