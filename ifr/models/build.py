"""A face network from plain values, as profiles and checkpoints write them down."""

from collections.abc import Sequence

from torch import nn

from ifr.models.adapters import TorchvisionBackbone
from ifr.models.casianet import CasiaNet
from ifr.models.facenet import InterpretableFaceNet
from ifr.models.iresnet import IResNet50
from ifr.profiles import PAPER_FILTERS, PAPER_LMF_RATE

TORCHVISION = "torchvision/"  # before the name of one of its networks


def build_model(
    *,
    backbone: str = "casianet",
    layers: Sequence[str] | None = None,
    num_filters: int = PAPER_FILTERS,
    width: float = 1.0,
    rate: float = PAPER_LMF_RATE,
    num_classes: int | None = None,
    dropout: float = 0.4,
    feature_scale: float = 1.0,
    head: str = "softmax",
    margin: float | None = None,
    head_scale: float = 64.0,
    normalise_parts: bool = True,
    response_norm: bool = True,
) -> InterpretableFaceNet:
    """Build the face network from plain values, the arguments of its parts.

    Args:
        backbone: ``"casianet"``, ``"iresnet50"``, or ``"torchvision/"`` and the name of one of its
            networks, such as ``"torchvision/resnet18"``.
        layers: three feature layers of a torchvision network, finest first.
        num_filters: K.
        width: factor on CASIA-Net's channels; the others have one width, 1.
        rate: of LMF.
        num_classes: identities of the classifier, None for none.
        dropout: before the classifier.
        feature_scale: factor on the feature before the classifier.
        head: ``"softmax"``, ``"arcface"`` or ``"cosface"``.
        margin: of a margin head, None for its paper's.
        head_scale: of a margin head.
        normalise_parts: L2-normalise the parts of the hypercolumn.
        response_norm: batch norm after Ψ.

    Raises:
        ValueError: for an unknown backbone, or an argument it does not take.
    """
    common = dict(normalise_parts=normalise_parts, response_norm=response_norm)
    return InterpretableFaceNet(
        _backbone(backbone, layers, num_filters, width, common),
        rate=rate,
        num_classes=num_classes,
        dropout=dropout,
        feature_scale=feature_scale,
        head=head,
        margin=margin,
        head_scale=head_scale,
    )


def _backbone(
    name: str, layers: Sequence[str] | None, num_filters: int, width: float, common: dict
) -> nn.Module:
    torchvision = name.startswith(TORCHVISION)
    if layers is not None and not torchvision:
        raise ValueError(f"backbone {name!r} has layers of its own: leave layers out")
    if name == "casianet":
        return CasiaNet(num_filters, width=width, **common)
    if width != 1:
        raise ValueError(f"backbone {name!r} has one width, 1; got {width}")
    if name == "iresnet50":
        return IResNet50(num_filters, **common)
    if torchvision:
        name = name.removeprefix(TORCHVISION)
        return TorchvisionBackbone(name, layers, num_filters=num_filters, **common)
    raise ValueError(f"unknown backbone {name!r}: choose casianet, iresnet50 or {TORCHVISION}NAME")
