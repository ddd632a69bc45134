"""InsightFace's verification sets (``lfw.bin``, ``cfp_fp.bin``, ``agedb_30.bin``), read safely."""

import io
import pickle
from pathlib import Path

import numpy as np

from ifr.common.errors import UserError
from ifr.datasets.index import DatasetIndex, PairList
from ifr.datasets.readers.images import ImageSource, photograph_set, require

FOLDS = 10
# All that a pickle of arrays, bytes and lists of numbers needs, of NumPy 1 and 2.
PARTS = ("multiarray._reconstruct", "multiarray.scalar", "numeric._frombuffer")
ADMITTED = {"_codecs.encode", "numpy.dtype", "numpy.ndarray"}
ADMITTED |= {f"numpy.{core}.{part}" for core in ("core", "_core") for part in PARTS}


class _Refused(Exception):
    """A pickle asked for something that is no array."""


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that builds arrays and plain values and refuses to import anything else."""

    def find_class(self, module: str, name: str) -> object:
        if f"{module}.{name}" not in ADMITTED:
            raise _Refused(f"{module}.{name}")
        return super().find_class(module, name)


class Buffers(ImageSource):
    """Encoded images of a file, held in memory as ``places``, by their numbers in the file."""

    places: np.ndarray

    def size(self, index: int) -> int:
        return len(self.places[index])

    def read(self, index: int) -> bytes:
        return self.places[index]


def read_bin(path: Path) -> DatasetIndex:
    """Read a pickle of ``(bins, issame)``: two encoded images for each pair, held in memory.

    A pickle can run any program when it is opened; this reader lets only arrays through. Each
    image is an identity. ``protocol``: the pairs in ten equal folds, as InsightFace takes them.
    """
    path = require(path, "give an InsightFace .bin file")
    bins, issame = _load(path)
    images = np.empty(len(bins), object)
    images[:] = [_as_bytes(path, number, image) for number, image in enumerate(bins)]
    if not len(issame) or not all(np.ndim(flag) == 0 and flag in (0, 1) for flag in issame):
        raise UserError(f"{path}: the second part must be a list of true and false")
    if len(images) != 2 * len(issame):
        counts = f"{len(images)} images for {len(issame)} pairs, expected {2 * len(issame)}"
        raise UserError(f"{path}: {counts}; the file is cut short or of another kind")
    rows, unknown = np.arange(len(images), dtype=np.int64), np.full(len(images), "")
    faces = photograph_set(path.stem, Buffers(path, rows, images), rows, subject=unknown)
    folds = rows[: len(issame)] * FOLDS // len(issame)
    pairs = PairList(rows.reshape(-1, 2), np.array(issame, bool), folds)
    return DatasetIndex(faces, dict(images=len(images), pairs=len(issame)), (), pairs)


def _load(path: Path) -> tuple:
    # Files written by Python 2 hold its strings, which are bytes.
    reader = _ArraysOnly(io.BytesIO(path.read_bytes()), encoding="bytes")
    try:
        content = reader.load()
    except _Refused as refused:
        fault = (
            f"this pickle asks for {refused}, which may run a program; only arrays are let through"
        )
        advice = "Do not open it by other means unless you trust where it comes from"
        raise UserError(f"{path}: {fault}. {advice}") from None
    except MemoryError:
        raise UserError(f"{path}: broken: it asks for more memory than there is") from None
    except Exception as error:  # a broken pickle raises nearly anything
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"{path}: not a pickle, or cut short ({reason})") from None
    parts = tuple(content) if isinstance(content, (tuple, list)) else (content,)
    if len(parts) != 2 or not all(isinstance(part, (list, tuple, np.ndarray)) for part in parts):
        kinds = ", ".join(type(part).__name__ for part in parts[:3])
        raise UserError(f"{path}: expected two lists (bins, issame), got {len(parts)}: {kinds}")
    return parts


def _as_bytes(path: Path, number: int, image: object) -> bytes:
    if isinstance(image, (bytes, bytearray)):
        return bytes(image)
    if isinstance(image, np.ndarray) and image.dtype == np.uint8:
        return image.tobytes()
    kind = type(image).__name__
    raise UserError(f"{path}: image {number} must be bytes or an array of uint8, got {kind}")
