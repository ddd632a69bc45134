"""Contact sheets of rendered faces."""

from collections.abc import Sequence

import numpy as np

from ifr.common.errors import UserError


def contact_sheet(images: Sequence[np.ndarray], columns: int, *, gap: int = 2) -> np.ndarray:
    """Lay uint8 images (H, W, 3) of one size out in rows, ``gap`` white pixels between them."""
    from skimage.util import montage  # workers start without it

    shapes = sorted({np.shape(image) for image in images})
    if len(shapes) != 1 or columns < 1:
        raise UserError(f"need images of one shape and columns >= 1, got {shapes}, {columns}")
    grid = (-(-len(images) // columns), columns)
    sheet = montage(images, [255] * 3, False, grid, padding_width=gap, channel_axis=-1)
    return sheet[gap : len(sheet) - gap, gap : sheet.shape[1] - gap]
