"""From stored faces to network input: crop, scale and normalise, for images and landmarks alike."""

import numpy as np
import torch
from torch.nn import functional as F

from ifr.landmarks import CROP_SIZE, FACE_SIZE, MIRROR


def offset_range(size: int) -> int:
    """Return how many offsets a crop has along each axis: 17, or 1 for the whole face."""
    return FACE_SIZE - _crop_side(size) + 1


def centre_offset(size: int) -> int:
    """Return the offset of the crop used in tests: 8, or 0 for the whole face."""
    return (FACE_SIZE - _crop_side(size)) // 2


def to_network(images: torch.Tensor, offsets: torch.Tensor, size: int = CROP_SIZE) -> torch.Tensor:
    """Crop at the given offsets, average down to ``size``, and map 0..255 to [-1, 1].

    The crop is 96×96 (Table 1), or, for ``size`` 112, the whole face as ArcFace's networks take it.

    Args:
        images: (N, 112, 112, 3) uint8.
        offsets: (N, 2) integers, x then y of the crop's upper left corner, each 0..16; 0 for 112.
        size: side of the network input: 112, or 96, or a whole fraction of it (48: means of 2×2
            pixels).

    Returns:
        (N, 3, size, size) float32 on the images' device.
    """
    if images.dtype != torch.uint8:
        raise TypeError(f"images must be uint8 in 0..255, got {images.dtype}")
    if images.ndim != 4 or images.shape[1:] != (FACE_SIZE, FACE_SIZE, 3):
        raise ValueError(
            f"images must be (N, {FACE_SIZE}, {FACE_SIZE}, 3) aligned faces, got "
            f"{tuple(images.shape)}; align and resize them first"
        )
    _check_offsets(offsets, len(images), size)
    side = _crop_side(size)
    steps = torch.arange(side, device=images.device)
    offsets = offsets.to(images.device)
    rows = (offsets[:, 1, None] + steps)[:, :, None]  # (N, side, 1)
    columns = (offsets[:, 0, None] + steps)[:, None, :]  # (N, 1, side)
    faces = torch.arange(len(images), device=images.device)[:, None, None]
    crops = images[faces, rows, columns].permute(0, 3, 1, 2).float()  # (N, 3, side, side)
    if size != side:
        crops = F.avg_pool2d(crops, side // size)
    return crops.div_(127.5).sub_(1)


def to_network_points(
    points: torch.Tensor, offsets: torch.Tensor, size: int = CROP_SIZE
) -> torch.Tensor:
    """Move points of the stored faces, (N, P, 2) pixels, into the frame of :func:`to_network`."""
    _check_offsets(offsets, len(points), size)
    moved = points - offsets.to(points.device)[:, None].to(points.dtype)
    return moved * (size / _crop_side(size))


def center_crop(images: np.ndarray | torch.Tensor, size: int = CROP_SIZE) -> torch.Tensor:
    """Return the network input of every test: (N, 112, 112, 3) uint8 -> (N, 3, size, size)."""
    images = _tensor(images)
    return to_network(images, _centre_offsets(len(images), size), size)


def center_crop_points(landmarks: np.ndarray | torch.Tensor, size: int = CROP_SIZE) -> torch.Tensor:
    """Return landmarks (N, P, 2) of stored faces in the frame of :func:`center_crop`."""
    landmarks = _tensor(landmarks)
    return to_network_points(landmarks, _centre_offsets(len(landmarks), size), size)


def flip(
    images: torch.Tensor, points: torch.Tensor | None, chosen: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Flip some images horizontally, and their landmarks with them.

    Args:
        images: (N, C, H, S).
        points: (N, 68, 2) pixels in the frame of these images, or None.
        chosen: (N,) bool.

    Returns:
        Images and points of the same shapes; the points of a flipped face are renumbered, so that
        point 0 is again the jaw's first point.
    """
    chosen = chosen.to(images.device)
    flipped = torch.where(chosen[:, None, None, None], images.flip(3), images)
    if points is None:
        return flipped, None
    order = torch.tensor(MIRROR, device=points.device)
    mirrored = points[:, order]
    mirrored = torch.stack([images.shape[3] - mirrored[..., 0], mirrored[..., 1]], dim=-1)
    return flipped, torch.where(chosen[:, None, None], mirrored, points)


def _tensor(values: np.ndarray | torch.Tensor) -> torch.Tensor:
    # A copy: stored sets are read-only maps of files, which torch cannot share.
    return values if isinstance(values, torch.Tensor) else torch.from_numpy(np.array(values))


def _centre_offsets(count: int, size: int) -> torch.Tensor:
    return torch.full((count, 2), centre_offset(size))


def _crop_side(size: int) -> int:
    """Return the side of the crop that an input of this size is made from."""
    if size == FACE_SIZE:
        return FACE_SIZE
    if size < 1 or CROP_SIZE % size:
        raise ValueError(
            f"size must be {FACE_SIZE} or divide {CROP_SIZE} (96, 48, 24, ...), got {size}"
        )
    return CROP_SIZE


def _check_offsets(offsets: torch.Tensor, count: int, size: int) -> None:
    most = offset_range(size) - 1
    if tuple(offsets.shape) != (count, 2):
        raise ValueError(f"offsets must be ({count}, 2), x then y, got {tuple(offsets.shape)}")
    low, high = (int(offsets.min()), int(offsets.max())) if len(offsets) else (0, 0)
    if low < 0 or high > most:
        raise ValueError(f"offsets must be in 0..{most} for size {size}, got {low}..{high}")
