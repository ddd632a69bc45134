"""The parts of every network here: large magnitude filtering, convolution units, unit columns."""

import torch
from torch import nn
from torch.nn import functional as F

from ifr.common.errors import UserError
from ifr.common.tensors import at_least_fp32, check_floating
from ifr.profiles import PAPER_LMF_RATE

INITIAL_STD = 0.02  # of new weights, Sec. 3.3
NORM_EPS = 1e-6  # a hypercolumn part shorter than this is divided by this instead


def num_kept(height: int, width: int, rate: float) -> int:
    """Return how many responses of a map LMF keeps: ``round((1 - rate) * height * width)``."""
    if not 0 <= rate < 1:
        raise UserError(
            f"rate must be in [0, 1), the share of responses set to 0, got {rate}; "
            "the paper's 95.83 % is rate=0.9583"
        )
    keep = round((1 - rate) * height * width)
    if keep == 0:
        raise UserError(
            f"rate {rate} keeps no response of a {height}×{width} map: lower the rate to at most "
            f"{1 - 1 / (height * width):.4f}"
        )
    return keep


def large_magnitude_filter(response: torch.Tensor, rate: float = PAPER_LMF_RATE) -> torch.Tensor:
    """Set the share ``rate`` of smallest magnitudes of every response map to 0 (LMF, Sec. 3.1).

    Exactly ``round((1 - rate) * H * W)`` responses of each map are kept, with their sign; of equal
    magnitudes the one nearer the start of the map (row by row) is kept. The gradient goes through
    what is kept. A NaN counts as the largest magnitude, so it stays visible in the result.

    Args:
        response: (N, K, H, W) signed responses ψ(I), any floating type and memory layout.
        rate: d %, as a share in [0, 1).

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


def _largest(magnitude: torch.Tensor, keep: int) -> torch.Tensor:
    """Mark the ``keep`` largest of each row (..., P), the first of equal ones.

    ``topk`` promises nothing about ties, and bf16 has many. The bits of a non-negative float sort
    like the float; with the position packed below them every key is unique, so the ``keep``-th
    largest key is an exact threshold.
    """
    count = magnitude.shape[-1]
    if magnitude.dtype == torch.float64 or count > 1 << 16:  # no room for the position
        order = magnitude.sort(dim=-1, descending=True, stable=True).indices
        mask = torch.zeros_like(magnitude, dtype=torch.bool)
        return mask.scatter_(-1, order[..., :keep], True)
    half = magnitude.dtype in (torch.bfloat16, torch.float16)
    bits, packed = (torch.int16, torch.int32) if half else (torch.int32, torch.int64)
    key = magnitude.view(bits).to(packed) << 16
    key |= torch.arange(count - 1, -1, -1, dtype=packed, device=key.device)
    threshold = key.topk(keep, dim=-1, sorted=False).values.amin(dim=-1, keepdim=True)
    return key >= threshold


class ConvBNELU(nn.Module):
    """Convolution, batch norm (released: decay 0.9, eps 1e-5) and ELU, each but the first optional.

    Args:
        inputs: input channels.
        outputs: output channels.
        kernel: 3 or 1; the map keeps its size at stride 1.
        stride: 1 or 2.
        norm: whether batch norm follows.
        activation: whether ELU follows.
        init: draw the weights as the paper draws its new layers, from a truncated normal of std
            0.02; False leaves torch's own (Kaiming), which learn faster in an extractor that is
            trained from nothing. The paper takes its extractor over from a trained network.
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

    def forward(self, maps: torch.Tensor, size: tuple[int, int] | None = None) -> torch.Tensor:
        """Apply the unit to (N, C, H, W); with ``size``, upsample to it after the convolution."""
        maps = self.conv(maps)
        if size is not None:
            maps = F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
        if self.norm is not None:
            maps = self.norm(maps)
        return F.elu(maps, inplace=True) if self.activation else maps


def mean_of_maps(maps: torch.Tensor) -> torch.Tensor:
    """Return the mean of each map of (N, K, H, W), (N, K) in fp32 or better."""
    return maps.mean(dim=(2, 3), dtype=at_least_fp32(maps.dtype))


def l2_normalize_channels(maps: torch.Tensor) -> torch.Tensor:
    """L2-normalise (N, C, H, W) along the channels, the norm in fp32; a zero column stays 0."""
    norm = torch.linalg.vector_norm(maps, dim=1, keepdim=True, dtype=at_least_fp32(maps.dtype))
    return maps * norm.clamp_min(NORM_EPS).reciprocal().to(maps.dtype)


def init_truncated_normal_(layer: nn.Conv2d | nn.Linear) -> None:
    """Draw new weights from a normal of std 0.02, truncated at two of it (Sec. 3.3); bias 0."""
    nn.init.trunc_normal_(layer.weight, std=INITIAL_STD, a=-2 * INITIAL_STD, b=2 * INITIAL_STD)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def check_images(images: torch.Tensor, multiple: int) -> None:
    """Refuse what is not (N, 3, H, W), H and W multiples of what a backbone shrinks them by."""
    if images.ndim != 4 or images.shape[1] != 3 or any(n % multiple for n in images.shape[2:]):
        raise ValueError(
            f"images must be (N, 3, H, W) with H and W multiples of {multiple}, got shape "
            f"{tuple(images.shape)}; crop or resize them first"
        )
