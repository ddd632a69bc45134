"""InsightFace's verification sets (``lfw.bin``, ``cfp_fp.bin``, ``agedb_30.bin``), read safely."""

import io
import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ifr.common.errors import UserError
from ifr.datasets.index import DatasetIndex
from ifr.datasets.pairs import PairList
from ifr.datasets.readers.images import photograph_set

FOLDS = 10
# All that a pickle of arrays, bytes and lists of numbers needs.
ADMITTED = {("_codecs", "encode"), ("numpy", "dtype"), ("numpy", "ndarray")} | {
    (f"numpy.{core}.{module}", name)
    for core in ("core", "_core")  # of NumPy 1 and 2
    for module, name in (
        ("multiarray", "_reconstruct"),
        ("multiarray", "scalar"),
        ("numeric", "_frombuffer"),
    )
}


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that builds arrays and plain values and refuses to import anything else."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in ADMITTED:
            raise _Refused(f"{module}.{name}")
        return super().find_class(module, name)


class _Refused(Exception):
    """A pickle asked for something that is no array."""


class Buffers:
    """Encoded images of a file, held in memory, each with its number in the file."""

    def __init__(self, file: str, images: Sequence[bytes], numbers: np.ndarray) -> None:
        self.file, self.images, self.numbers = file, images, numbers

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: np.ndarray) -> "Buffers":
        return Buffers(self.file, [self.images[row] for row in rows], self.numbers[rows])

    def name(self, index: int) -> str:
        return f"{self.file}, image {self.numbers[index]}"

    def size(self, index: int) -> int:
        return len(self.images[index])

    def read(self, index: int) -> bytes:
        return self.images[index]


def read_bin(path: Path) -> DatasetIndex:
    """Read a pickle of ``(bins, issame)``: two encoded images for each pair.

    A pickle can run any program when it is opened. This one is opened by a reader that lets
    arrays through and refuses everything else. The encoded images are held in memory.

    Returns:
        The file says nothing of identities: each image gets a number of its own, and ``subject``
        is empty. ``protocol``: the pairs in ten folds of equal length, as InsightFace takes them.
        ``counts``: images, pairs.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} is not there; give an InsightFace .bin file")
    bins, issame = _load(path)
    images = [_as_bytes(path, k, one) for k, one in enumerate(bins)]
    try:
        flags = np.array([int(one) for one in issame])
    except (TypeError, ValueError):
        flags = np.array([-1])
    if not len(flags) or not np.isin(flags, (0, 1)).all():
        raise UserError(f"{path}: the second part must be a list of true and false")
    if len(images) != 2 * len(flags):
        raise UserError(
            f"{path}: {len(images)} images for {len(flags)} pairs, expected {2 * len(flags)}; the "
            "file is cut short or of another kind"
        )
    rows = np.arange(len(images), dtype=np.int64)
    source = Buffers(str(path), images, rows)
    faces = photograph_set(path.stem, source, rows.astype(str), rows)
    faces.attributes["subject"] = np.full(len(rows), "")
    folds = np.arange(len(flags), dtype=np.int64) * FOLDS // len(flags)
    pairs = PairList(rows.reshape(-1, 2), flags.astype(bool), folds)
    return DatasetIndex(faces, dict(images=len(images), pairs=len(flags)), (), pairs)


def _load(path: Path) -> tuple:
    # Files written by Python 2 hold its strings, which are bytes.
    reader = _ArraysOnly(io.BytesIO(path.read_bytes()), encoding="bytes")
    try:
        content = reader.load()
    except _Refused as refused:
        raise UserError(
            f"{path}: this pickle asks for {refused}, which may run a program; only arrays are "
            "let through. Do not open it by other means unless you trust where it comes from"
        ) from None
    except MemoryError:
        raise UserError(f"{path}: broken: it asks for more memory than there is") from None
    except Exception as error:  # a broken pickle raises nearly anything
        raise UserError(
            f"{path}: not a pickle, or cut short ({type(error).__name__}: {error})"
        ) from None
    if not isinstance(content, (tuple, list)) or len(content) != 2:
        raise UserError(f"{path}: expected (bins, issame), got {type(content).__name__}")
    for part in content:
        if not isinstance(part, (list, tuple, np.ndarray)):
            raise UserError(f"{path}: expected two lists, got a {type(part).__name__}")
    return tuple(content)


def _as_bytes(path: Path, index: int, one: object) -> bytes:
    if isinstance(one, (bytes, bytearray)):
        return bytes(one)
    if isinstance(one, np.ndarray) and one.dtype == np.uint8:
        return one.tobytes()
    raise UserError(
        f"{path}: image {index} must be bytes or an array of uint8, got {type(one).__name__}"
    )
