"""InsightFace's RecordIO sets (``train.rec``, ``train.idx``, ``property``), without mxnet."""

import mmap
import struct
from pathlib import Path

import numpy as np
import pandas as pd

from ifr.datasets import FaceSet
from ifr.datasets.index import DatasetIndex, Issue
from ifr.datasets.readers.images import LazyImages, UnreadableImage

MAGIC = 0xCED7230A
MAGIC_BYTES = struct.pack("<I", MAGIC)
LENGTH_BITS = 29  # of the second word of a part; the three bits above say which part it is
HEADER = struct.Struct("<IfQQ")  # flag, label, id, id2
AGAIN = "copy or download it again"


class RecordFile:
    """A record file and where its records begin; reads one payload at a time.

    The file is mapped into memory on first use, once in each process, so an object of this
    class can be sent to worker processes.

    Args:
        path: of the ``.rec`` file.
        keys: (N,) keys of the records.
        offsets: (N,) byte at which each begins.
    """

    def __init__(self, path: Path, keys: np.ndarray, offsets: np.ndarray):
        self.path, self.keys, self.offsets = Path(path), keys, offsets
        self._bytes: mmap.mmap | None = None

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_bytes": None}

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def bytes(self) -> mmap.mmap:
        """The whole file, mapped."""
        if self._bytes is None:
            with open(self.path, "rb") as file:
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._bytes

    def name(self, index: int) -> str:
        return f"{self.path}, key {self.keys[index]}"

    def parts(self, index: int) -> list[tuple[int, int]]:
        """Return (first byte, length) of each part of a record's payload.

        Raises:
            ValueError: if the record does not begin with the magic number, or the file ends in it.
        """
        at, found = int(self.offsets[index]), []
        while True:
            if at + 8 > len(self.bytes):
                raise self._cut(index, at)
            magic, word = struct.unpack_from("<II", self.bytes, at)
            if magic != MAGIC:
                raise ValueError(
                    f"{self.name(index)}: no record begins at byte {at} (found {magic:#010x}, "
                    f"expected {MAGIC:#010x}); the .idx is of another file, or {AGAIN}"
                )
            kind, length = word >> LENGTH_BITS, word & ((1 << LENGTH_BITS) - 1)
            if at + 8 + length > len(self.bytes):
                raise self._cut(index, at)
            if kind > 3 or (kind in (0, 1)) != (not found):
                raise ValueError(
                    f"{self.name(index)}: part {len(found) + 1} is marked {kind}; {AGAIN}"
                )
            found.append((at + 8, length))
            if kind in (0, 3):  # whole, or the last part
                return found
            at += 8 + length + (-length) % 4

    def payload(self, index: int) -> bytes:
        """Return a record's payload; parts are joined by the magic number that split them."""
        return MAGIC_BYTES.join(self.bytes[at : at + size] for at, size in self.parts(index))

    def labels(self, index: int) -> np.ndarray:
        """Return the labels of a record, (1,) or (flag,), without reading its image."""
        at, size = self.parts(index)[0]
        if size < HEADER.size:
            raise self._cut(index, at)
        flag, label, _, _ = HEADER.unpack_from(self.bytes, at)
        if flag == 0:
            return np.array([label])
        if size < HEADER.size + 4 * flag:
            # Labels that themselves hold the magic number are split; join before reading them.
            whole = self.payload(index)
            if len(whole) < HEADER.size + 4 * flag:
                raise self._cut(index, at)
            return np.frombuffer(whole, "<f4", flag, HEADER.size).astype(np.float64)
        return np.frombuffer(self.bytes[at + HEADER.size : at + HEADER.size + 4 * flag], "<f4")

    def size(self, index: int) -> int:
        return sum(size for _, size in self.parts(index))

    def read(self, index: int) -> bytes:
        """Return the encoded image of a record."""
        try:
            payload = self.payload(index)
            return payload[HEADER.size + 4 * HEADER.unpack_from(payload)[0] :]
        except (ValueError, struct.error, OSError) as error:
            raise UnreadableImage(f"{self.name(index)}: {error}") from None

    def _cut(self, index: int, at: int) -> ValueError:
        return ValueError(
            f"{self.name(index)}: the file ends inside the record at byte {at} (it has "
            f"{len(self.bytes)} bytes): {AGAIN}"
        )


def read_recordio(root: Path) -> DatasetIndex:
    """Read an InsightFace record set; images stay in the file until they are read.

    Both forms of labels are read: one number in the header, or an array whose first is the
    identity. Record 0 with two labels says how many images there are and which records describe
    identities; without it every record is an image.

    Args:
        root: folder with one ``.rec`` and its ``.idx``, and ``property`` if it is there; or the
            ``.rec`` itself.

    Returns:
        Attributes ``file`` (the key as text) and ``subject`` (the label). ``counts``: images,
        identities. Where ``property`` says otherwise is a problem.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if the index or the records are broken, naming the key and the byte.
    """
    path = _record_path(Path(root))
    keys, offsets = _read_index(path.with_suffix(".idx"), path.stat().st_size)
    records = RecordFile(path, keys, offsets)
    keys, offsets = _images_of(records)
    images = RecordFile(path, keys, offsets)
    labels = np.empty(len(images), np.int64)
    for index in range(len(images)):
        label = images.labels(index)[0]
        if not np.isfinite(label) or label != int(label) or label < 0:
            raise ValueError(f"{images.name(index)}: label {label} is no identity number")
        labels[index] = int(label)
    people, identity = np.unique(labels, return_inverse=True)
    attributes = {"file": keys.astype(str), "subject": labels.astype(str)}
    faces = FaceSet(
        path.parent.resolve().name, LazyImages(images), identity.astype(np.int64), None, attributes
    )
    counts = dict(images=len(images), identities=len(people))
    return DatasetIndex(faces, counts, tuple(_against_property(path, counts)))


def _record_path(root: Path) -> Path:
    if root.suffix == ".rec":
        path = root
    elif root.is_dir():
        found = sorted(root.glob("*.rec"))
        if len(found) != 1:
            raise FileNotFoundError(
                f"{root} holds {len(found)} .rec files, expected one; give the .rec itself"
            )
        path = found[0]
    else:
        raise FileNotFoundError(f"{root} is not there; give a folder with train.rec and train.idx")
    for file in (path, path.with_suffix(".idx")):
        if not file.is_file():
            raise FileNotFoundError(f"{file} is missing: a set needs its .rec and its .idx")
        if not file.stat().st_size:
            raise ValueError(f"{file} is empty: {AGAIN}")
    return path


def _read_index(path: Path, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return keys and offsets in the order of the keys."""
    try:
        table = pd.read_csv(path, sep="\t", header=None, names=["key", "offset"], dtype=np.int64)
    except (ValueError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected lines 'key<TAB>offset' ({error}); {AGAIN}") from None
    table = table.sort_values("key", kind="stable")
    keys, offsets = table["key"].to_numpy(), table["offset"].to_numpy()
    twice = keys[1:][keys[1:] == keys[:-1]]
    if len(twice):
        raise ValueError(f"{path}: key {twice[0]} comes twice; {AGAIN}")
    outside = (offsets < 0) | (offsets >= size)
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        raise ValueError(
            f"{path}: {int(outside.sum())} records lie past the end of the .rec, first key "
            f"{keys[row]} at byte {offsets[row]} of {size}: one of the two files is cut short or "
            f"of another set; {AGAIN}"
        )
    return keys, offsets


def _images_of(records: RecordFile) -> tuple[np.ndarray, np.ndarray]:
    """Return keys and offsets of the images: those before the identities' records begin."""
    if len(records) and records.keys[0] == 0:
        header = records.labels(0)
        if len(header) == 2 and not records.read(0):
            images = (records.keys > 0) & (records.keys < int(header[0]))
            if int(images.sum()) != int(header[0]) - 1:
                raise ValueError(
                    f"{records.name(0)} announces {int(header[0]) - 1} images, the .idx lists "
                    f"{int(images.sum())}; {AGAIN}"
                )
            return records.keys[images], records.offsets[images]
    return records.keys, records.offsets


def _against_property(path: Path, counts: dict[str, int]) -> list[Issue]:
    file = path.parent / "property"
    if not file.is_file():
        return [Issue("missing file", "property", "the number of identities is not checked")]
    fields = file.read_text(encoding="utf-8", errors="replace").strip().split(",")
    if len(fields) != 3 or not all(field.strip().isdigit() for field in fields):
        raise ValueError(f"{file}: expected 'identities,height,width', got {','.join(fields)!r}")
    said = int(fields[0])
    if said == counts["identities"]:
        return []
    impact = f"it says {said} identities, {counts['identities']} are there"
    return [Issue("property differs", "property", impact)]
