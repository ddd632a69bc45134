"""The face network: a backbone's response maps, LMF, pooling to the feature, the classifier."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ifr.common.errors import UserError
from ifr.common.tensors import widened
from ifr.models.layers import check_rate, large_magnitude_filter, mean_of_maps
from ifr.models.state import require_same
from ifr.profiles import PAPER_LMF_RATE


class InterpretableFaceNet(nn.Module):
    """The face network: ψ(I), LMF, average pooling to the feature f(I), and a shared classifier.

    Args:
        rate: LMF rate d %, as a share; 0 leaves the maps as they are (the base network).
        dropout: share of feature elements dropped before the classifier while training (released:
            keep probability 0.6).
        feature_scale: factor on the feature before the classifier, not on f(I) itself. The paper
            has none (1); the mean of a filtered map is small, and a factor above 1 spares new
            classifier weights the thousands of steps they need to grow.
    """

    # Images to ψ(I), with ``num_filters``, ``filters`` and ``extractor``, the names of its modules
    # before the hypercolumn.
    backbone: Any

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

    def pool_lmf(self, response: Tensor) -> Tensor:
        """Return f from ψ: LMF, then the mean over the map, (N, K)."""
        return mean_of_maps(large_magnitude_filter(response, self.rate))

    def classify(
        self, features: Tensor, labels: Tensor | None = None, *, dropout_mask: Tensor | None = None
    ) -> Tensor:
        """Return identity logits (N, classes); both branches share these weights (Eq. 3 and 5).

        A margin head makes those of the labels (N,) harder; softmax takes no notice. The factors
        ``dropout_mask`` (N, K), which the caller drew, replace a draw of dropout here.
        """
        if self.classifier is None:
            raise UserError("this network has no classifier: build it with num_classes=...")
        scaled = features * self.feature_scale
        scaled = self.dropout(scaled) if dropout_mask is None else scaled * dropout_mask
        return self.classifier(scaled, labels)

    def forward(self, images: Tensor) -> Tensor:
        """Return the face representation f(I), (N, K)."""
        return self.features(images)

    def load_extractor(self, state: Mapping[str, Tensor]) -> None:
        """Take over the extractor of a trained face network or bare backbone; later layers stay.

        The extractor is what lies before the hypercolumn's own layers: conv11 to conv53 of
        CASIA-Net, the residual stages of a ResNet.
        """
        prefix = "backbone." if any(name.startswith("backbone.") for name in state) else ""
        own = self.backbone.state_dict()
        wanted = [name for name in own if name.split(".")[0] in self.backbone.extractor]
        given = {name: state[prefix + name] for name in wanted if prefix + name in state}
        require_same({name: own[name] for name in wanted}, given, "the extractor's weights")
        self.backbone.load_state_dict(given, strict=False)
