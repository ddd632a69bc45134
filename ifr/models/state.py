"""Weights by name: reading and loading them, or saying which do not fit."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ifr.common.errors import UserError

SHOWN = 3  # tensors that a message names


def load_weights(
    model: nn.Module, state: Mapping[str, Tensor], *, source: str = "the given state"
) -> None:
    """Load a state dict into a network, which stays as it is if a tensor does not fit."""
    require_same(model.state_dict(), state, source)
    model.load_state_dict(state)


def require_same(own: Mapping[str, Tensor], state: Mapping[str, Tensor], source: str) -> None:
    """Refuse a state dict whose names or shapes are not those of ``own``."""
    wrong = [
        f"{name} is {tuple(state[name].shape)} there and {tuple(tensor.shape)} here"
        if name in state
        else f"{name} {tuple(tensor.shape)} is missing"
        for name, tensor in own.items()
        if name not in state or state[name].shape != tensor.shape
    ]
    wrong += [f"{name} is unknown here" for name in state if name not in own]
    if wrong:
        more = f" (and {len(wrong) - SHOWN} more)" if len(wrong) > SHOWN else ""
        advice = "build the network with the num_filters, width and num_classes it was trained with"
        listed = "; ".join(wrong[:SHOWN]) + more
        raise UserError(f"{source}: weights of another architecture: {listed}; {advice}")


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict that torch saved; nothing in the file is executed."""
    if not path.is_file():
        raise UserError(f"{path} is not there; give a file of weights that torch saved")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken file raises many kinds
        advice = "save what state_dict() returns with torch.save"
        raise UserError(f"{path}: no file of tensors alone, or cut short; {advice}") from error
    if not isinstance(state, Mapping) or not all(torch.is_tensor(v) for v in state.values()):
        raise UserError(f"{path}: expected a state dict, tensors by name; got {type(state)}")
    return dict(state)
