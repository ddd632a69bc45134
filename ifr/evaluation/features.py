"""Features of a set of faces, whole or behind warped rectangles, by any embedding."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from safetensors import SafetensorError
from safetensors.torch import load_file

from ifr.common.errors import UserError
from ifr.common.seeding import stream
from ifr.datasets import FaceSet
from ifr.datasets.readers.tables import read_named
from ifr.evaluation.metrics import normalised
from ifr.evaluation.onnx_model import OURS, InputConvention, OnnxEmbedding
from ifr.landmarks import FACE_SIZE
from ifr.models import IResNet50, build_model, load_weights
from ifr.models.inputs import center_crop, center_crop_points
from ifr.occlusion import draw_rectangles, occlude

ALIKE = 0.98  # median cosine between people above which a network cannot have seen their faces


@dataclass(frozen=True, eq=False)
class NetworkEmbedding:
    """A PyTorch network in evaluation mode, from images (N, 3, size, size) to features (N, K)."""

    name: str
    size: int
    network: torch.nn.Module
    method: str = "forward"  # of the network
    convention: InputConvention = OURS
    trained_on: str | None = None  # the fingerprint of a set

    @torch.inference_mode()
    def __call__(self, images: torch.Tensor) -> np.ndarray:
        if self.network.training:  # batch norm would mix the images
            raise ValueError("the network is in training mode: call model.eval() first")
        weight, layout = next(self.network.parameters()), torch.channels_last
        images = self.convention(images).to(weight, memory_format=layout)
        return getattr(self.network, self.method)(images).float().cpu().numpy()


Embedding = NetworkEmbedding | OnnxEmbedding  # from images, RGB in [-1, 1], to features (N, K)


def load_embedding(path: Path, convention: InputConvention = OURS) -> Embedding:
    """Open a folder of ``models/``, an ``.onnx``, or the ``.pth`` of an ArcFace ResNet-50."""
    suffix, record = path.suffix.lower(), path / "training.json"
    if not path.exists():
        raise UserError(f"{path} is not there; give a folder of models/, .pth or .onnx")
    if suffix == ".onnx":
        return OnnxEmbedding(path, convention)
    if convention.size is not None or convention.output is not None:
        raise UserError(f"{path}: --size and --output are of ONNX models")
    if suffix in (".pth", ".pt"):
        network = IResNet50(embedding_layers=True)
        network.load_backbone(path)
        return NetworkEmbedding(path.stem, FACE_SIZE, network.eval(), "embedding", convention)
    if not path.is_dir():
        raise UserError(f"{path}: expected a folder of models/, an .onnx or .pth file, or an .npz")
    if not record.is_file():
        raise UserError(f"{record} is missing: {path} is no trained network; ifr train makes one")
    weights = path / "weights.safetensors"
    try:
        config = json.loads(record.read_text(encoding="utf-8"))
        model, state = build_model(**config["network"]), load_file(weights)
        size, data = config["input_size"], config.get("data")
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise UserError(f"{path} is no whole network ({error!r}): train it again") from None
    load_weights(model, state, source=str(weights))
    return NetworkEmbedding(path.name, size, model.eval(), "forward", convention, data)


def read_features(path: Path, faces: FaceSet) -> tuple[np.ndarray, np.ndarray]:
    """Return ``features`` (M, K) of ``files`` (M,) by face, (N, K), and whose are there, (N,)."""
    names, features = read_named(path, "files", "features", "features (M, K) and files (M,)")
    if features.ndim != 2:
        raise UserError(f"{path}: features must be (M, K), got {features.shape}")
    files = faces.attributes["file"].astype(str)
    rows = names.get_indexer(pd.Index(files))
    if (rows < 0).all():
        begins = [*names[:1], "nothing"][0]
        raise UserError(f"{path} has no features of {files[0]}: it begins with {begins}")
    there = rows >= 0
    return np.where(there[:, None], features[rows], np.nan), there


def random_rectangles(count: int, seed: int, kind: str = "BlaS") -> np.ndarray:
    """Return a rectangle of the frontal crop for each test image, (count, 4), for every network."""
    return draw_rectangles(stream(seed, f"test/rectangles/{kind}"), count, kind=kind)


def set_features(
    embedding: Embedding,
    faces: FaceSet,
    *,
    rows: np.ndarray | None = None,
    rectangles: ArrayLike | None = None,
    mirror: bool = False,
    batch: int = 64,
) -> np.ndarray:
    """Return features of the centre crop of aligned faces, (N, K) float32, not normalised.

    Of all or some ``rows``. ``rectangles``, (N, 4) or (4,) for all, are x, y, width and height in
    the frontal crop of a black mask that is warped to each face as in training. ``mirror`` adds the
    feature of the mirrored image, as LFW is usually tested; the paper does not.
    """
    boxes = None if rectangles is None else np.broadcast_to(rectangles, (len(faces), 4))
    if boxes is not None and faces.landmarks is None:
        raise UserError(f"set {faces.name!r} has no landmarks to warp an occlusion by")
    rows, parts = np.arange(len(faces)) if rows is None else rows, []
    for some in np.split(rows, range(batch, len(rows), batch)):
        images = center_crop(faces.images[some], embedding.size)
        if boxes is not None and faces.landmarks is not None:
            points = center_crop_points(faces.landmarks[some], embedding.size)
            images = occlude(images, points, boxes[some])[0]
        features = embedding(images)
        parts.append(features + embedding(images.flip(3)) if mirror else features)
    return np.concatenate(parts)


def check_features(features: np.ndarray, faces: FaceSet, rows: np.ndarray, path: Path) -> list[str]:
    """Refuse features of the rows compared that have no direction; return what makes one doubt."""
    found = features[rows]
    directed = np.isfinite(found).all(axis=1) & found.any(axis=1) & (found.shape[1] > 1)
    if len(wrong := rows[~directed]):
        counted = f"{len(wrong)} of {len(rows)} faces, first {faces.attributes['file'][wrong[0]]}"
        raise UserError(f"{path}: zero, NaN, infinite or one-number features of {counted}")
    people = np.unique(faces.identity[rows], return_index=True)[1][:500]
    unit = normalised(found[people].astype(np.float64))
    cosines = (unit @ unit.T)[np.triu_indices(len(people), k=1)]
    if not len(cosines) or np.median(cosines) <= ALIKE:
        return []
    alike = f"features of different people hardly differ, cosine {np.median(cosines):.5f}"
    return [f"{alike} (is the input right? see --input-range, --mean, --std and --channels)"]
