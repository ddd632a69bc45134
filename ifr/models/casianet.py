"""CASIA-Net with a hypercolumn (Table 1): images to response maps."""

from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from ifr.common.errors import UserError
from ifr.landmarks import CROP_SIZE
from ifr.models.hypercolumn import PART_CHANNELS
from ifr.models.layers import ConvBNELU, check_images, l2_normalize_channels
from ifr.profiles import PAPER_FILTERS

# Table 1, the feature extractor: name -> (output channels, stride). None stands for K.
EXTRACTOR: dict[str, tuple[int | None, int]] = {
    "conv11": (32, 1),
    "conv12": (64, 1),
    "conv21": (64, 2),
    "conv22": (64, 1),
    "conv23": (128, 1),
    "conv31": (128, 2),
    "conv32": (96, 1),
    "conv33": (192, 1),
    "conv41": (192, 2),
    "conv42": (128, 1),
    "conv43": (256, 1),
    "conv51": (256, 2),
    "conv52": (160, 1),
    "conv53": (None, 1),
}


class CasiaNet(nn.Module):
    """Table 1: the CASIA-Net extractor, the hypercolumn Φ and the filters Ψ; images to ψ(I).

    Table 1 upsamples conv43 and conv53, then applies the 1×1 convolutions conv44 and conv54. Both
    steps are linear and commute, so we convolve the small maps (4 and 16 times less work) and
    upsample before batch norm and ELU: the same numbers. Pass ``table_order=True`` for the order
    of the table. (The table names conv32 as its own input; we take conv31.)

    Args:
        num_filters: K, the filters of Ψ and the channels of conv53.
        width: factor on every other channel count of the table; 1 is the paper's network.
        normalise_parts: L2-normalise each part of Φ along its channels, as the released code does.
        response_norm: batch norm after Ψ, as the released code does; never an activation, so the
            responses keep their sign.
        table_order: upsample before the 1×1 convolutions.
    """

    extractor = frozenset(EXTRACTOR)

    def __init__(
        self,
        num_filters: int = PAPER_FILTERS,
        *,
        width: float = 1.0,
        normalise_parts: bool = True,
        response_norm: bool = True,
        table_order: bool = False,
    ) -> None:
        super().__init__()
        if num_filters < 1 or width <= 0:
            raise UserError(
                f"num_filters must be at least 1 and width above 0, got {num_filters} and {width}"
            )
        self.num_filters = num_filters
        self.normalise_parts = normalise_parts
        self.table_order = table_order
        channels = {
            name: _scaled(count, width, num_filters) for name, (count, _) in EXTRACTOR.items()
        }
        inputs = 3
        for name, (_, stride) in EXTRACTOR.items():
            more = name != "conv53"  # released: neither batch norm nor ELU after conv53
            options: dict[str, Any] = dict(stride=stride, norm=more, activation=more, init=False)
            self.add_module(name, ConvBNELU(inputs, channels[name], **options))
            inputs = channels[name]
        part = _scaled(PART_CHANNELS, width, num_filters)
        self.conv44 = ConvBNELU(channels["conv43"], part, kernel=1)
        self.conv54 = ConvBNELU(channels["conv53"], part, kernel=1)
        columns = channels["conv33"] + 2 * part
        self.psi = ConvBNELU(columns, num_filters, norm=response_norm, activation=False)

    @property
    def filters(self) -> torch.Tensor:
        """The filters F of Ψ, (K, C, 3, 3): what Eq. 1 makes diverse."""
        return self.psi.conv.weight

    def parts(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the three parts of Φ, each (N, C, H/4, W/4), before normalisation."""
        check_images(images, 8)
        maps, taps = images, {}
        for name in EXTRACTOR:
            maps = taps[name] = self.get_submodule(name)(maps)
        fine, size = taps["conv33"], tuple(taps["conv33"].shape[2:])
        if not self.table_order:
            return fine, self.conv44(taps["conv43"], size), self.conv54(taps["conv53"], size)
        upsample = partial(F.interpolate, size=size, mode="bilinear", align_corners=False)
        return fine, self.conv44(upsample(taps["conv43"])), self.conv54(upsample(taps["conv53"]))

    def hypercolumn(self, images: torch.Tensor) -> torch.Tensor:
        """Return Φ(I), (N, 576, H/4, W/4) at width 1: conv33, conv44 and conv54 side by side."""
        parts = list(self.parts(images))
        if self.normalise_parts:
            parts = [l2_normalize_channels(part) for part in parts]
        return torch.cat(parts, dim=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the response maps ψ(I) = F * Φ(I) before LMF, signed, (N, K, H/4, W/4).

        Args:
            images: (N, 3, H, W) in [-1, 1], H and W multiples of 8; the paper's are 96×96.
        """
        return self.psi(self.hypercolumn(images))

    def layer_shapes(self, size: int = CROP_SIZE) -> dict[str, tuple[int, ...]]:
        """Return (height, width, channels) of every row of Table 1, as a forward pass gives them.

        Args:
            size: side of the square input, pixels.
        """
        shapes: dict[str, tuple[int, ...]] = {}
        upsampled = {"conv44": "conv43-U", "conv54": "conv53-U"}

        def record(name: str, _: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
            shapes[name] = (*output.shape[2:], output.shape[1])
            if name in upsampled:  # the row above it: its input, at this size
                shapes[upsampled[name]] = (*output.shape[2:], inputs[0].shape[1])

        modules = self.named_children()
        handles = [one.register_forward_hook(partial(record, name)) for name, one in modules]
        training, device = self.training, self.filters.device
        try:
            with torch.no_grad():
                response = self.eval()(torch.zeros(1, 3, size, size, device=device))
        finally:
            self.train(training)
            for handle in handles:
                handle.remove()
        shapes["Φ"] = (*response.shape[2:], self.filters.shape[1])
        shapes["Ψ"] = shapes.pop("psi")
        shapes["AvgPool"] = (1, 1, self.num_filters)
        order = [*EXTRACTOR, "conv43-U", "conv44", "conv53-U", "conv54", "Φ", "Ψ", "AvgPool"]
        return {name: shapes[name] for name in order}


def _scaled(count: int | None, width: float, num_filters: int) -> int:
    return num_filters if count is None else max(1, round(count * width))
