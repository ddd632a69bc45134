"""Weights by name: loading them, or saying which do not fit."""

from collections.abc import Mapping

import torch
from torch import nn


def load_weights(
    model: nn.Module, state: Mapping[str, torch.Tensor], *, source: str = "the given state"
) -> None:
    """Load a state dict, or say which tensors do not fit.

    Args:
        model: the network, changed in place.
        state: tensors by name.
        source: where they come from, for the message.

    Raises:
        ValueError: naming the first tensors that are missing, unknown or of another shape; the
            network is unchanged.
    """
    require_same(model.state_dict(), state, source)
    model.load_state_dict(state)


def require_same(own: Mapping, state: Mapping, source: str, shown: int = 3) -> None:
    """Refuse a state dict whose names or shapes are not those of ``own``.

    Raises:
        ValueError: naming the first ``shown`` tensors that differ.
    """
    wrong = [
        f"{name} is {tuple(state[name].shape)} there and {tuple(tensor.shape)} here"
        if name in state
        else f"{name} {tuple(tensor.shape)} is missing"
        for name, tensor in own.items()
        if name not in state or state[name].shape != tensor.shape
    ]
    wrong += [f"{name} is unknown here" for name in state if name not in own]
    if wrong:
        more = f" (and {len(wrong) - shown} more)" if len(wrong) > shown else ""
        raise ValueError(
            f"{source}: weights of another architecture: {'; '.join(wrong[:shown])}{more}; build "
            "the network with the num_filters, width and num_classes it was trained with"
        )
