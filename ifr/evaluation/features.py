"""Features of a set of faces, whole or behind warped rectangles, by any embedding."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from zipfile import BadZipFile

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from safetensors.torch import load_file

from ifr.common.errors import UserError
from ifr.common.seeding import stream
from ifr.datasets import FaceSet
from ifr.landmarks import FACE_SIZE
from ifr.models import IResNet50, build_model, load_weights
from ifr.models.inputs import center_crop, center_crop_points
from ifr.occlusion import draw_rectangles, occlude


class Embedding(Protocol):
    """A network from faces to features."""

    @property
    def name(self) -> str: ...  # for tables and messages

    @property
    def size(self) -> int: ...  # side of the input, pixels: of a face, its crop, or a part of it

    def __call__(self, images: torch.Tensor) -> np.ndarray:
        """Return features (N, K) float32 of images (N, 3, size, size), RGB in [-1, 1]."""


@dataclass(frozen=True, eq=False)
class NetworkEmbedding:
    """A PyTorch network in evaluation mode, from images (N, 3, size, size) to features (N, K)."""

    name: str
    size: int
    network: torch.nn.Module
    method: str = "forward"  # of the network

    @torch.inference_mode()
    def __call__(self, images: torch.Tensor) -> np.ndarray:
        if self.network.training:  # batch norm would mix the images
            raise ValueError("the network is in training mode: call model.eval() first")
        images = images.to(next(self.network.parameters()), memory_format=torch.channels_last)
        return getattr(self.network, self.method)(images).float().cpu().numpy()


class OnnxEmbedding:
    """An ONNX model as InsightFace publishes: one input (N, 3, S, S), RGB in [-1, 1]."""

    def __init__(self, path: Path) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise UserError(f"{path} needs onnxruntime: pip install 'ifr[onnx]'") from None
        try:
            self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime raises classes of its own
            raise UserError(f"{path}: not an ONNX model this can run ({error})") from None
        inputs = self.session.get_inputs()
        shape = inputs[0].shape
        if len(inputs) != 1 or len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3]:
            listed = ", ".join(f"{i.name} {i.shape}" for i in inputs)
            raise UserError(f"{path}: expected one input (N, 3, S, S), found {listed}")
        self.name, self.size = path.stem, int(shape[2])
        self.fixed = shape[0] if isinstance(shape[0], int) else None  # a batch size built in

    def __call__(self, images: torch.Tensor) -> np.ndarray:
        name, first = self.session.get_inputs()[0].name, self.session.get_outputs()[0].name
        step = self.fixed or len(images)
        missing = -len(images) % step  # in the last of batches of a size built in
        padded = np.pad(images.float().cpu().numpy(), [(0, missing), (0, 0), (0, 0), (0, 0)])
        batches = np.split(padded, range(step, len(padded), step))
        parts = [self.session.run([first], {name: batch})[0] for batch in batches]
        return np.concatenate(parts)[: len(images)].reshape(len(images), -1)


def load_embedding(path: Path) -> Embedding:
    """Open a folder of ``models/``, an ``.onnx``, or the ``.pth`` of an ArcFace ResNet-50."""
    if not path.exists():
        raise UserError(f"{path} is not there; give a folder of models/, .pth or .onnx")
    if path.suffix == ".onnx":
        return OnnxEmbedding(path)
    if path.suffix == ".pth":
        network = IResNet50(embedding_layers=True)
        network.load_backbone(path)
        return NetworkEmbedding(path.stem, FACE_SIZE, network.eval(), "embedding")
    if not path.is_dir():
        raise UserError(f"{path}: expected a folder of models/, an .onnx or .pth file, or an .npz")
    record, weights = path / "training.json", path / "weights.safetensors"
    if not record.is_file():
        raise UserError(f"{record} is missing: {path} is no trained network; ifr train makes one")
    config = json.loads(record.read_text(encoding="utf-8"))
    if "network" not in config:
        raise UserError(f"{record} does not say which network it is of: train it again")
    model = build_model(**config["network"])
    load_weights(model, load_file(weights), source=str(weights))
    return NetworkEmbedding(path.name, config["input_size"], model.eval())


def read_features(path: Path, faces: FaceSet) -> np.ndarray:
    """Read an ``.npz`` of ``features`` (M, K) and ``files`` (M,), in the order of a set's faces."""
    try:
        with np.load(path) as stored:
            features, names = stored["features"], pd.Index(stored["files"].astype(str))
    except (OSError, EOFError, BadZipFile, KeyError, ValueError) as error:
        raise UserError(f"{path} is no .npz of features (M, K) and files (M,): {error}") from None
    if features.ndim != 2 or names.shape != features.shape[:1]:
        shapes = f"{features.shape} and {names.shape}"
        raise UserError(f"{path}: features must be (M, K) and files (M,), got {shapes}")
    if len(again := names[names.duplicated()]):
        raise UserError(f"{path}: {len(again)} names come twice, first {again[0]}")
    wanted = np.asarray(faces.attributes["file"]).astype(str)
    rows = names.get_indexer(pd.Index(wanted))
    if len(missing := wanted[rows < 0]):
        counted = f"{len(missing)} of {len(wanted)} faces, first {missing[0]}"
        raise UserError(f"{path} has no features of {counted}")
    chosen = np.asarray(features[rows], np.float32)
    if broken := int((~np.isfinite(chosen)).any(axis=1).sum()):
        raise UserError(f"{path}: features of {broken} faces are NaN or infinite")
    return chosen


def random_rectangles(count: int, seed: int, kind: str = "BlaS") -> np.ndarray:
    """Return a rectangle of the frontal crop for each test image, (count, 4), for every network."""
    return draw_rectangles(stream(seed, f"test/rectangles/{kind}"), count, kind=kind)


def set_features(
    embedding: Embedding,
    faces: FaceSet,
    *,
    rectangles: ArrayLike | None = None,
    mirror: bool = False,
    batch: int = 256,
) -> np.ndarray:
    """Return features of the centre crop of aligned faces, (N, K) float32, not normalised.

    ``rectangles``, (N, 4) or (4,) for all, are x, y, width and height in the frontal crop of a
    black mask that is warped to each face as in training. ``mirror`` adds the feature of the
    mirrored image, as LFW is usually tested; the paper does not.
    """
    boxes = None if rectangles is None else np.broadcast_to(rectangles, (len(faces), 4))
    if boxes is not None and faces.landmarks is None:
        raise UserError(f"set {faces.name!r} has no landmarks to warp an occlusion by")
    parts = []
    for first in range(0, len(faces), batch):
        rows = slice(first, first + batch)
        images = center_crop(faces.images[rows], embedding.size)
        if boxes is not None and faces.landmarks is not None:
            points = center_crop_points(faces.landmarks[rows], embedding.size)
            images = occlude(images, points, boxes[rows])[0]
        features = embedding(images)
        parts.append(features + embedding(images.flip(3)) if mirror else features)
    return np.concatenate(parts)
