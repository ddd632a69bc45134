"""Any torchvision network as a backbone, by naming three of its feature layers."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

import torch
import torchvision
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from ifr.models.hypercolumn import HypercolumnFilters
from ifr.models.state import load_weights
from ifr.profiles import PAPER_FILTERS

# Layers taken when none are named: the ends of the stages at 1/4, 1/8 and 1/16 of the input.
USUAL = {"resnet": ("layer1", "layer2", "layer3")}


class TorchvisionBackbone(nn.Module):
    """A torchvision classification network with a hypercolumn on three of its layers.

    Args:
        name: as torchvision knows it, such as ``"resnet18"`` or ``"mobilenet_v3_small"``.
        layers: three nodes of its graph that give maps (N, C, h, w), finest first; those of its
            family in ``USUAL`` if None.
        num_filters: K, the filters of Ψ.
        part_channels: of each part of the hypercolumn.
        weights: file with a state dict of the whole network; None for random weights. Nothing is
            downloaded.
        normalise_parts: L2-normalise each part along its channels.
        response_norm: batch norm after Ψ.

    Raises:
        ValueError: for a network or a layer that torchvision does not have, or layers that give
            no maps, or maps that grow.
    """

    extractor = frozenset({"trunk"})

    def __init__(
        self,
        name: str,
        layers: Sequence[str] | None = None,
        *,
        num_filters: int = PAPER_FILTERS,
        part_channels: int = 192,
        weights: Path | None = None,
        normalise_parts: bool = True,
        response_norm: bool = True,
    ):
        super().__init__()
        known = torchvision.models.list_models(module=torchvision.models)
        if name not in known:
            near = get_close_matches(name, known, 3) or known[:3]
            raise ValueError(f"torchvision has no network {name!r}; did you mean {near}?")
        network = torchvision.models.get_model(name, weights=None)
        if weights is not None:
            state = torch.load(weights, map_location="cpu", weights_only=True)
            load_weights(network, state, source=str(weights))
        self.layers = _layers(name, network, layers)
        self.num_filters = num_filters
        self.trunk = create_feature_extractor(network, {node: node for node in self.layers})
        self.hypercolumn = HypercolumnFilters(
            self._channels(),
            num_filters,
            part_channels=part_channels,
            normalise_parts=normalise_parts,
            response_norm=response_norm,
        )

    @property
    def filters(self) -> torch.Tensor:
        """The filters F of Ψ, (K, C, 3, 3)."""
        return self.hypercolumn.filters

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the response maps ψ(I), (N, K, h, w) at the size of the first layer's maps."""
        found = self.trunk(images)
        return self.hypercolumn([found[node] for node in self.layers])

    def _channels(self) -> list[int]:
        """Return the channels of the three layers, as a forward pass gives them."""
        self.trunk.eval()
        with torch.no_grad():
            found = self.trunk(torch.zeros(1, 3, 96, 96))
        self.trunk.train()
        maps = [found[node] for node in self.layers]
        shapes = {node: tuple(one.shape) for node, one in found.items()}
        if any(one.ndim != 4 for one in maps):
            raise ValueError(f"layers must give maps (N, C, h, w), got {shapes}")
        widths = [one.shape[3] for one in maps]
        if sorted(widths, reverse=True) != widths:
            raise ValueError(f"layers must be named finest first, got maps {shapes}")
        return [one.shape[1] for one in maps]


def _layers(name: str, network: nn.Module, layers: Sequence[str] | None) -> tuple[str, ...]:
    family = next((usual for start, usual in USUAL.items() if name.startswith(start)), None)
    layers = tuple(layers or family or ())
    nodes = get_graph_node_names(network)[1]
    stages = [node for node in nodes if "." not in node]
    if len(layers) != 3:
        raise ValueError(f"name three layers of {name}, finest first, got {layers}; it has {nodes}")
    for node in layers:
        if node not in nodes and not any(known.startswith(f"{node}.") for known in nodes):
            near = get_close_matches(node, nodes, 5) or stages
            raise ValueError(f"{name} has no layer {node!r}; did you mean one of {near}?")
    return layers
