"""Networks of others, as ONNX models: what they take and give is in the file, or stated."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ifr.common.errors import UserError
from ifr.models.inputs import offset_range

SIGNED, UNIT, BYTES = (-1.0, 1.0), (0.0, 1.0), (0.0, 255.0)  # black and white, by custom
TYPES = dict(float="float32", double="float64", float16="float16", uint8="uint8")  # ONNX, NumPy
PASSED = ("Identity", "Cast", "Transpose", "Gather", "Slice")  # they scale nothing
SHIFTS, SCALES = dict(Sub=np.subtract, Add=np.add), dict(Mul=np.multiply, Div=np.divide)


@dataclass(frozen=True)
class InputConvention:
    """What the user of a network states; without ``pixels`` what its file says, else [-1, 1].

    From pixels between black and white ``mean`` is subtracted, and ``std`` divides: one number or
    one a channel, in the network's order. With these and without ``pixels``, pixels are 0 to 255.
    """

    pixels: tuple[float, ...] | None = None
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    channels: str = "rgb"  # or bgr
    size: int | None = None  # of an input without one
    output: str | None = None  # the name of the features among several outputs

    def __post_init__(self) -> None:
        ends, right = self.ends, self.channels in ("rgb", "bgr")
        right &= len(ends) == 2 and ends[0] < ends[1] and {len(self.mean), len(self.std)} <= {1, 3}
        if right and self.scaled:  # by numbers of another range every face looks alike
            right &= all(ends[0] <= one <= ends[1] for one in self.mean)
            right &= all(one > 0 and 0.5 < (ends[1] - ends[0]) / one < 256 for one in self.std)
        if not right:
            wanted = "(0,255 beside a mean or std), one or three of each that fit it, rgb or bgr"
            raise UserError(f"expected --input-range LOW,HIGH {wanted}; got {self}")

    @property
    def scaled(self) -> bool:
        """Whether a mean or a deviation is given."""
        return (*self.mean, *self.std) != (0.0, 1.0)

    @property
    def ends(self) -> tuple[float, ...]:
        """Black and white, before mean and deviation."""
        return self.pixels or (BYTES if self.scaled else SIGNED)

    def __str__(self) -> str:
        given = (",".join(f"{one:g}" for one in some) for some in (self.ends, self.mean, self.std))
        return "range {}, mean {}, std {}, ".format(*given) + self.channels

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return images (N, 3, S, S), RGB in [-1, 1], as the network takes them."""
        images = images.flip(1) if self.channels == "bgr" else images
        if self.ends == SIGNED and not self.scaled:
            return images
        low, high = self.ends
        mean, std = (images.new_tensor(v)[:, None, None] for v in (self.mean, self.std))
        return ((images + 1) * ((high - low) / 2) + low - mean) / std


OURS = InputConvention()


class OnnxEmbedding:
    """An ONNX model: images (N, 3, S, S) or (N, S, S, 3) in, features (N, K) out."""

    trained_on = None  # a set that nobody knows

    def __init__(self, path: Path, convention: InputConvention) -> None:
        try:
            import onnx
            import onnxruntime
        except ImportError:
            raise UserError(f"{path} needs onnx and onnxruntime: pip install 'ifr[onnx]'") from None
        options, providers = onnxruntime.SessionOptions(), ["CPUExecutionProvider"]
        options.log_severity_level = 4  # what fails is raised
        try:
            self.session = onnxruntime.InferenceSession(path, options, providers=providers)
            graph = onnx.load(path, load_external_data=False).graph
        except Exception as error:  # the runtime raises classes of its own
            raise UserError(f"{path}: not an ONNX model this can run ({error})") from None
        self.path, self.name = path, path.stem
        first, *others = inputs = self.session.get_inputs()
        kind, shape = first.type[7:-1], list(first.shape)  # tensor(kind)
        self.last = len(shape) == 4 and shape[3] == 3 != shape[1]  # its channels
        shape = [shape[k] for k in (0, 3, 1, 2)] if self.last else shape
        if others or len(shape) != 4 or shape[1] != 3 or kind not in TYPES:
            wanted = f"one input (N, 3, S, S) or (N, S, S, 3) of {', '.join(TYPES)}"
            raise UserError(f"{path}: expected {wanted}, found {_listed(inputs)}")
        sides = {side for side in (*shape[2:], convention.size) if isinstance(side, int)}
        try:
            [self.size] = sides
            offset_range(self.size)
        except ValueError as error:
            why = error if len(sides) == 1 else "expected one size in its input or stated"
            found = f"{_listed(inputs)}, --size {convention.size}"
            raise UserError(f"{path}: {why}, found {found}") from None
        self.fixed = shape[0] if isinstance(shape[0], int) else None  # a batch size built in
        self.input, self.type = first.name, np.dtype(TYPES[kind])
        outputs, asked = self.session.get_outputs(), convention.output
        likely = [o for o in outputs if len(o.shape) > 1 and set(o.shape[2:]) <= {1}]
        likely = outputs if len(outputs) == 1 else likely  # its rows are looked at when it is run
        chosen = likely if asked is None else [o for o in outputs if o.name == asked]
        if len(chosen) != 1:
            raise UserError(f"{path}: --output must name one of {_listed(outputs)}")
        self.output = chosen[0].name
        if convention.pixels is None and not convention.scaled:
            told = BYTES if kind == "uint8" else first_range(graph, self.input, path.parent)
            convention = replace(convention, pixels=told)
        self.convention = convention

    def __call__(self, images: torch.Tensor) -> np.ndarray:
        values = self.convention(images.float().cpu()).numpy()
        values = np.moveaxis(values, 1, -1) if self.last else values
        values = (values.round() if self.type.kind == "u" else values).astype(self.type)
        step = self.fixed or len(values)
        missing = -len(values) % step  # in the last of batches of a size built in
        padded = np.pad(values, [(0, missing), (0, 0), (0, 0), (0, 0)])
        found = [self._run(part) for part in np.split(padded, range(step, len(padded), step))]
        first, alone = found[0][0], self._run(np.repeat(values[:1], self.fixed or 1, axis=0))[0]
        close = np.abs(first - alone).max() <= 0.1 * np.abs(first).max()
        if np.isfinite(first).all() and not close:
            raise UserError(f"{self.path}: the features of an image depend on those beside it")
        return np.concatenate(found)[: len(images)]

    def _run(self, batch: np.ndarray) -> np.ndarray:
        try:
            found = np.asarray(self.session.run([self.output], {self.input: batch})[0])
        except Exception as error:  # as above
            raise UserError(f"{self.path} fails on images {batch.shape}: {error}") from None
        count, shape = len(batch), found.shape
        if len(shape) < 2 or shape[0] != count or found.size != count * max(shape[1:]):
            rows = f"{shape[0] if len(shape) > 1 else 'no'} rows: {shape}"
            wanted = f"expected features ({count}, K) of {count} images"
            raise UserError(f"{self.path}: {wanted}, found {rows}")
        return found.reshape(count, -1).astype(np.float32)


def first_range(graph: Any, name: str, folder: Path) -> tuple[float, float] | None:
    """Return the range of pixels that the first nodes behind an input suppose, if they tell."""
    from onnx.numpy_helper import to_array

    tensors = {tensor.name: tensor for tensor in graph.initializer}
    nodes = [node for node in graph.node if node.op_type == "Constant"]
    tensors |= {node.output[0]: node.attribute[0].t for node in nodes}
    scale, offset = np.ones(3), np.zeros(3)  # scale · x + offset of pixels x
    while len(users := [node for node in graph.node if name in node.input]) == 1:
        kind, inputs = users[0].op_type, users[0].input
        values = [to_array(tensors[one], str(folder)).ravel() for one in inputs if one in tensors]
        sizes = [len(one) for one in values]
        if kind == "BatchNormalization" and sizes == [3] * 4:
            gain, shift, mean, variance = values
            factor = gain / np.sqrt(variance + 1e-5)
            scale, offset = scale * factor, (offset - mean) * factor + shift
        elif kind in SHIFTS | SCALES and sizes in ([1], [3]):
            if kind in ("Sub", "Div") and inputs[0] != name:
                break
            offset = (SHIFTS | SCALES)[kind](offset, values[0])
            scale = SCALES[kind](scale, values[0]) if kind in SCALES else scale
        elif kind not in PASSED:
            break
        name = users[0].output[0]
    grey = -np.mean(offset / scale)  # becomes 0
    if grey > 1.5 or (abs(grey) < 0.25 and np.mean(scale) < 0.04):
        return BYTES
    return UNIT if 0.25 <= grey <= 1 or np.mean(scale) > 200 else None


def _listed(values: Any) -> str:
    return ", ".join(f"{value.name} {value.shape} {value.type}" for value in values)
