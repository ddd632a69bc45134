"""The face network: a backbone's response maps, LMF, pooling to the feature, the classifier."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ifr.common.errors import UserError
from ifr.common.tensors import widened, without_autocast
from ifr.losses import unit_rows
from ifr.models.backbones import CasiaNet, IResNet50, TorchvisionBackbone
from ifr.models.layers import (
    check_rate,
    init_truncated_normal_,
    large_magnitude_filter,
    mean_of_maps,
)
from ifr.models.state import require_same
from ifr.profiles import PAPER_FILTERS, PAPER_LMF_RATE

MARGINS = {"arcface": 0.5, "cosface": 0.35}  # radians; cosine. The papers' own on large sets
HEADS = ("softmax", *MARGINS)
TORCHVISION = "torchvision/"  # before the name of one of its networks


class InterpretableFaceNet(nn.Module):
    """The face network: ψ(I), LMF, average pooling to the feature f(I), and a shared classifier.

    LMF drops the share ``rate``, 0 none (the base network); the released code drops 0.4 of the
    feature before the classifier. ``feature_scale`` is a factor there; the paper has none (1), but
    filtered means are small, and new classifier weights take thousands of steps to grow.
    """

    backbone: Any  # with num_filters, filters and extractor, its modules before the hypercolumn

    def __init__(
        self,
        backbone: nn.Module,
        classifier: nn.Module | None = None,
        *,
        rate: float = PAPER_LMF_RATE,
        dropout: float = 0.4,
        feature_scale: float = 1.0,
    ) -> None:
        super().__init__()
        check_rate(rate)
        self.backbone, self.classifier = backbone, classifier
        self.rate, self.feature_scale = rate, feature_scale
        self.dropout = nn.Dropout(dropout)

    @property
    def filters(self) -> Tensor:
        """The filters F of Ψ, (K, C, 3, 3)."""
        return self.backbone.filters

    def response(self, images: Tensor) -> Tensor:
        """Return ψ(I) before LMF, (N, K, h, w)."""
        return self.backbone(images)

    def lmf_response(self, images: Tensor) -> Tensor:
        """Return LMF(ψ(I)), (N, K, h, w)."""
        return large_magnitude_filter(self.response(images), self.rate)

    def features_and_response(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return f(I), (N, K), and LMF(ψ(I)), (N, K, h, w), whose mean it is; fp32 or better."""
        filtered = widened(self.lmf_response(images))  # once, for both
        return mean_of_maps(filtered), filtered

    def features(self, images: Tensor) -> Tensor:
        """Return the face representation f(I), (N, K)."""
        return self.pool_lmf(self.response(images))

    def mean_response(self, images: Tensor) -> Tensor:
        """Return the mean of ψ, (N, K): what f(I) would be without LMF."""
        return mean_of_maps(self.response(images))

    def pool_lmf(self, response: Tensor) -> Tensor:
        """Return f from ψ: LMF, then the mean over the map, (N, K)."""
        return mean_of_maps(large_magnitude_filter(response, self.rate))

    def classify(
        self, features: Tensor, labels: Tensor | None = None, *, dropout_mask: Tensor | None = None
    ) -> Tensor:
        """Return identity logits (N, classes), of both branches (Eq. 3 and 5)."""
        # A given mask of factors replaces a draw of dropout.
        if self.classifier is None:
            raise UserError("this network has no classifier: build it with num_classes=...")
        scaled = features * self.feature_scale
        scaled = self.dropout(scaled) if dropout_mask is None else scaled * dropout_mask
        labelled = () if isinstance(self.classifier, nn.Linear) else (labels,)  # of margin heads
        return self.classifier(scaled, *labelled)

    def forward(self, images: Tensor) -> Tensor:
        """Return the face representation f(I), (N, K)."""
        return self.features(images)

    def load_extractor(self, state: Mapping[str, Tensor]) -> None:
        """Take over what lies before the hypercolumn of a trained face network or backbone."""
        prefix = "backbone." if any(name.startswith("backbone.") for name in state) else ""
        own = self.backbone.state_dict()
        wanted = [name for name in own if name.split(".")[0] in self.backbone.extractor]
        given = {name: state[prefix + name] for name in wanted if prefix + name in state}
        require_same({name: own[name] for name in wanted}, given, "the extractor's weights")
        self.backbone.load_state_dict(given, strict=False)


class MarginHead(nn.Module):
    """s · cos θ, with the angle θ_y to the labelled class made harder while training.

    ArcFace (Deng et al., CVPR 2019, Eq. 3) takes cos(θ_y + m), and cos θ_y - m sin m beyond π - m,
    where that would rise; CosFace (Wang et al., CVPR 2018, Eq. 4) takes cos θ_y - m.
    """

    def __init__(
        self, features: int, classes: int, kind: str, margin: float | None, scale: float
    ) -> None:
        super().__init__()
        margin = MARGINS[kind] if margin is None else margin
        if not 0 <= margin < math.pi / 2 or scale <= 0:
            got = f"{margin} and {scale}"
            raise UserError(f"a margin head needs 0 <= margin < π/2 and scale > 0, got {got}")
        self.kind, self.margin, self.scale = kind, margin, scale
        self.weight = nn.Parameter(torch.empty(classes, features))
        nn.init.normal_(self.weight, std=0.01)  # only its direction counts

    def forward(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return logits (N, classes) of features (N, K), with the margin at given labels (N,)."""
        # bf16 has three digits, too few for a cosine times 64.
        with without_autocast(features):
            directions = unit_rows(widened(features)), unit_rows(widened(self.weight))
            cosine = F.linear(*directions).clamp(-1, 1)  # 0, without a gradient, of a row of zeros
            if labels is None:
                return self.scale * cosine
            own = cosine.gather(1, labels[:, None])
            return self.scale * cosine.scatter(1, labels[:, None], self._harder(own))

    def _harder(self, cosine: Tensor) -> Tensor:
        if self.kind == "cosface":
            return cosine - self.margin
        sine = (1 - cosine.square()).clamp_min(1e-12).sqrt()
        moved = cosine * math.cos(self.margin) - sine * math.sin(self.margin)
        beyond = cosine <= -math.cos(self.margin)  # θ >= π - m
        return torch.where(beyond, cosine - self.margin * math.sin(self.margin), moved)


def make_head(
    kind: str, features: int, classes: int, *, margin: float | None = None, scale: float = 64.0
) -> nn.Module:
    """Return a head, one of ``HEADS``: features (N, K) to logits (N, classes)."""
    if kind not in HEADS:
        raise UserError(f"unknown head {kind!r}: choose one of {', '.join(HEADS)}")
    if kind != "softmax":
        return MarginHead(features, classes, kind, margin, scale)
    if margin is not None:
        raise UserError(f"softmax has no margin, got {margin}: choose arcface or cosface")
    head = nn.Linear(features, classes)  # W f + b, the paper's (Eq. 3)
    init_truncated_normal_(head)
    return head


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


def build_model(settings: NetworkSettings | None = None, **fields: Any) -> InterpretableFaceNet:
    """Build the face network from its settings, or from some of their fields by name."""
    settings = NetworkSettings(**fields) if settings is None else settings
    backbone, head = _backbone(settings), None  # in this order weights are drawn
    if settings.num_classes is not None:
        how: Any = dict(margin=settings.margin, scale=settings.head_scale)
        head = make_head(settings.head, settings.num_filters, settings.num_classes, **how)
    extra = dict(rate=settings.rate, dropout=settings.dropout, feature_scale=settings.feature_scale)
    return InterpretableFaceNet(backbone, head, **extra)


def _backbone(settings: NetworkSettings) -> nn.Module:
    name, filters = settings.backbone, settings.num_filters
    torchvision = name.startswith(TORCHVISION)
    if settings.layers is not None and not torchvision:
        raise UserError(f"backbone {name!r} has layers of its own: leave layers out")
    if name == "casianet":
        return CasiaNet(filters, width=settings.width)
    if settings.width != 1:
        raise UserError(f"backbone {name!r} has one width, 1; got {settings.width}")
    if name == "iresnet50":
        return IResNet50(filters)
    if torchvision:
        name = name.removeprefix(TORCHVISION)
        return TorchvisionBackbone(name, settings.layers, num_filters=filters)
    raise UserError(f"unknown backbone {name!r}: choose casianet, iresnet50 or {TORCHVISION}NAME")
