"""The parts of every network here: large magnitude filtering, convolution units, hypercolumn."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ifr.common.errors import UserError
from ifr.common.tensors import at_least_fp32, check_floating, widened
from ifr.profiles import PAPER_LMF_RATE

INITIAL_STD = 0.02  # of new weights, Sec. 3.3
PART_CHANNELS = 192  # of each of the three parts of Φ (Table 1)
NORM_EPS = 1e-6  # a hypercolumn part shorter than this is divided by this instead


def check_rate(rate: float) -> None:
    """Refuse an LMF rate that is no share below 1."""
    if not 0 <= rate < 1:
        raise UserError(f"rate must be in [0, 1), such as rate=0.9583 for 95.83 %; got {rate}")


def num_kept(height: int, width: int, rate: float) -> int:
    """Return how many responses of a map LMF keeps: ``round((1 - rate) * height * width)``."""
    check_rate(rate)
    keep = round((1 - rate) * height * width)
    if keep == 0:
        size, most = f"{height}×{width}", 1 - 1 / (height * width)
        raise UserError(f"rate {rate} keeps no response of a {size} map: give at most {most:.4f}")
    return keep


def large_magnitude_filter(response: Tensor, rate: float = PAPER_LMF_RATE) -> Tensor:
    """Set the share ``rate`` of smallest magnitudes of every response map to 0 (LMF, Sec. 3.1).

    Of each map of the signed responses ψ(I), (N, K, H, W), exactly ``round((1 - rate) * H * W)``
    are kept, with sign and gradient, of equal magnitudes the first, row by row; a NaN is largest.

    The released code keeps those strictly above the 24th largest magnitude, 23 of 576; the paper
    keeps 24, and so do we; pass ``rate=1 - 23 / 576`` to match the released code.

    >>> large_magnitude_filter(torch.tensor([[[[1.0, -4.0], [2.0, 3.0]]]]), rate=0.5)
    tensor([[[[ 0., -4.],
              [ 0.,  3.]]]])
    """
    check_floating("response", response, "(N, K, H, W)")
    keep = num_kept(response.shape[2], response.shape[3], rate)
    maps = response.flatten(2)  # (N, K, H*W)
    if keep == maps.shape[-1]:
        return response
    mask = _largest(maps.detach().abs(), keep)
    return torch.where(mask, maps, 0).view_as(response)


def _largest(magnitude: Tensor, keep: int) -> Tensor:
    """Mark the ``keep`` largest of each row (..., P), of equal ones the first, NaN the largest."""
    # ``topk`` promises nothing about ties. The bits of a non-negative float sort like the float, in
    # a type twice as wide the lowest of them are 0: with the position there every key is unique.
    count, dtype = magnitude.shape[-1], magnitude.dtype
    if dtype == torch.float64 or count > 1 << 13:  # no room for the position
        order = magnitude.sort(dim=-1, descending=True, stable=True).indices
        return torch.zeros_like(magnitude, dtype=torch.bool).scatter_(-1, order[..., :keep], True)
    half = dtype.itemsize == 2
    wider, bits = (torch.float32, torch.int32) if half else (torch.float64, torch.int64)
    key = magnitude.to(wider).view(bits)
    key |= torch.arange(count - 1, -1, -1, dtype=bits, device=key.device)
    return key >= _kth_largest(key, keep)


def _kth_largest(key: Tensor, keep: int) -> Tensor:
    """Return the ``keep``-th largest of each row (..., P) of unique keys, (..., 1)."""
    if key.device.type == "cpu" and not (torch.compiler.is_compiling() or torch.jit.is_tracing()):
        # NumPy selects with vector instructions, three times as fast as ``topk`` on a CPU.
        rows = key.contiguous().numpy()
        return torch.from_numpy(np.partition(rows, -keep, axis=-1)[..., -keep, None])
    return key.topk(keep, dim=-1, sorted=False).values.amin(dim=-1, keepdim=True)


class ConvBNELU(nn.Module):
    """Convolution, batch norm (released: decay 0.9, eps 1e-5) and ELU, each but the first optional.

    With ``init`` weights are drawn as the paper draws new layers (Sec. 3.3); without, they are
    torch's, which learn faster in an extractor trained from nothing (the paper's is not).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        norm: bool = True,
        activation: bool = True,
        init: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=not norm)
        # Torch's momentum is the share of the new batch: 1 - decay.
        self.norm = nn.BatchNorm2d(outputs, eps=1e-5, momentum=0.1) if norm else None
        self.activation = activation
        if init:
            init_truncated_normal_(self.conv)

    def forward(self, maps: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Apply the unit to (N, C, H, W); with ``size``, upsample to it after the convolution."""
        maps = self.conv(maps)
        if size is not None:
            maps = upsample(maps, size)
        if self.norm is not None:
            maps = self.norm(maps)
        return F.elu(maps, inplace=True) if self.activation else maps


def upsample(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return maps (N, C, h, w) at another size, by bilinear interpolation."""
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def mean_of_maps(maps: Tensor) -> Tensor:
    """Return the mean of each map of (N, K, H, W), (N, K) in fp32 or better."""
    # The sum is divided, not the map: its gradient, the same at all places, is never written out.
    total = maps.sum(dim=(2, 3), dtype=at_least_fp32(maps.dtype))
    return total / (maps.shape[2] * maps.shape[3])


def l2_normalize_channels(maps: Tensor) -> Tensor:
    """L2-normalise (N, C, H, W) along the channels, the norm in fp32; a zero column stays 0."""
    wide = widened(maps)
    squared = wide.square().sum(dim=1, keepdim=True)
    return (wide * squared.clamp_min(NORM_EPS**2).rsqrt()).to(maps.dtype)


def side_by_side(parts: Sequence[Tensor]) -> Tensor:
    """Return the hypercolumn of parts (N, C, H, W), each L2-normalised first."""
    return torch.cat([l2_normalize_channels(part) for part in parts], dim=1)


def init_truncated_normal_(layer: nn.Conv2d | nn.Linear) -> None:
    """Draw new weights from a normal of std 0.02, truncated at two of it (Sec. 3.3); bias 0."""
    nn.init.trunc_normal_(layer.weight, std=INITIAL_STD, a=-2 * INITIAL_STD, b=2 * INITIAL_STD)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


class HypercolumnFilters(nn.Module):
    """Three feature maps side by side at the size of the first, then the filters Ψ: ψ(I).

    Each map, of the given ``channels``, finest first, goes through a 1×1 convolution, upsampling,
    batch norm and ELU, as conv43 and conv53 do in Table 1. CASIA-Net's finest map enters as it is;
    here it has them too, as another extractor's maps may have very unlike channels.
    """

    def __init__(self, channels: Sequence[int], num_filters: int, part_channels: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList(ConvBNELU(count, part_channels, kernel=1) for count in channels)
        self.psi = ConvBNELU(3 * part_channels, num_filters, activation=False)

    @property
    def filters(self) -> Tensor:
        """The filters F of Ψ, (K, C, 3, 3)."""
        return self.psi.conv.weight

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return ψ(I), (N, K, h, w) at the size of the first of three maps (N, C, h, w)."""
        size = maps[0].shape[2:]
        pairs = zip(self.parts, maps, strict=True)
        parts = [unit(one, None if one.shape[2:] == size else size) for unit, one in pairs]
        return self.psi(side_by_side(parts))


def check_images(images: Tensor, multiple: int) -> None:
    """Refuse what is not (N, 3, H, W), H and W multiples of what a backbone shrinks them by."""
    shape = tuple(images.shape)
    if len(shape) != 4 or shape[1] != 3 or shape[2] % multiple or shape[3] % multiple:
        wanted = f"(N, 3, H, W) with H and W multiples of {multiple}"
        raise ValueError(f"images must be {wanted}, got {shape}; crop or resize them first")
