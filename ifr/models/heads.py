"""Classifier heads: plain softmax, as the paper has it, and the margin heads used since."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ifr.common.errors import UserError
from ifr.common.tensors import widened, without_autocast
from ifr.losses.cosines import unit_rows
from ifr.models.layers import init_truncated_normal_

MARGINS = {"arcface": 0.5, "cosface": 0.35}  # radians; cosine. The papers' own on large sets
HEADS = ("softmax", *MARGINS)


class SoftmaxHead(nn.Linear):
    """W f + b: the paper's classifier (Eq. 3). Labels change nothing."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__(features, classes)
        init_truncated_normal_(self)

    def forward(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return logits (N, classes) of features (N, K)."""
        return super().forward(features)


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
    return SoftmaxHead(features, classes)
