"""InsightFace's RecordIO sets, without mxnet, and its verification sets (``lfw.bin``), safely."""

import io
import mmap
import pickle
import re
import struct
from functools import cached_property
from pathlib import Path

import numpy as np

from ifr.common.errors import UserError
from ifr.datasets.index import DatasetIndex, Issue, PairList
from ifr.datasets.readers.images import ImageSource, UnreadableImage, photograph_set, require
from ifr.datasets.readers.tables import read_numbers

MAGIC_BYTES = struct.pack("<I", 0xCED7230A)
LENGTH_BITS = 29  # of the second word of a part; the three bits above say which part it is
HEADER = struct.Struct("<IfQQ")  # flag, label, id, id2
AGAIN = "copy or download it again"
EXACT = 1 << 24  # labels are float32, which has not every whole number from here on


class RecordFile(ImageSource):
    """The records of a ``.rec`` file by their keys, with their first bytes as ``places``."""

    called = "key"
    places: np.ndarray

    def __getstate__(self) -> dict:
        return {name: value for name, value in self.__dict__.items() if name != "content"}

    @cached_property
    def content(self) -> mmap.mmap:
        """The whole file, mapped on first use, once in each process."""
        with open(self.path, "rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def parts(self, index: int) -> list[tuple[int, int]]:
        """Return (first byte, length) of each part of a record's payload."""
        at, parts = int(self.places[index]), list[tuple[int, int]]()
        while True:
            words = self.content[at : at + 8]
            if len(words) == 8 and words[:4] != MAGIC_BYTES:
                fault = f"no record begins at byte {at}; the .idx is of another file, or {AGAIN}"
                raise UserError(f"{self.name(index)}: {fault}")
            word = int.from_bytes(words[4:], "little")
            kind, length = word >> LENGTH_BITS, word & ((1 << LENGTH_BITS) - 1)
            if len(words) < 8 or at + 8 + length > len(self.content):
                raise self._cut(index, at)
            if kind > 3 or (kind in (0, 1)) != (not parts):
                fault = f"part {len(parts) + 1} is marked {kind}"
                raise UserError(f"{self.name(index)}: {fault}; {AGAIN}")
            parts.append((at + 8, length))
            if kind in (0, 3):  # whole, or the last part
                return parts
            at += 8 + length + (-length) % 4

    def payload(self, index: int) -> bytes:
        """Return a record's payload; parts are joined by the magic number that split them."""
        return MAGIC_BYTES.join(self.content[at : at + size] for at, size in self.parts(index))

    def labels(self, index: int) -> tuple[np.ndarray, bool]:
        """Return the labels of a record, (1,) or (flag,), and whether an image follows them."""
        (at, first), size = self.parts(index)[0], self.size(index)
        if first < HEADER.size:
            raise self._cut(index, at)
        flag, label = HEADER.unpack_from(self.content, at)[:2]
        if size < (end := HEADER.size + 4 * flag):
            raise self._cut(index, at)
        # Labels that themselves hold the magic number are split; join before reading them.
        head = self.content[at : at + end] if first >= end else self.payload(index)
        labels = np.frombuffer(head, "<f4", flag, HEADER.size) if flag else np.array([label])
        return labels, size > end

    def size(self, index: int) -> int:
        parts = self.parts(index)
        return sum(size for _, size in parts) + 4 * (len(parts) - 1)

    def read(self, index: int) -> bytes:
        try:
            payload = self.payload(index)
            return payload[HEADER.size + 4 * HEADER.unpack_from(payload)[0] :]
        except (ValueError, struct.error, OSError) as error:
            raise UnreadableImage(f"{self.name(index)}: {error}") from None

    def _cut(self, index: int, at: int) -> UserError:
        where = f"byte {at} (it has {len(self.content)} bytes)"
        return UserError(f"{self.name(index)}: the file ends inside the record at {where}: {AGAIN}")


def read_recordio(root: Path) -> DatasetIndex:
    """Read a folder with one ``.rec`` and its ``.idx``, or the ``.rec`` itself.

    A label is a number, or an array whose first is the identity. Two labels without an image are an
    identity's record, or in record 0 the header. ``file`` is the key, ``subject`` the label.
    """
    path = _record_path(Path(root))
    records = RecordFile(path, *_read_index(path.with_suffix(".idx"), path.stat().st_size))
    last, rows, labels, issues = 0, list[int](), list[int](), list[Issue]()
    for row, key in enumerate(records.keys.tolist()):
        label, has_image = records.labels(row)
        if len(label) == 2 and not has_image:  # the header, or an identity
            continue
        last = key
        if not has_image:
            issues.append(Issue("record without an image", f"key {key}", "an image less"))
            continue
        if not np.isfinite(label[0]) or label[0] != int(label[0]) or label[0] < 0:
            raise UserError(f"{records.name(row)}: label {label[0]} is no identity number")
        rows.append(row)
        labels.append(int(label[0]))
    header, has_image = records.labels(0)
    if records.keys[0] == 0 and len(header) == 2 and not has_image:
        # It names the key behind the last image, in float32.
        if abs(float(header[0]) - 1 - last) > np.spacing(header[0]) / 2:
            fault = f"announces images to key {header[0] - 1:.0f}, the last is {last}"
            raise UserError(f"{records.name(0)} {fault}; {AGAIN}")
        if lost := last - len(rows) - len(issues):
            issues.append(Issue("missing records", path.with_suffix(".idx").name, f"{lost} less"))
    if inexact := sum(label >= EXACT for label in labels):
        impact = "in float32 neighbours are one number: people may be joined"
        issues.append(Issue("labels from 2^24 on", f"{inexact} records", impact))
    images, name = records[np.array(rows, np.int64)], path.parent.resolve().name
    counts = dict(images=len(rows), identities=len(set(labels)))
    issues += _compare_property(path.with_name("property"), counts["identities"])
    faces = photograph_set(name, images, np.array(labels, np.int64))
    return DatasetIndex(faces, counts, tuple(issues))


def _record_path(root: Path) -> Path:
    files = [root]
    if root.suffix != ".rec":
        files = list(require(root, "give one with train.rec and train.idx", "folder").glob("*.rec"))
    if len(files) != 1:
        raise UserError(f"{root} holds {len(files)} .rec files, expected one; give the .rec itself")
    for file in (files[0], files[0].with_suffix(".idx")):
        if not file.is_file():
            raise UserError(f"{file} is missing: a set needs its .rec and its .idx")
        if not file.stat().st_size:
            raise UserError(f"{file} is empty: {AGAIN}")
    return files[0]


def _read_index(path: Path, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return keys and offsets in the order of the keys."""
    table = read_numbers(path, dict(key=np.int64, offset=np.int64), separator="\t")
    table = table.sort_values("key", kind="stable")
    if len(twice := table["key"][table["key"].duplicated()]):
        raise UserError(f"{path}: key {twice.iloc[0]} comes twice; {AGAIN}")
    if len(outside := table[(table["offset"] < 0) | (table["offset"] >= size)]):
        first = "first key {key} at byte {offset}".format_map(outside.iloc[0])
        fault = f"{len(outside)} records lie past the end of the .rec, {first} of {size}"
        raise UserError(f"{path}: {fault}; {AGAIN}")
    return table["key"].to_numpy(), table["offset"].to_numpy()


def _compare_property(file: Path, identities: int) -> list[Issue]:
    if not file.is_file():
        return [Issue("missing file", "property", "the number of identities is not checked")]
    text = file.read_text(encoding="utf-8", errors="replace").strip()
    match = re.fullmatch(r"(\d+)\s*,\s*\d+\s*,\s*\d+", text)
    if not match:
        raise UserError(f"{file}: expected 'identities,height,width', got {text!r}")
    impact = f"it says {match[1]} identities, {identities} are there"
    differs = int(match[1]) != identities
    return [Issue("property differs", "property", impact)] if differs else []


# ---- .bin

FOLDS = 10
# All that a pickle of arrays, bytes and lists of numbers needs, of NumPy 1 and 2.
PARTS = ("multiarray._reconstruct", "multiarray.scalar", "numeric._frombuffer")
ADMITTED = {"_codecs.encode", "numpy.dtype", "numpy.ndarray"}
ADMITTED |= {f"numpy.{core}.{part}" for core in ("core", "_core") for part in PARTS}


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that builds arrays and plain values and refuses to import anything else."""

    def find_class(self, module: str, name: str) -> object:
        if f"{module}.{name}" not in ADMITTED:
            fault = f"this pickle asks for {module}.{name}, which may run a program"
            raise UserError(f"{fault}; only arrays are read")
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

    Each image is an identity; ``protocol``: the pairs in ten equal folds, as InsightFace's.
    """
    path = require(path, "give an InsightFace .bin file")
    # Files written by Python 2 hold its strings, which are bytes.
    reader = _ArraysOnly(io.BytesIO(path.read_bytes()), encoding="bytes")
    try:
        content = reader.load()
    except UserError as refused:
        raise UserError(f"{path}: {refused}") from None
    except Exception as error:  # a broken pickle raises nearly anything
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"{path}: not a pickle, or cut short ({reason})") from None
    parts = tuple(content) if isinstance(content, (tuple, list)) else (content,)
    if len(parts) != 2 or not all(isinstance(part, (list, tuple, np.ndarray)) for part in parts):
        kinds = ", ".join(type(part).__name__ for part in parts[:3])
        raise UserError(f"{path}: expected two lists (bins, issame), got {len(parts)}: {kinds}")
    bins, issame = parts
    images = np.empty(len(bins), object)
    for number, image in enumerate(bins):
        if not isinstance(image, (bytes, bytearray)) and getattr(image, "dtype", "") != np.uint8:
            wanted = f"image {number} must be bytes or an array of uint8"
            raise UserError(f"{path}: {wanted}, got {type(image).__name__}")
        images[number] = bytes(image)
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
