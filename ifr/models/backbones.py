"""The backbones, images to ψ(I): CASIA-Net (Table 1), ArcFace's ResNet-50, any of torchvision."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from difflib import get_close_matches
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ifr.common.errors import UserError
from ifr.landmarks import CROP_SIZE, FACE_SIZE
from ifr.models.layers import (
    PART_CHANNELS,
    ConvBNELU,
    HypercolumnFilters,
    check_images,
    side_by_side,
    upsample,
)
from ifr.models.state import load_weights, read_state, require_same
from ifr.profiles import PAPER_FILTERS

# Table 1, the feature extractor: name -> (output channels, stride). None stands for K.
_BLOCKS = ((32, 64), (64, 64, 128), (128, 96, 192), (192, 128, 256), (256, 160, None))
EXTRACTOR: dict[str, tuple[int | None, int]] = {
    f"conv{block}{number}": (count, 2 if number == 1 < block else 1)
    for block, counts in enumerate(_BLOCKS, start=1)
    for number, count in enumerate(counts, start=1)
}
STAGES = (3, 4, 14, 3)  # residual blocks of each stage of the 50-layer network
WIDTHS = (64, 128, 256, 512)
TAPPED = (1, 2, 3)  # stages of the hypercolumn: 28, 14 and 7 pixels wide for a 112-pixel face
EMBEDDING = 512
OWN = "hypercolumn"  # the one module that ArcFace's network does not have
USUAL = {"resnet": ("layer1", "layer2", "layer3")}  # the stages at 1/4, 1/8, 1/16 of the input


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
        self, num_filters: int = PAPER_FILTERS, *, width: float = 1.0, table_order: bool = False
    ) -> None:
        super().__init__()
        if num_filters < 1 or width <= 0:
            got = f"{num_filters} and {width}"
            raise UserError(f"num_filters must be at least 1 and width above 0, got {got}")
        self.num_filters, self.table_order = num_filters, table_order
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
        self.psi = ConvBNELU(columns, num_filters, activation=False)

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
        middle, coarse = upsample(taps["conv43"], size), upsample(taps["conv53"], size)
        return fine, self.conv44(middle), self.conv54(coarse)

    def hypercolumn(self, images: Tensor) -> Tensor:
        """Return Φ(I), (N, 576, H/4, W/4) at width 1: conv33, conv44 and conv54 side by side."""
        return side_by_side(self.parts(images))

    def forward(self, images: Tensor) -> Tensor:
        """Return ψ(I) = F * Φ(I) before LMF, signed, (N, K, H/4, W/4), of images in [-1, 1]."""
        return self.psi(self.hypercolumn(images))

    def layer_shapes(self, size: int = CROP_SIZE) -> dict[str, tuple[int, ...]]:
        """Return (height, width, channels) of each row of Table 1, as a forward pass gives them."""
        network = deepcopy(self).eval()  # whose batch norm takes no notice of this pass
        shapes: dict[str, tuple[int, ...]] = {}

        def record(name: str, _: nn.Module, inputs: tuple, output: Tensor) -> None:
            shapes[name] = (*output.shape[2:], output.shape[1])

        for name, module in network.named_children():
            module.register_forward_hook(partial(record, name))
        with torch.no_grad():
            network(torch.zeros(1, 3, size, size, device=self.filters.device))
        finest = shapes["conv33"][:2]  # to which the coarser maps are upsampled
        shapes |= {f"{name}-U": (*finest, shapes[name][2]) for name in ("conv43", "conv53")}
        shapes |= {"Φ": (*finest, self.filters.shape[1]), "Ψ": shapes["psi"]}
        shapes["AvgPool"] = (1, 1, self.num_filters)
        order = [*EXTRACTOR, "conv43-U", "conv44", "conv53-U", "conv54", "Φ", "Ψ", "AvgPool"]
        return {name: shapes[name] for name in order}


class IBasicBlock(nn.Module):
    """ArcFace's residual block: norm, 3×3, norm, PReLU, 3×3, norm, and the shortcut added."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.prelu = nn.PReLU(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            shrink = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(shrink, nn.BatchNorm2d(outputs))

    def forward(self, maps: Tensor) -> Tensor:
        """Return (N, outputs, H/stride, W/stride) for (N, inputs, H, W)."""
        shortcut = maps if self.downsample is None else self.downsample(maps)
        branch = self.prelu(self.bn2(self.conv1(self.bn1(maps))))
        return self.bn3(self.conv2(branch)) + shortcut


class IResNet50(nn.Module):
    """The modified ResNet-50 of ArcFace [12] with a hypercolumn; images to ψ(I).

    The paper takes "3 layers at different resolutions"; we take the ends of stages 2, 3 and 4, at
    28 × 28 pixels. The tensors are named as in InsightFace's ``arcface_torch`` iresnet50, whose
    ``backbone.pth`` loads; with ``embedding_layers`` ArcFace's own last layers are there too.
    """

    extractor = frozenset({"conv1", "bn1", "prelu", "layer1", "layer2", "layer3", "layer4"})
    bn2: nn.BatchNorm2d  # these three with embedding_layers only
    fc: nn.Linear
    features: nn.BatchNorm1d

    def __init__(
        self,
        num_filters: int = 512,
        *,
        embedding_layers: bool = False,
        part_channels: int = PART_CHANNELS,
    ) -> None:
        super().__init__()
        self.num_filters = num_filters
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.prelu = nn.PReLU(WIDTHS[0])
        inputs = WIDTHS[0]
        for number, (blocks, width) in enumerate(zip(STAGES, WIDTHS, strict=True), start=1):
            stage = [IBasicBlock(inputs, width, 2)]
            stage += [IBasicBlock(width, width, 1) for _ in range(blocks - 1)]
            self.add_module(f"layer{number}", nn.Sequential(*stage))
            inputs = width
        for name, module in _embedding_layers().items() if embedding_layers else ():
            self.add_module(name, module)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0, 0.1)  # as ArcFace draws them
        channels = [WIDTHS[stage] for stage in TAPPED]
        self.hypercolumn = HypercolumnFilters(channels, num_filters, part_channels)

    @property
    def filters(self) -> Tensor:
        """The filters F of Ψ, (K, C, 3, 3): what Eq. 1 makes diverse."""
        return self.hypercolumn.filters

    def stages(self, images: Tensor) -> list[Tensor]:
        """Return the maps after each of the four stages, (N, C, H/2, W/2) to (N, C, H/16, W/16)."""
        check_images(images, 16)
        maps, stages = self.prelu(self.bn1(self.conv1(images))), []
        for number in range(1, len(STAGES) + 1):
            maps = self.get_submodule(f"layer{number}")(maps)
            stages.append(maps)
        return stages

    def forward(self, images: Tensor) -> Tensor:
        """Return ψ(I) before LMF, signed, (N, K, H/4, W/4), of RGB images in [-1, 1]."""
        stages = self.stages(images)
        return self.hypercolumn([stages[stage] for stage in TAPPED])

    def embedding(self, images: Tensor) -> Tensor:
        """Return ArcFace's own feature (N, 512) of images (N, 3, 112, 112), without Ψ."""
        if not hasattr(self, "fc"):
            raise ValueError("this network has no embedding: build it with embedding_layers=True")
        if tuple(images.shape[2:]) != (FACE_SIZE, FACE_SIZE):
            got = tuple(images.shape)
            raise ValueError(f"ArcFace takes {FACE_SIZE} x {FACE_SIZE} images, got {got}")
        maps = self.bn2(self.stages(images)[-1])
        return self.features(self.fc(maps.flatten(1)))

    def load_backbone(self, source: Path | Mapping[str, Tensor]) -> None:
        """Load a published ``backbone.pth``, each tensor checked; the hypercolumn stays."""
        state = source if isinstance(source, Mapping) else read_state(Path(source))
        name = "the given state" if isinstance(source, Mapping) else str(source)
        own = self.state_dict()
        with torch.device("meta"):
            published = nn.ModuleDict(_embedding_layers()).state_dict()
        published |= {key: own[key] for key in own if key.split(".")[0] != OWN}
        require_same(published, state, name)
        self.load_state_dict({k: v for k, v in state.items() if k in own}, strict=False)


def _embedding_layers() -> dict[str, nn.Module]:
    width, side = WIDTHS[-1], FACE_SIZE // 2 ** len(STAGES)
    features = nn.BatchNorm1d(EMBEDDING)
    features.weight.requires_grad = False  # ArcFace fixes it at 1
    linear = nn.Linear(width * side * side, EMBEDDING)
    return dict(bn2=nn.BatchNorm2d(width), fc=linear, features=features)


class TorchvisionBackbone(nn.Module):
    """A torchvision classification network, such as ``"resnet18"``, with a hypercolumn on it.

    ``layers`` are three nodes of its graph, finest first, those of its family in ``USUAL`` if None;
    ``weights`` is a file with its state dict, random if None: nothing is downloaded.
    """

    extractor = frozenset({"trunk"})

    def __init__(
        self,
        name: str,
        layers: Sequence[str] | None = None,
        *,
        num_filters: int = PAPER_FILTERS,
        weights: Path | None = None,
        part_channels: int = PART_CHANNELS,
    ) -> None:
        super().__init__()
        # Here, since it takes longer to import than all else and few networks need it.
        from torchvision import models
        from torchvision.models import feature_extraction

        known = models.list_models(module=models)
        if name not in known:
            near = get_close_matches(name, known, 3) or known[:3]
            raise UserError(f"torchvision has no network {name!r}; did you mean {near}?")
        network = models.get_model(name, weights=None)
        if weights is not None:
            load_weights(network, read_state(Path(weights)), source=str(weights))
        nodes = feature_extraction.get_graph_node_names(network)[1]
        self.layers = _layers(name, nodes, layers)
        self.num_filters = num_filters
        chosen = {node: node for node in self.layers}
        self.trunk = feature_extraction.create_feature_extractor(network, chosen)
        self.hypercolumn = HypercolumnFilters(self._channels(), num_filters, part_channels)

    @property
    def filters(self) -> Tensor:
        """The filters F of Ψ, (K, C, 3, 3)."""
        return self.hypercolumn.filters

    def forward(self, images: Tensor) -> Tensor:
        """Return the response maps ψ(I), (N, K, h, w) at the size of the first layer's maps."""
        maps = self.trunk(images)
        return self.hypercolumn([maps[node] for node in self.layers])

    def _channels(self) -> list[int]:
        """Return the channels of the three layers, as a forward pass gives them."""
        with torch.no_grad():
            maps = self.trunk.eval()(torch.zeros(1, 3, CROP_SIZE, CROP_SIZE))
        self.trunk.train()
        shapes = [tuple(maps[node].shape) for node in self.layers]
        if any(len(shape) != 4 for shape in shapes):
            raise UserError(f"layers must give maps (N, C, h, w), got {shapes}")
        if sorted(shapes, key=lambda shape: -shape[3]) != shapes:
            raise UserError(f"layers must be named finest first, got maps {shapes}")
        return [shape[1] for shape in shapes]


def _layers(name: str, nodes: Sequence[str], layers: Sequence[str] | None) -> tuple[str, ...]:
    family = next((usual for start, usual in USUAL.items() if name.startswith(start)), ())
    layers = tuple(layers or family)
    if len(layers) != 3:
        raise UserError(f"name three layers of {name}, finest first, got {layers}; it has {nodes}")
    for node in layers:
        if node not in nodes and not any(known.startswith(f"{node}.") for known in nodes):
            near = get_close_matches(node, nodes, 5) or [one for one in nodes if "." not in one]
            raise UserError(f"{name} has no layer {node!r}; did you mean one of {near}?")
    return layers
