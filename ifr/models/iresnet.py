"""The paper's second backbone: the ResNet-50 of ArcFace, with a hypercolumn."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ifr.landmarks import FACE_SIZE
from ifr.models.layers import HypercolumnFilters, check_images
from ifr.models.state import read_state, require_same

STAGES = (3, 4, 14, 3)  # residual blocks of each stage of the 50-layer network
WIDTHS = (64, 128, 256, 512)
TAPPED = (1, 2, 3)  # stages of the hypercolumn: 28, 14 and 7 pixels wide for a 112-pixel face
EMBEDDING = 512
OWN = "hypercolumn"  # the one module that ArcFace's network does not have


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
        self, num_filters: int = 512, *, embedding_layers: bool = False, **hypercolumn: Any
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
        self.embedding_layers = embedding_layers
        for name, module in _embedding_layers().items() if embedding_layers else ():
            self.add_module(name, module)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0, 0.1)  # as ArcFace draws them
        channels = [WIDTHS[stage] for stage in TAPPED]
        self.hypercolumn = HypercolumnFilters(channels, num_filters, **hypercolumn)

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
        if not self.embedding_layers:
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
