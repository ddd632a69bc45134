"""The hypercolumn Φ and the filters Ψ on three feature maps of any extractor."""

from collections.abc import Sequence

from torch import Tensor, nn

from ifr.models.layers import ConvBNELU, side_by_side

PART_CHANNELS = 192  # of each of the three parts of Φ (Table 1)


class HypercolumnFilters(nn.Module):
    """Three feature maps side by side at the size of the first, then the filters Ψ: ψ(I).

    Each map goes through a 1×1 convolution, is upsampled to the size of the first map, then batch
    norm and ELU, as Table 1 does for conv43 and conv53. In CASIA-Net the finest map, conv33, enters
    as it is; the channels of another extractor's maps may be very unlike, so here all three
    are brought to the same number.

    ``channels`` are those of the three maps, finest first. As the released code does, each part is
    L2-normalised along its channels, and batch norm but no activation follows Ψ.
    """

    def __init__(
        self,
        channels: Sequence[int],
        num_filters: int,
        *,
        part_channels: int = PART_CHANNELS,
        normalise_parts: bool = True,
        response_norm: bool = True,
    ) -> None:
        super().__init__()
        if len(channels) != 3:
            raise ValueError(f"a hypercolumn needs three maps, got channels {tuple(channels)}")
        self.normalise_parts = normalise_parts
        self.parts = nn.ModuleList(ConvBNELU(count, part_channels, kernel=1) for count in channels)
        self.psi = ConvBNELU(3 * part_channels, num_filters, norm=response_norm, activation=False)

    @property
    def filters(self) -> Tensor:
        """The filters F of Ψ, (K, C, 3, 3)."""
        return self.psi.conv.weight

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return ψ(I), (N, K, h, w) at the size of the first of three maps (N, C, h, w)."""
        size = maps[0].shape[2:]
        pairs = zip(self.parts, maps, strict=True)
        parts = [unit(one, None if one.shape[2:] == size else size) for unit, one in pairs]
        return self.psi(side_by_side(parts, self.normalise_parts))
