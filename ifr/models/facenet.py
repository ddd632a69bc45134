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

    def pool_lmf(self, response: Tensor) -> Tensor:
        """Return f from ψ: LMF, then the mean over the map, (N, K)."""
        return mean_of_maps(large_magnitude_filter(response, self.rate))

    def classify(
        self, features: Tensor, labels: Tensor | None = None, *, dropout_mask: Tensor | None = None
    ) -> Tensor:
        """Return identity logits (N, classes), of both branches (Eq. 3 and 5)."""
        # Only a margin head heeds the labels. A given mask of factors replaces a draw of dropout.
        if self.classifier is None:
            raise UserError("this network has no classifier: build it with num_classes=...")
        scaled = features * self.feature_scale
        scaled = self.dropout(scaled) if dropout_mask is None else scaled * dropout_mask
        return self.classifier(scaled, labels)

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
