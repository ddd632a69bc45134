"""Any embedding beside ours: a trained checkpoint, a features file, an ArcFace or an ONNX model."""

import json
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file

from ifr.common.errors import UserError
from ifr.datasets import FaceSet
from ifr.evaluation.features import Embedding
from ifr.landmarks import FACE_SIZE
from ifr.models import IResNet50, build_model, load_weights


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
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path} is not there; give a folder of models/, .pth or .onnx")
    if path.is_dir():
        return _checkpoint(path)
    if path.suffix == ".onnx":
        return OnnxEmbedding(path)
    if path.suffix == ".pth":
        network = IResNet50(embedding_layers=True)
        network.load_backbone(path)
        return NetworkEmbedding(path.stem, FACE_SIZE, network.eval(), "embedding")
    raise UserError(f"{path}: expected a folder of models/, an .onnx or .pth file, or an .npz")


def _checkpoint(folder: Path) -> NetworkEmbedding:
    record = folder / "training.json"
    if not record.is_file():
        raise UserError(f"{record} is missing: {folder} is no trained network; ifr train makes one")
    config = json.loads(record.read_text(encoding="utf-8"))
    if "network" not in config:
        raise UserError(f"{record} does not say which network it is of: train it again")
    model = build_model(**config["network"])
    weights = folder / "weights.safetensors"
    load_weights(model, load_file(weights), source=str(weights))
    return NetworkEmbedding(folder.name, config["input_size"], model.eval())


def read_features(path: Path, faces: FaceSet) -> np.ndarray:
    """Read features computed elsewhere, in the order of a set's faces, (N, K) float32.

    The ``.npz`` holds ``features`` (M, K) and ``files`` (M,), as in the set's attribute ``file``.
    """
    try:
        with np.load(path) as stored:
            features, names = stored["features"], pd.Index(stored["files"].astype(str))
    except (OSError, EOFError, BadZipFile, KeyError, ValueError) as error:
        raise UserError(f"{path} is no .npz of features (M, K) and files (M,): {error}") from None
    if features.ndim != 2 or names.shape != features.shape[:1]:
        shapes = f"{features.shape} and {names.shape}"
        raise UserError(f"{path}: features must be (M, K) and files (M,), got {shapes}")
    if names.has_duplicates:
        again = names[names.duplicated()]
        raise UserError(f"{path}: {len(again)} names come twice, first {again[0]}")
    wanted = np.asarray(faces.attributes["file"]).astype(str)
    rows = names.get_indexer(pd.Index(wanted))
    missing = wanted[rows < 0]
    if len(missing):
        counted = f"{len(missing)} of {len(wanted)} faces, first {missing[0]}"
        raise UserError(f"{path} has no features of {counted}")
    chosen = np.asarray(features[rows], np.float32)
    broken = int((~np.isfinite(chosen)).any(axis=1).sum())
    if broken:
        raise UserError(f"{path}: features of {broken} faces are NaN or infinite")
    return chosen
