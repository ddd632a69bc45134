"""The face network: a backbone's response maps, LMF, pooling to the feature, the classifier."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ifr.common.errors import UserError
from ifr.models.layers import large_magnitude_filter, mean_of_maps
from ifr.models.state import require_same
from ifr.profiles import PAPER_LMF_RATE


class InterpretableFaceNet(nn.Module):
    """The face network: ψ(I), LMF, average pooling to the feature f(I), and a shared classifier.

    Args:
        backbone: images to response maps, with ``num_filters``, ``filters`` and ``extractor``, the
            names of its modules before the hypercolumn.
        classifier: features and labels to logits, shared by both branches, or None; see
            :func:`ifr.models.make_head`.
        rate: LMF rate d %, as a share; 0 leaves the maps as they are (the base network).
        dropout: share of feature elements dropped before the classifier while training (released:
            keep probability 0.6).
        feature_scale: factor on the feature before the classifier. The paper has none (1); the mean
            of a filtered map is small, and a factor above 1 spares new classifier weights the
            thousands of steps they need to grow. The feature f(I) itself is not scaled.
    """

    backbone: Any  # a module with more than nn.Module promises

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
        if not 0 <= rate < 1:
            raise UserError(f"rate must be in [0, 1), the share of responses set to 0, got {rate}")
        self.backbone, self.classifier = backbone, classifier
        self.rate, self.feature_scale = rate, feature_scale
        self.dropout = nn.Dropout(dropout)

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

    def features_and_response(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return f(I), (N, K), and LMF(ψ(I)), (N, K, h, w), whose mean over the map it is."""
        filtered = self.lmf_response(images)
        return mean_of_maps(filtered), filtered

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the face representation f(I), (N, K)."""
        return self.features_and_response(images)[0]

    def pool_lmf(self, response: torch.Tensor) -> torch.Tensor:
        """Return f from ψ: LMF, then the mean over the map, (N, K)."""
        return mean_of_maps(large_magnitude_filter(response, self.rate))

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
        """
        if self.classifier is None:
            raise UserError("this network has no classifier: build it with num_classes=...")
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

        The state is that of an :class:`InterpretableFaceNet` or of a bare backbone.
        """
        prefix = "backbone." if any(name.startswith("backbone.") for name in state) else ""
        own = self.backbone.state_dict()
        wanted = [name for name in own if name.split(".")[0] in self.backbone.extractor]
        given = {name: state[prefix + name] for name in wanted if prefix + name in state}
        require_same({name: own[name] for name in wanted}, given, "the extractor's weights")
        self.backbone.load_state_dict(given, strict=False)
