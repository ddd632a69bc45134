"""The face network: a backbone's response maps, LMF, pooling to the feature, the classifier."""

from collections.abc import Mapping

import torch
from torch import nn

from ifr.models.heads import make_head
from ifr.models.layers import at_least_fp32, large_magnitude_filter
from ifr.models.state import require_same
from ifr.profiles import PAPER_LMF_RATE


class InterpretableFaceNet(nn.Module):
    """The face network: ψ(I), LMF, average pooling to the feature f(I), and a shared classifier.

    Args:
        backbone: images to response maps, with ``num_filters``, ``filters`` and ``extractor``, the
            names of its modules before the hypercolumn.
        rate: LMF rate d %, as a share; 0 leaves the maps as they are (the base network).
        num_classes: identities of the classifier; None for a network without one.
        dropout: share of feature elements dropout_mask before the classifier while training (released:
            keep probability 0.6).
        feature_scale: factor on the feature before the classifier. The paper has none (1); the mean
            of a filtered map is small, and a factor above 1 spares new classifier weights the
            thousands of steps they need to grow. The feature f(I) itself is not scaled.
        head: the classifier: ``"softmax"`` (the paper's), ``"arcface"`` or ``"cosface"``.
        margin: of a margin head; its paper's if None.
        head_scale: of a margin head.
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        rate: float = PAPER_LMF_RATE,
        num_classes: int | None = None,
        dropout: float = 0.4,
        feature_scale: float = 1.0,
        head: str = "softmax",
        margin: float | None = None,
        head_scale: float = 64.0,
    ):
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"rate must be in [0, 1), the share of responses set to 0, got {rate}")
        self.backbone = backbone
        self.rate = rate
        self.feature_scale = feature_scale
        self.dropout = nn.Dropout(dropout)
        self.classifier = None
        if num_classes is not None:
            self.classifier = make_head(
                head, backbone.num_filters, num_classes, margin=margin, scale=head_scale
            )

    @property
    def filters(self) -> torch.Tensor:
        """The filters F of Ψ, (K, C, 3, 3)."""
        return self.backbone.filters

    def response(self, images: torch.Tensor) -> torch.Tensor:
        """Return ψ(I) before LMF, (N, K, h, w)."""
        return self.backbone(images)

    def lmf_response(self, images: torch.Tensor) -> torch.Tensor:
        """Return LMF(ψ(I)), (N, K, h, w)."""
        return large_magnitude_filter(self.response(images), self.rate)

    def pool_lmf(self, response: torch.Tensor) -> torch.Tensor:
        """Return f from ψ: LMF, then the mean over the map, (N, K) in fp32 or better."""
        filtered = large_magnitude_filter(response, self.rate)
        return filtered.mean(dim=(2, 3), dtype=at_least_fp32(filtered.dtype))

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the face representation f(I), (N, K)."""
        return self.pool_lmf(self.response(images))

    def classify(
        self,
        features: torch.Tensor,
        labels: torch.Tensor | None = None,
        *,
        dropout_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return identity logits (N, classes); both branches share these weights (Eq. 3 and 5).

        Args:
            features: (N, K).
            labels: (N,), where a margin head is to make them harder; softmax takes no notice.
            dropout_mask: (N, K) factors of dropout that the caller drew, in place of a draw here.

        Raises:
            ValueError: if the network was built without ``num_classes``.
        """
        if self.classifier is None:
            raise ValueError("this network has no classifier: build it with num_classes=...")
        scaled = features * self.feature_scale
        scaled = self.dropout(scaled) if dropout_mask is None else scaled * dropout_mask
        return self.classifier(scaled, labels)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the face representation f(I), (N, K)."""
        return self.features(images)

    def load_extractor(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take over the backbone's extractor of a trained network; the layers after it stay.

        The extractor is what lies before the hypercolumn's own layers: conv11 to conv53 of
        CASIA-Net, the residual stages of a ResNet. Its layers are the backbone's ``extractor``.

        Args:
            state: state of an :class:`InterpretableFaceNet` or of a bare backbone.

        Raises:
            ValueError: if a layer is missing or has another shape.
        """
        prefix = "backbone." if any(name.startswith("backbone.") for name in state) else ""
        own = self.backbone.state_dict()
        wanted = [name for name in own if name.split(".")[0] in self.backbone.extractor]
        found = {name: state[prefix + name] for name in wanted if prefix + name in state}
        require_same({name: own[name] for name in wanted}, found, "the extractor's weights")
        self.backbone.load_state_dict(found, strict=False)
