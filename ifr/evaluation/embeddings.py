"""Any embedding beside ours: a trained checkpoint, a features file, an ArcFace or an ONNX model."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from zipfile import BadZipFile

import numpy as np
import torch
from safetensors.torch import load_file

from ifr.common.seeding import stream
from ifr.datasets import FaceSet
from ifr.mesh import FaceMesh
from ifr.models import IResNet50, build_model, load_weights
from ifr.models.inputs import centre_offset, to_network, to_network_points
from ifr.occlusion import draw_rectangles, occlude

BATCH = 128
ONNX_EXTRA = "an ONNX model needs the package onnxruntime: pip install 'ifr[onnx]'"


class Embedding(Protocol):
    """A network from faces to features.

    Attributes:
        name: for tables and messages.
        size: side of its square input in pixels: 112 for whole aligned faces, else 96 or a whole
            fraction of it for the centre crop.
    """

    name: str
    size: int

    def __call__(self, images: torch.Tensor) -> np.ndarray:
        """Return features (N, K) float32 of images (N, 3, size, size), RGB in [-1, 1]."""
        ...


@dataclass(frozen=True, eq=False)
class NetworkEmbedding:
    """A PyTorch network; ``forward`` takes images (N, 3, size, size) to features (N, K)."""

    name: str
    size: int
    forward: torch.nn.Module

    @torch.inference_mode()
    def __call__(self, images: torch.Tensor) -> np.ndarray:
        device = next(self.forward.parameters()).device
        images = images.to(device).contiguous(memory_format=torch.channels_last)
        return self.forward(images).float().cpu().numpy()


class _ArcFace(torch.nn.Module):
    """The embedding of a whole ArcFace network, as a module of its own."""

    def __init__(self, network: IResNet50):
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network.embedding(images)


class OnnxEmbedding:
    """An ONNX model with one image input (N, 3, S, S), RGB in [-1, 1], and one output (N, K).

    The models InsightFace publishes take their input so. One with several outputs is read by its
    first.

    Args:
        path: of the ``.onnx`` file.
        threads: of the runtime; its own choice if None.

    Raises:
        ValueError: without the package onnxruntime, if the file is no ONNX model, or if its input
            is no square image.
    """

    def __init__(self, path: Path, *, threads: int | None = None):
        try:
            import onnxruntime
        except ImportError:
            raise ValueError(f"{path}: {ONNX_EXTRA}") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        try:
            self.session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the runtime raises classes of its own
            raise ValueError(f"{path}: not an ONNX model this can run ({error})") from None
        inputs = self.session.get_inputs()
        shape = inputs[0].shape
        if len(inputs) != 1 or len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3]:
            found = ", ".join(f"{i.name} {i.shape}" for i in inputs)
            raise ValueError(
                f"{path}: expected one input (N, 3, S, S), found {found}; export the network with "
                "channels first"
            )
        self.name, self.size = path.stem, int(shape[2])
        self.fixed = shape[0] if isinstance(shape[0], int) else None  # a batch size built in

    def __call__(self, images: torch.Tensor) -> np.ndarray:
        values = images.cpu().numpy().astype(np.float32)
        name, output = self.session.get_inputs()[0].name, self.session.get_outputs()[0].name
        step = self.fixed or max(1, len(values))
        parts = []
        for first in range(0, len(values), step):
            part = values[first : first + step]
            missing = step - len(part) if self.fixed else 0
            padded = np.concatenate([part, np.zeros((missing, *part.shape[1:]), np.float32)])
            parts.append(self.session.run([output], {name: padded})[0][: len(part)])
        features = np.concatenate(parts)
        return features.reshape(len(features), -1)


def load_embedding(path: Path) -> Embedding:
    """Open a network by what its path names.

    Args:
        path: a folder of ``models/`` that ``ifr train`` wrote; an ``.onnx`` file; or a
            ``.pth`` file, taken for the ``backbone.pth`` of an ArcFace ResNet-50.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if it is none of these, or does not hold what it should.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there; give a folder of models/, .pth or .onnx")
    if path.is_dir():
        return _checkpoint(path)
    if path.suffix == ".onnx":
        return OnnxEmbedding(path)
    if path.suffix == ".pth":
        network = IResNet50(head=True)
        network.load_backbone(path)
        return NetworkEmbedding(path.stem, 112, _ArcFace(network).eval())
    raise ValueError(
        f"{path}: expected a folder of models/, an .onnx or a .pth file; features that are "
        "computed already are read from .npz"
    )


def _checkpoint(folder: Path) -> NetworkEmbedding:
    record = folder / "training.json"
    if not record.is_file():
        raise FileNotFoundError(
            f"{record} is missing: {folder} is no trained network; ifr train makes one"
        )
    facts = json.loads(record.read_text(encoding="utf-8"))
    if "network" not in facts:
        raise ValueError(f"{record} does not say which network it is of: train it again")
    model = build_model(**facts["network"])
    weights = folder / "weights.safetensors"
    load_weights(model, load_file(weights), source=str(weights))
    return NetworkEmbedding(folder.name, facts["input_size"], model.eval())


def read_features(path: Path, faces: FaceSet) -> np.ndarray:
    """Read features that were computed elsewhere, in the order of a set's faces.

    Args:
        path: ``.npz`` with ``features`` (M, K) and ``files`` (M,), the names in the set's attribute
            ``file``.
        faces: the set.

    Returns:
        (N, K) float32.

    Raises:
        ValueError: if an array is missing or of another shape, a name comes twice, a feature is not
            finite, or faces of the set have none.
    """
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as stored:
            absent = [name for name in ("features", "files") if name not in stored]
            if absent:
                raise ValueError(
                    f"{path} lacks {' and '.join(absent)}: expected features (M, K) and files (M,)"
                )
            features, files = stored["features"], stored["files"].astype(str)
    except (OSError, EOFError, BadZipFile) as error:
        raise ValueError(f"{path}: cannot be read ({error})") from None
    if features.ndim != 2 or files.shape != features.shape[:1]:
        raise ValueError(
            f"{path}: features must be (M, K) and files (M,), got {features.shape} and "
            f"{files.shape}"
        )
    order = np.argsort(files, kind="stable")
    twice = files[order][1:][files[order][1:] == files[order][:-1]]
    if len(twice):
        raise ValueError(f"{path}: {len(twice)} names come twice, first {twice[0]}")
    wanted = np.asarray(faces.attributes["file"]).astype(str)
    place = np.searchsorted(files, wanted, sorter=order).clip(max=len(files) - 1)
    rows = order[place] if len(files) else place
    missing = wanted[files[rows] != wanted] if len(files) else wanted
    if len(missing):
        raise ValueError(
            f"{path} has no features of {len(missing)} of {len(wanted)} faces, first {missing[0]}"
        )
    chosen = np.asarray(features[rows], np.float32)
    if not np.isfinite(chosen).all():
        raise ValueError(f"{path}: features of {missing_rows(chosen)} faces are NaN or infinite")
    return chosen


def missing_rows(features: np.ndarray) -> int:
    """Return how many rows of (N, K) hold a value that is not finite."""
    return int((~np.isfinite(features)).any(axis=1).sum())


def embed(
    embedding: Embedding,
    faces: FaceSet,
    *,
    mirror: bool = False,
    occlusion: str | None = None,
    seed: int = 0,
    batch: int = BATCH,
) -> np.ndarray:
    """Return features of the centre crop of aligned faces, in bounded memory.

    Args:
        embedding: the network.
        faces: images (N, 112, 112, 3); with landmarks if they are to be occluded.
        mirror: add the feature of the mirrored image, as LFW is usually tested; the paper does not.
        occlusion: None, or ``"synthetic"``: a random rectangle (BlaS) on each image, warped to the
            face as in training.
        seed: of the rectangles; the n-th face gets the same one under every network.
        batch: images at once.

    Returns:
        (N, K) float32, not normalised.

    Raises:
        ValueError: for an unknown occlusion, or one of faces without landmarks.
    """
    if occlusion not in (None, "synthetic"):
        raise ValueError(f"occlusion must be None or 'synthetic', got {occlusion!r}")
    if occlusion and faces.landmarks is None:
        raise ValueError(f"set {faces.name!r} has no landmarks to warp an occlusion by")
    size = embedding.size
    mesh = FaceMesh.frontal(112).crop(offset=8, size=96)
    rng = stream(seed, "test/rectangles/BlaS")
    parts = []
    for first in range(0, len(faces), batch):
        some = faces[first : first + batch]
        offsets = torch.full((len(some), 2), centre_offset(size))
        images = to_network(torch.from_numpy(np.array(some.images)), offsets, size)
        if occlusion:
            boxes = draw_rectangles(rng, len(some), mesh)
            points = to_network_points(torch.from_numpy(np.array(some.landmarks)), offsets, size)
            images = occlude(images, points, boxes, mesh=mesh)[0]
        features = embedding(images)
        parts.append(features + embedding(images.flip(3)) if mirror else features)
    return np.concatenate(parts)
