"""CASIA-Net with a hypercolumn (Table 1), large magnitude filtering, and the face network."""

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional as F

PAPER_FILTERS = 320  # K of CASIA-Net, Sec. 3.3
PAPER_LMF_RATE = 0.9583  # 1 - 24 / (24 * 24), Sec. 3.3
# Table 1, the feature extractor: name -> (output channels, stride). None stands for K.
EXTRACTOR: dict[str, tuple[int | None, int]] = {
    "conv11": (32, 1), "conv12": (64, 1),
    "conv21": (64, 2), "conv22": (64, 1), "conv23": (128, 1),
    "conv31": (128, 2), "conv32": (96, 1), "conv33": (192, 1),
    "conv41": (192, 2), "conv42": (128, 1), "conv43": (256, 1),
    "conv51": (256, 2), "conv52": (160, 1), "conv53": (None, 1),
}  # fmt: skip
PART_CHANNELS = 192  # of each of the three parts of the hypercolumn Φ
INITIAL_STD = 0.02  # of new weights, Sec. 3.3
NORM_EPS = 1e-6  # a hypercolumn part shorter than this is divided by this instead


def kept_per_map(height: int, width: int, rate: float) -> int:
    """Return how many responses of a map LMF keeps: ``round((1 - rate) * height * width)``.

    Raises:
        ValueError: if the rate is outside [0, 1) or would keep nothing.
    """
    if not 0 <= rate < 1:
        raise ValueError(
            f"rate must be in [0, 1), the share of responses set to 0, got {rate}; "
            "the paper's 95.83 % is rate=0.9583"
        )
    keep = round((1 - rate) * height * width)
    if keep == 0:
        raise ValueError(
            f"rate {rate} keeps no response of a {height}×{width} map: lower the rate to at most "
            f"{1 - 1 / (height * width):.4f}"
        )
    return keep


def large_magnitude_filter(response: torch.Tensor, rate: float = PAPER_LMF_RATE) -> torch.Tensor:
    """Set the share ``rate`` of smallest magnitudes of every response map to 0 (LMF, Sec. 3.1).

    Exactly ``round((1 - rate) * H * W)`` responses of each map are kept, with their sign; of equal
    magnitudes the one nearer the start of the map (row by row) is kept. The gradient goes through
    what is kept. A NaN counts as the largest magnitude, so it stays visible in the result.

    Args:
        response: (N, K, H, W) signed responses ψ(I), any floating type and memory layout.
        rate: d %, as a share in [0, 1).

    Returns:
        (N, K, H, W), of the same type.

    Raises:
        TypeError: if ``response`` is not a floating tensor.
        ValueError: if it is not (N, K, H, W), or the rate is outside [0, 1) or keeps nothing.

    The released code keeps those strictly above the 24th largest magnitude, 23 of 576; the paper
    keeps 24, and so do we; pass ``rate=1 - 23 / 576`` to match the released code.
    """
    _require_maps(response, "response")
    keep = kept_per_map(*response.shape[2:], rate)
    maps = response.flatten(2)  # (N, K, H*W)
    if keep == maps.shape[-1]:
        return response
    mask = _largest(maps.detach().abs(), keep)
    return torch.where(mask, maps, 0).view_as(response)


def _largest(magnitude: torch.Tensor, keep: int) -> torch.Tensor:
    """Mark the ``keep`` largest of each row (..., P), the first of equal ones.

    ``topk`` promises nothing about ties, and bf16 has many. The bits of a non-negative float sort
    like the float; with the position packed below them every key is unique, so the ``keep``-th
    largest key is an exact threshold.
    """
    count = magnitude.shape[-1]
    if magnitude.dtype == torch.float64 or count > 1 << 16:  # no room for the position
        order = magnitude.sort(dim=-1, descending=True, stable=True).indices
        mask = torch.zeros_like(magnitude, dtype=torch.bool)
        return mask.scatter_(-1, order[..., :keep], True)
    half = magnitude.dtype in (torch.bfloat16, torch.float16)
    bits, packed = (torch.int16, torch.int32) if half else (torch.int32, torch.int64)
    key = magnitude.view(bits).to(packed) << 16
    key |= torch.arange(count - 1, -1, -1, dtype=packed, device=key.device)
    threshold = key.topk(keep, dim=-1, sorted=False).values.amin(dim=-1, keepdim=True)
    return key >= threshold


class ConvUnit(nn.Module):
    """Convolution, batch norm (released: decay 0.9, eps 1e-5) and ELU, each but the first optional.

    Args:
        inputs: input channels.
        outputs: output channels.
        kernel: 3 or 1; the map keeps its size at stride 1.
        stride: 1 or 2.
        norm: whether batch norm follows.
        activation: whether ELU follows.
        new: draw the weights as the paper draws its new layers, from a truncated normal of standard
            deviation 0.02. The paper takes its extractor over from a trained network; where ours is
            trained from nothing, torch's own (Kaiming) weights learn faster: ``new=False``.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        norm: bool = True,
        activation: bool = True,
        new: bool = True,
    ):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=not norm)
        # Torch's momentum is the share of the new batch: 1 - decay.
        self.norm = nn.BatchNorm2d(outputs, eps=1e-5, momentum=0.1) if norm else None
        self.activation = activation
        if new:
            _draw_weights(self.conv)

    def forward(self, maps: torch.Tensor, size: tuple[int, int] | None = None) -> torch.Tensor:
        """Apply the unit to (N, C, H, W); with ``size``, upsample to it after the convolution."""
        maps = self.conv(maps)
        if size is not None:
            maps = F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
        if self.norm is not None:
            maps = self.norm(maps)
        return F.elu(maps, inplace=True) if self.activation else maps


class CasiaNet(nn.Module):
    """Table 1: the CASIA-Net extractor, the hypercolumn Φ and the filters Ψ; images to ψ(I).

    Table 1 upsamples conv43 and conv53, then applies the 1×1 convolutions conv44 and conv54. Both
    steps are linear and commute, so we convolve the small maps (4 and 16 times less work) and
    upsample before batch norm and ELU: the same numbers. Pass ``table_order=True`` for the order
    of the table. (The table names conv32 as its own input; we take conv31.)

    Args:
        num_filters: K, the filters of Ψ and the channels of conv53.
        width: factor on every other channel count of the table; 1 is the paper's network.
        normalise_parts: L2-normalise each part of Φ along its channels, as the released code does.
        response_norm: batch norm after Ψ, as the released code does; never an activation, so the
            responses keep their sign.
        table_order: upsample before the 1×1 convolutions.

    Raises:
        ValueError: if ``num_filters`` or ``width`` is not positive.
    """

    def __init__(
        self,
        num_filters: int = PAPER_FILTERS,
        *,
        width: float = 1.0,
        normalise_parts: bool = True,
        response_norm: bool = True,
        table_order: bool = False,
    ):
        super().__init__()
        if num_filters < 1 or width <= 0:
            raise ValueError(
                f"num_filters must be at least 1 and width above 0, got {num_filters} and {width}"
            )
        self.num_filters = num_filters
        self.normalise_parts = normalise_parts
        self.table_order = table_order
        channels = {
            name: _scaled(count, width, num_filters) for name, (count, _) in EXTRACTOR.items()
        }
        inputs = 3
        for name, (_, stride) in EXTRACTOR.items():
            last = name == "conv53"  # released: neither batch norm nor ELU after conv53
            unit = ConvUnit(
                inputs,
                channels[name],
                stride=stride,
                norm=not last,
                activation=not last,
                new=False,
            )
            self.add_module(name, unit)
            inputs = channels[name]
        part = _scaled(PART_CHANNELS, width, num_filters)
        self.conv44 = ConvUnit(channels["conv43"], part, kernel=1)
        self.conv54 = ConvUnit(channels["conv53"], part, kernel=1)
        columns = channels["conv33"] + 2 * part
        self.psi = ConvUnit(columns, num_filters, norm=response_norm, activation=False)

    @property
    def filters(self) -> torch.Tensor:
        """The filters F of Ψ, (K, C, 3, 3): what Eq. 1 makes diverse."""
        return self.psi.conv.weight

    def parts(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the three parts of Φ, each (N, C, H/4, W/4), before normalisation."""
        _require_images(images)
        maps, taps = images, {}
        for name in EXTRACTOR:
            maps = taps[name] = self.get_submodule(name)(maps)
        fine = taps["conv33"]
        size = tuple(fine.shape[2:])
        if self.table_order:
            upsampled = [
                F.interpolate(taps[name], size=size, mode="bilinear", align_corners=False)
                for name in ("conv43", "conv53")
            ]
            return fine, self.conv44(upsampled[0]), self.conv54(upsampled[1])
        return fine, self.conv44(taps["conv43"], size), self.conv54(taps["conv53"], size)

    def hypercolumn(self, images: torch.Tensor) -> torch.Tensor:
        """Return Φ(I), (N, 576, H/4, W/4) at width 1: conv33, conv44 and conv54 side by side."""
        parts = self.parts(images)
        if self.normalise_parts:
            parts = tuple(unit_columns(part) for part in parts)
        return torch.cat(parts, dim=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the response maps ψ(I) = F * Φ(I), before LMF.

        Args:
            images: (N, 3, H, W) in [-1, 1], H and W multiples of 8; the paper's are 96×96.

        Returns:
            (N, K, H/4, W/4), signed.

        Raises:
            ValueError: for another shape.
        """
        return self.psi(self.hypercolumn(images))

    def layer_shapes(self, size: int = 96) -> dict[str, tuple[int, int, int]]:
        """Return (height, width, channels) of every row of Table 1, as a forward pass gives them.

        Args:
            size: side of the square input, pixels.
        """
        shapes: dict[str, tuple[int, int, int]] = {}
        upsampled = {"conv44": "conv43-U", "conv54": "conv53-U"}

        def record(name: str):
            def hook(_, inputs: tuple, output: torch.Tensor) -> None:
                shapes[name] = (*output.shape[2:], output.shape[1])
                if name in upsampled:  # the row above it: its input, at this size
                    shapes[upsampled[name]] = (*output.shape[2:], inputs[0].shape[1])

            return hook

        handles = [
            module.register_forward_hook(record(name)) for name, module in self.named_children()
        ]
        training, device = self.training, self.filters.device
        try:
            with torch.no_grad():
                response = self.eval()(torch.zeros(1, 3, size, size, device=device))
        finally:
            self.train(training)
            for handle in handles:
                handle.remove()
        shapes["Φ"] = (*response.shape[2:], self.filters.shape[1])
        shapes["Ψ"] = shapes.pop("psi")
        shapes["AvgPool"] = (1, 1, self.num_filters)
        order = [*EXTRACTOR, "conv43-U", "conv44", "conv53-U", "conv54", "Φ", "Ψ", "AvgPool"]
        return {name: shapes[name] for name in order}


def unit_columns(maps: torch.Tensor) -> torch.Tensor:
    """L2-normalise (N, C, H, W) along the channels, the norm in fp32; a zero column stays 0."""
    norm = torch.linalg.vector_norm(maps, dim=1, keepdim=True, dtype=_at_least_fp32(maps.dtype))
    return maps * norm.clamp_min(NORM_EPS).reciprocal().to(maps.dtype)


class InterpretableFaceNet(nn.Module):
    """The face network: ψ(I), LMF, average pooling to the feature f(I), and a shared classifier.

    Args:
        backbone: images to response maps, with ``num_filters`` and ``filters``.
        rate: LMF rate d %, as a share; 0 leaves the maps as they are (the base network).
        num_classes: identities of the classifier; None for a network without one.
        dropout: share of feature elements dropped before the classifier while training (released:
            keep probability 0.6).
        feature_scale: factor on the feature before the classifier. The paper has none (1); the mean
            of a filtered map is small, and a factor above 1 spares new classifier weights the
            thousands of steps they need to grow. The feature f(I) itself is not scaled.
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        rate: float = PAPER_LMF_RATE,
        num_classes: int | None = None,
        dropout: float = 0.4,
        feature_scale: float = 1.0,
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
            self.classifier = nn.Linear(backbone.num_filters, num_classes)
            _draw_weights(self.classifier)

    @property
    def filters(self) -> torch.Tensor:
        """The filters F of Ψ, (K, C, 3, 3)."""
        return self.backbone.filters

    def response(self, images: torch.Tensor) -> torch.Tensor:
        """Return ψ(I) before LMF, (N, K, h, w)."""
        return self.backbone(images)

    def filtered(self, images: torch.Tensor) -> torch.Tensor:
        """Return LMF(ψ(I)), (N, K, h, w)."""
        return large_magnitude_filter(self.response(images), self.rate)

    def pool(self, response: torch.Tensor) -> torch.Tensor:
        """Return f from ψ: LMF, then the mean over the map, (N, K) in fp32 or better."""
        filtered = large_magnitude_filter(response, self.rate)
        return filtered.mean(dim=(2, 3), dtype=_at_least_fp32(filtered.dtype))

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the face representation f(I), (N, K)."""
        return self.pool(self.response(images))

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """Return identity logits (N, classes); both branches share these weights (Eq. 3 and 5).

        Raises:
            ValueError: if the network was built without ``num_classes``.
        """
        if self.classifier is None:
            raise ValueError("this network has no classifier: build it with num_classes=...")
        return self.classifier(self.dropout(features * self.feature_scale))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the face representation f(I), (N, K)."""
        return self.features(images)

    def load_extractor(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take over conv11 to conv53 of a trained network; the layers after them stay as they are.

        Args:
            state: state of an :class:`InterpretableFaceNet` or of a bare :class:`CasiaNet`.

        Raises:
            ValueError: if a layer is missing or has another shape.
        """
        prefix = "backbone." if any(name.startswith("backbone.") for name in state) else ""
        own = self.backbone.state_dict()
        wanted = [name for name in own if name.split(".")[0] in EXTRACTOR]
        found = {name: state[prefix + name] for name in wanted if prefix + name in state}
        _require_same({name: own[name] for name in wanted}, found, "the extractor's weights")
        self.backbone.load_state_dict(found, strict=False)


def build_model(
    *,
    num_filters: int = PAPER_FILTERS,
    width: float = 1.0,
    rate: float = PAPER_LMF_RATE,
    num_classes: int | None = None,
    dropout: float = 0.4,
    feature_scale: float = 1.0,
    normalise_parts: bool = True,
    response_norm: bool = True,
) -> InterpretableFaceNet:
    """Build the face network on CASIA-Net from plain values, the arguments of its parts."""
    backbone = CasiaNet(
        num_filters, width=width, normalise_parts=normalise_parts, response_norm=response_norm
    )
    return InterpretableFaceNet(
        backbone,
        rate=rate,
        num_classes=num_classes,
        dropout=dropout,
        feature_scale=feature_scale,
    )


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
    _require_same(model.state_dict(), state, source)
    model.load_state_dict(state)


def _require_same(own: Mapping, state: Mapping, source: str, shown: int = 3) -> None:
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


def _draw_weights(layer: nn.Conv2d | nn.Linear) -> None:
    """Draw new weights from a normal of std 0.02, truncated at two of it (Sec. 3.3); bias 0."""
    nn.init.trunc_normal_(layer.weight, std=INITIAL_STD, a=-2 * INITIAL_STD, b=2 * INITIAL_STD)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _scaled(count: int | None, width: float, num_filters: int) -> int:
    return num_filters if count is None else max(1, round(count * width))


def _at_least_fp32(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _require_maps(maps: torch.Tensor, name: str) -> None:
    if not isinstance(maps, torch.Tensor) or not maps.is_floating_point():
        kind = maps.dtype if isinstance(maps, torch.Tensor) else type(maps).__name__
        raise TypeError(f"{name} must be a floating tensor (N, K, H, W), got {kind}")
    if maps.ndim != 4:
        raise ValueError(f"{name} must be (N, K, H, W), got shape {tuple(maps.shape)}")


def _require_images(images: torch.Tensor) -> None:
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] % 8 or images.shape[3] % 8:
        raise ValueError(
            "images must be (N, 3, H, W) with H and W multiples of 8 (the paper's 96, or 48), got "
            f"shape {tuple(images.shape)}; crop or resize them first"
        )
