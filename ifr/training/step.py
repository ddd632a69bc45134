"""What is minimised: the weighted sum of the paper's loss terms on one batch of both branches."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ifr import losses
from ifr.models import InterpretableFaceNet
from ifr.profiles import PAPER_MAP, Variant

AllReduce = Callable[[Tensor], Any]  # a tensor to its mean over processes, as Fabric types it


def loss_parts(
    model: InterpretableFaceNet,
    images: Tensor,
    labels: Tensor,
    variant: Variant,
    *,
    dropout_mask: Tensor | None = None,
    all_reduce_mean: AllReduce | None = None,
) -> tuple[dict[str, Tensor], Tensor]:
    """Return the weighted loss terms of one batch, whose sum is minimised, and the accuracy on it.

    The terms, those the variant has, are ``id`` (Eq. 3), ``features`` (Eq. 4), ``id occluded``
    (Eq. 5), ``filters`` (Eq. 1) and ``response`` (Eq. 2); the accuracy is the share of clean faces
    whose largest logit, as trained on, is their identity's. Images are (N, 3, S, S), or with the
    occluded twins behind them 2N; the (N or 2N, K) factors of dropout are drawn if not given;
    ``all_reduce_mean`` averages τ's means over the processes that share the batch.
    """
    weights, count = variant.weights, len(labels)
    features, response = model.features_and_response(images)  # f(I) and LMF(ψ(I))
    clean, occluded = features[:count], features[count:]
    masks = (None, None) if dropout_mask is None else (dropout_mask[:count], dropout_mask[count:])

    logits = model.classify(clean, labels, dropout_mask=masks[0])
    parts = {"id": weights.identity * F.cross_entropy(logits, labels)}
    accuracy = (logits.detach().argmax(dim=1) == labels).float().mean()

    tau = torch.ones_like(clean[0], dtype=torch.bool)  # without FAD no element is masked
    if variant.feature:
        keep = variant.keep(features.shape[1])
        tau = losses.feature_selection_mask(clean, occluded, keep, all_reduce_mean=all_reduce_mean)
        difference = losses.feature_activation_diversity(clean, occluded, tau)
        parts["features"] = weights.features * difference
    if len(occluded):
        identity = losses.masked_identity_loss(
            lambda f: model.classify(f, labels, dropout_mask=masks[1]), occluded, tau, labels
        )
        parts["id occluded"] = weights.identity_occluded * identity
    if variant.spatial:
        filters = losses.filter_diversity(model.filters, form=weights.filter_form)
        if weights.filter_form == "paper":  # a sum there, a mean in the released form
            number, places = len(model.filters), model.filters[0, 0].numel()
            filters = filters / (places * number * (number - 1))
        parts["filters"] = weights.filters * filters
        # The released code adds the clean and the occluded branch: a mean over both, times two.
        branches = len(features) // count
        # The paper's σ is in cells of its 24 x 24 maps: the same part of the face in any map.
        sigma = losses.PAPER_SIGMA * response.shape[-1] / PAPER_MAP
        overlap = losses.response_diversity(response, sigma, form=weights.response_form)
        parts["response"] = weights.response * branches * overlap
    return parts, accuracy


class TrainingStep(nn.Module):
    """The network with its losses as one module, so that one forward call holds all of a step.

    Processes can share a batch: the gradients of equal parts, averaged, are those of the whole, as
    every term is a mean over faces or of the weights alone; ``all_reduce_mean`` is for τ.
    """

    def __init__(
        self,
        model: InterpretableFaceNet,
        variant: Variant,
        all_reduce_mean: AllReduce | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.options: Any = dict(variant=variant, all_reduce_mean=all_reduce_mean)

    def forward(
        self, images: Tensor, labels: Tensor, dropout_mask: Tensor | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return the loss terms and the accuracy of :func:`loss_parts`."""
        return loss_parts(self.model, images, labels, dropout_mask=dropout_mask, **self.options)
