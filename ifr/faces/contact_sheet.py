"""Contact sheets of rendered faces."""

from collections.abc import Sequence

import numpy as np


def contact_sheet(
    images: Sequence[np.ndarray] | np.ndarray, columns: int, *, gap: int = 2
) -> np.ndarray:
    """Lay images out in rows.

    Args:
        images: N uint8 images (H, W, 3) of one size.
        columns: images in a row.
        gap: white pixels between them.

    Returns:
        (rows * (H + gap) - gap, columns * (W + gap) - gap, 3) uint8, white where images run out.

    Raises:
        ValueError: if there is no image, they differ in shape, or ``columns`` is below 1.
    """
    images = [np.asarray(image) for image in images]
    if not images or columns < 1:
        raise ValueError(
            f"need images and columns >= 1, got {len(images)} images, {columns} columns"
        )
    if len({image.shape for image in images}) > 1:
        raise ValueError(f"images must have one shape, got {sorted({i.shape for i in images})}")
    height, width = images[0].shape[:2]
    rows = -(-len(images) // columns)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, 3)
    sheet = np.full(shape, 255, np.uint8)
    for k, image in enumerate(images):
        y, x = (k // columns) * (height + gap), (k % columns) * (width + gap)
        sheet[y : y + height, x : x + width] = image
    return sheet
