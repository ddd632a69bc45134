"""What is minimised: the weighted sum of the paper's loss terms on one batch of both branches."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from ifr import losses
from ifr.models import InterpretableFaceNet
from ifr.profiles import Variant


def loss_parts(
    model: InterpretableFaceNet,
    images: torch.Tensor,
    labels: torch.Tensor,
    variant: Variant,
    *,
    dropout_mask: torch.Tensor | None = None,
    all_reduce_mean: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> dict[str, torch.Tensor]:
    """Return the weighted loss terms of one batch; their sum is what is minimised.

    Args:
        model: the network, in training mode.
        images: (N, 3, S, S), or (2N, 3, S, S) with the occluded twins behind the clean faces.
        labels: (N,) identities.
        variant: which terms, with which weights and forms.
        dropout_mask: (N or 2N, K) factors of dropout; drawn by the network if None.
        all_reduce_mean: averages over the processes that share the batch, for τ.

    Returns:
        ``id`` (Eq. 3), ``id occluded`` (Eq. 5), ``filters`` (Eq. 1), ``response`` (Eq. 2) and
        ``features`` (Eq. 4), those the variant has.
    """
    weights, count = variant.weights, len(labels)
    filtered = model.lmf_response(images)  # LMF(ψ(I)), (N or 2N, K, h, w)
    features = filtered.float().mean(dim=(2, 3))  # f(I), (N or 2N, K)
    clean, occluded = features[:count], features[count:]
    factors = (None, None) if dropout_mask is None else (dropout_mask[:count], dropout_mask[count:])
    logits = model.classify(clean, labels, dropout_mask=factors[0])
    parts = {"id": weights.identity * F.cross_entropy(logits, labels)}
    mask = None
    if variant.feature:
        keep = variant.keep(features.shape[1])
        mask = losses.feature_selection_mask(
            clean, occluded, keep=keep, all_reduce_mean=all_reduce_mean
        )
        difference = losses.feature_activation_diversity(clean, occluded, mask)
        parts["features"] = weights.features * difference
    if len(occluded):
        kept = occluded if mask is None else occluded * mask
        logits = model.classify(kept, labels, dropout_mask=factors[1])
        parts["id occluded"] = weights.identity_occluded * F.cross_entropy(logits, labels)
    if variant.spatial:
        filters = losses.filter_diversity(model.filters, form=weights.filter_form)
        parts["filters"] = weights.filters * filters
        # The released code adds the clean and the occluded branch: a mean over both, times two.
        branches = len(features) / count
        response = losses.response_diversity(filtered, form=weights.response_form)
        parts["response"] = weights.response * branches * response
    return parts


class TrainingStep(nn.Module):
    """The network with its losses as one module, so that one forward call holds all of a step.

    Several processes can then share a batch: the gradients of the mean losses of equal parts,
    averaged, are those of the whole batch, because every term is a mean over faces or a function of
    the weights alone. Only τ needs all faces at once, which ``all_reduce_mean`` sees to.
    """

    def __init__(
        self,
        model: InterpretableFaceNet,
        variant: Variant,
        all_reduce_mean: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ):
        super().__init__()
        self.model, self.variant, self.all_reduce_mean = model, variant, all_reduce_mean

    def forward(
        self, images: torch.Tensor, labels: torch.Tensor, dropout_mask: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """Return the loss terms of :func:`loss_parts`."""
        return loss_parts(
            self.model,
            images,
            labels,
            self.variant,
            dropout_mask=dropout_mask,
            all_reduce_mean=self.all_reduce_mean,
        )
