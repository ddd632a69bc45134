"""A face network from plain values, as profiles and checkpoints write them down."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from ifr.common.errors import UserError
from ifr.models.adapters import TorchvisionBackbone
from ifr.models.casianet import CasiaNet
from ifr.models.facenet import InterpretableFaceNet
from ifr.models.heads import make_head
from ifr.models.iresnet import IResNet50
from ifr.profiles import PAPER_FILTERS, PAPER_LMF_RATE

TORCHVISION = "torchvision/"  # before the name of one of its networks


@dataclass(frozen=True)
class NetworkSettings:
    """What a face network is built from: the record that is kept with its weights."""

    backbone: str = "casianet"  # or "iresnet50", or such as "torchvision/resnet18"
    layers: Sequence[str] | None = None  # three of a torchvision network, finest first
    num_filters: int = PAPER_FILTERS  # K
    width: float = 1.0  # factor on CASIA-Net's channels; the others have one width, 1
    rate: float = PAPER_LMF_RATE  # of LMF
    num_classes: int | None = None  # identities of the classifier, None for none
    dropout: float = 0.4  # before the classifier
    feature_scale: float = 1.0  # factor on the feature before the classifier
    head: str = "softmax"  # or "arcface", "cosface"
    margin: float | None = None  # of a margin head, None for its paper's
    head_scale: float = 64.0  # of a margin head
    normalise_parts: bool = True  # L2-normalise the parts of the hypercolumn
    response_norm: bool = True  # batch norm after Ψ


def build_model(settings: NetworkSettings | None = None, **fields: Any) -> InterpretableFaceNet:
    """Build the face network from its settings, or from some of their fields by name."""
    settings = NetworkSettings(**fields) if settings is None else settings
    backbone, classifier = _backbone(settings), None  # in this order weights are drawn
    if settings.num_classes is not None:
        sizes = (settings.num_filters, settings.num_classes)
        margin, scale = settings.margin, settings.head_scale
        classifier = make_head(settings.head, *sizes, margin=margin, scale=scale)
    extra = dict(rate=settings.rate, dropout=settings.dropout, feature_scale=settings.feature_scale)
    return InterpretableFaceNet(backbone, classifier, **extra)


def _backbone(settings: NetworkSettings) -> nn.Module:
    name, filters = settings.backbone, settings.num_filters
    options: dict[str, Any] = dict(normalise_parts=settings.normalise_parts)
    options["response_norm"] = settings.response_norm
    torchvision = name.startswith(TORCHVISION)
    if settings.layers is not None and not torchvision:
        raise UserError(f"backbone {name!r} has layers of its own: leave layers out")
    if name == "casianet":
        return CasiaNet(filters, width=settings.width, **options)
    if settings.width != 1:
        raise UserError(f"backbone {name!r} has one width, 1; got {settings.width}")
    if name == "iresnet50":
        return IResNet50(filters, **options)
    if torchvision:
        name = name.removeprefix(TORCHVISION)
        return TorchvisionBackbone(name, settings.layers, num_filters=filters, **options)
    raise UserError(f"unknown backbone {name!r}: choose casianet, iresnet50 or {TORCHVISION}NAME")
