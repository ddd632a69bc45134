"""Any torchvision network as a backbone, by naming three of its feature layers."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from ifr.common.errors import UserError
from ifr.landmarks import CROP_SIZE
from ifr.models.layers import HypercolumnFilters
from ifr.models.state import load_weights, read_state
from ifr.profiles import PAPER_FILTERS

USUAL = {"resnet": ("layer1", "layer2", "layer3")}  # the stages at 1/4, 1/8, 1/16 of the input


class TorchvisionBackbone(nn.Module):
    """A torchvision classification network, such as ``"resnet18"``, with a hypercolumn on it.

    ``layers`` are three nodes of its graph, finest first, those of its family in ``USUAL`` if None;
    ``weights`` is a file with its state dict, random if None: nothing is downloaded.
    """

    extractor = frozenset({"trunk"})

    def __init__(
        self,
        name: str,
        layers: Sequence[str] | None = None,
        *,
        num_filters: int = PAPER_FILTERS,
        weights: Path | None = None,
        **hypercolumn: Any,
    ) -> None:
        super().__init__()
        known = torchvision.models.list_models(module=torchvision.models)
        if name not in known:
            near = get_close_matches(name, known, 3) or known[:3]
            raise UserError(f"torchvision has no network {name!r}; did you mean {near}?")
        network = torchvision.models.get_model(name, weights=None)
        if weights is not None:
            load_weights(network, read_state(Path(weights)), source=str(weights))
        self.layers = _layers(name, network, layers)
        self.num_filters = num_filters
        self.trunk = create_feature_extractor(network, {node: node for node in self.layers})
        self.hypercolumn = HypercolumnFilters(self._channels(), num_filters, **hypercolumn)

    @property
    def filters(self) -> Tensor:
        """The filters F of Ψ, (K, C, 3, 3)."""
        return self.hypercolumn.filters

    def forward(self, images: Tensor) -> Tensor:
        """Return the response maps ψ(I), (N, K, h, w) at the size of the first layer's maps."""
        maps = self.trunk(images)
        return self.hypercolumn([maps[node] for node in self.layers])

    def _channels(self) -> list[int]:
        """Return the channels of the three layers, as a forward pass gives them."""
        with torch.no_grad():
            maps = self.trunk.eval()(torch.zeros(1, 3, CROP_SIZE, CROP_SIZE))
        self.trunk.train()
        shapes = [tuple(maps[node].shape) for node in self.layers]
        if any(len(shape) != 4 for shape in shapes):
            raise UserError(f"layers must give maps (N, C, h, w), got {shapes}")
        if sorted(shapes, key=lambda shape: -shape[3]) != shapes:
            raise UserError(f"layers must be named finest first, got maps {shapes}")
        return [shape[1] for shape in shapes]


def _layers(name: str, network: nn.Module, layers: Sequence[str] | None) -> tuple[str, ...]:
    family = next((usual for start, usual in USUAL.items() if name.startswith(start)), ())
    layers, nodes = tuple(layers or family), get_graph_node_names(network)[1]
    if len(layers) != 3:
        raise UserError(f"name three layers of {name}, finest first, got {layers}; it has {nodes}")
    for node in layers:
        if node not in nodes and not any(known.startswith(f"{node}.") for known in nodes):
            near = get_close_matches(node, nodes, 5) or [one for one in nodes if "." not in one]
            raise UserError(f"{name} has no layer {node!r}; did you mean one of {near}?")
    return layers
