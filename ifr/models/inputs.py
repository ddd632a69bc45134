"""From stored faces to network input: crop, scale and normalise, for images and landmarks alike."""

from collections.abc import Callable
from functools import reduce

import numpy as np
import torch
from torch import Tensor

from ifr.common.errors import UserError
from ifr.landmarks import CROP_SIZE, FACE_SIZE, MIRROR


def offset_range(size: int) -> int:
    """Return how many offsets a crop has along each axis: 17, or 1 for the whole face."""
    return FACE_SIZE - crop_side(size) + 1


def to_network(images: Tensor, offsets: Tensor, size: int = CROP_SIZE) -> Tensor:
    """Crop (N, 112, 112, 3) uint8 at offsets, average down, map to [-1, 1]: (N, 3, size, size).

    The crop is 96×96 (Table 1) for ``size`` 96 or a fraction of it (48: means of 2×2 pixels), the
    whole face for 112. The offsets (N, 2) are x, y of its upper left corner, 0..16, or 0 for 112.
    """
    if images.dtype != torch.uint8:
        raise TypeError(f"images must be uint8 in 0..255, got {images.dtype}")
    if images.ndim != 4 or images.shape[1:] != (FACE_SIZE, FACE_SIZE, 3):
        wanted, got = f"(N, {FACE_SIZE}, {FACE_SIZE}, 3) aligned faces", tuple(images.shape)
        raise UserError(f"images must be {wanted}, got {got}; align and resize them first")
    side, offsets = crop_side(size), offsets.to(images.device)
    faces, step = torch.arange(len(images), device=images.device), side // size
    windows = images.unfold(1, side, 1).unfold(2, side, 1)  # every crop, as views: nothing moves
    pixels = windows[faces, offsets[:, 1], offsets[:, 0]].permute(0, 2, 3, 1).float()
    rows = reduce(torch.add, (pixels[:, k::step] for k in range(step)))  # (N, size, side, 3)
    means = reduce(torch.add, (rows[:, :, k::step] for k in range(step))) / step**2
    return means.div_(127.5).sub_(1).permute(0, 3, 1, 2)  # channels last in memory


def to_network_points(points: Tensor, offsets: Tensor, size: int = CROP_SIZE) -> Tensor:
    """Move points of the stored faces, (N, P, 2) pixels, into the frame of :func:`to_network`."""
    moved = points - offsets.to(points.device)[:, None].to(points.dtype)
    return moved * (size / crop_side(size))


def center_crop(images: np.ndarray | Tensor, size: int = CROP_SIZE) -> Tensor:
    """Return the network input of every test: (N, 112, 112, 3) uint8 -> (N, 3, size, size)."""
    return _at_centre(to_network, images, size)


def center_crop_points(landmarks: np.ndarray | Tensor, size: int = CROP_SIZE) -> Tensor:
    """Return landmarks (N, P, 2) of stored faces in the frame of :func:`center_crop`."""
    return _at_centre(to_network_points, landmarks, size)


def _at_centre(crop: Callable[..., Tensor], values: np.ndarray | Tensor, size: int) -> Tensor:
    # A copy: stored sets are read-only maps of files, which torch cannot share.
    values = values if isinstance(values, Tensor) else torch.from_numpy(np.array(values))
    return crop(values, torch.full((len(values), 2), offset_range(size) // 2), size)


def flip(images: Tensor, points: Tensor | None, chosen: Tensor) -> tuple[Tensor, Tensor | None]:
    """Flip the chosen (N,) images, and with them their landmarks (N, 68, 2), renumbered."""
    chosen = chosen.to(images.device)
    flipped = torch.where(chosen[:, None, None, None], images.flip(3), images)
    if points is None:
        return flipped, None
    x, y = points[:, torch.tensor(MIRROR, device=points.device)].unbind(dim=-1)
    mirrored = torch.stack([images.shape[3] - x, y], dim=-1)
    return flipped, torch.where(chosen[:, None, None], mirrored, points)


def crop_side(size: int) -> int:
    """Return the side of what the input of that size shows of a stored face: 96, or 112."""
    if size == FACE_SIZE:
        return FACE_SIZE
    if size < 1 or CROP_SIZE % size:
        raise UserError(f"size must be {FACE_SIZE} or divide {CROP_SIZE} (48, 24, ...), got {size}")
    return CROP_SIZE
