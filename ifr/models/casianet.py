"""CASIA-Net with a hypercolumn (Table 1): images to response maps."""

from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ifr.common.errors import UserError
from ifr.landmarks import CROP_SIZE
from ifr.models.layers import PART_CHANNELS, ConvBNELU, check_images, side_by_side
from ifr.profiles import PAPER_FILTERS

# Table 1, the feature extractor: name -> (output channels, stride). None stands for K.
_BLOCKS = ((32, 64), (64, 64, 128), (128, 96, 192), (192, 128, 256), (256, 160, None))
EXTRACTOR: dict[str, tuple[int | None, int]] = {
    f"conv{block}{number}": (count, 2 if number == 1 < block else 1)
    for block, counts in enumerate(_BLOCKS, start=1)
    for number, count in enumerate(counts, start=1)
}


class CasiaNet(nn.Module):
    """Table 1: the CASIA-Net extractor, the hypercolumn Φ and the filters Ψ; images to ψ(I).

    Table 1 upsamples conv43 and conv53, then applies the 1×1 convolutions conv44 and conv54. The
    steps commute, so we convolve the small maps and upsample after it: the same numbers; pass
    ``table_order=True`` to match. (The table names conv32 as its own input; we take conv31.)

    K is ``num_filters``, also the channels of conv53; ``width`` scales every other channel count.
    As in the released code, the parts of Φ are L2-normalised along their channels, and batch norm
    but no activation follows Ψ, so the responses keep their sign.
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
            got = f"{num_filters} and {width}"
            raise UserError(f"num_filters must be at least 1 and width above 0, got {got}")
        self.num_filters = num_filters
        self.normalise_parts, self.table_order = normalise_parts, table_order
        channels, inputs = {}, 3
        for name, (count, stride) in EXTRACTOR.items():
            outputs = num_filters if count is None else max(1, round(count * width))
            more = name != "conv53"  # released: neither batch norm nor ELU after conv53
            unit = ConvBNELU(inputs, outputs, stride=stride, norm=more, activation=more, init=False)
            self.add_module(name, unit)
            channels[name] = inputs = outputs
        part = max(1, round(PART_CHANNELS * width))
        self.conv44 = ConvBNELU(channels["conv43"], part, kernel=1)
        self.conv54 = ConvBNELU(channels["conv53"], part, kernel=1)
        columns = channels["conv33"] + 2 * part
        self.psi = ConvBNELU(columns, num_filters, norm=response_norm, activation=False)

    @property
    def filters(self) -> Tensor:
        """The filters F of Ψ, (K, C, 3, 3): what Eq. 1 makes diverse."""
        return self.psi.conv.weight

    def parts(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
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

    def hypercolumn(self, images: Tensor) -> Tensor:
        """Return Φ(I), (N, 576, H/4, W/4) at width 1: conv33, conv44 and conv54 side by side."""
        return side_by_side(self.parts(images), self.normalise_parts)

    def forward(self, images: Tensor) -> Tensor:
        """Return ψ(I) = F * Φ(I) before LMF, signed, (N, K, H/4, W/4), of images in [-1, 1]."""
        return self.psi(self.hypercolumn(images))

    def layer_shapes(self, size: int = CROP_SIZE) -> dict[str, tuple[int, ...]]:
        """Return (height, width, channels) of each row of Table 1, as a forward pass gives them."""
        network = deepcopy(self).eval()  # whose batch norm takes no notice of this pass
        upsampled, shapes = {"conv44": "conv43-U", "conv54": "conv53-U"}, {}

        def record(name: str, _: nn.Module, inputs: tuple, output: Tensor) -> None:
            shapes[name] = (*output.shape[2:], output.shape[1])
            if name in upsampled:  # the row above it: its input, at this size
                shapes[upsampled[name]] = (*output.shape[2:], inputs[0].shape[1])

        for name, module in network.named_children():
            module.register_forward_hook(partial(record, name))
        with torch.no_grad():
            network(torch.zeros(1, 3, size, size, device=self.filters.device))
        shapes["Ψ"] = shapes["psi"]
        shapes["Φ"] = (*shapes["Ψ"][:2], self.filters.shape[1])
        shapes["AvgPool"] = (1, 1, self.num_filters)
        order = [*EXTRACTOR, "conv43-U", "conv44", "conv53-U", "conv54", "Φ", "Ψ", "AvgPool"]
        return {name: shapes[name] for name in order}
