"""InsightFace's RecordIO sets (``train.rec``, ``train.idx``, ``property``), without mxnet."""

import mmap
import struct
from pathlib import Path

import numpy as np
import pandas as pd

from ifr.common.errors import UserError
from ifr.datasets.index import DatasetIndex, Issue
from ifr.datasets.readers.images import UnreadableImage, photograph_set

MAGIC = 0xCED7230A
MAGIC_BYTES = struct.pack("<I", MAGIC)
LENGTH_BITS = 29  # of the second word of a part; the three bits above say which part it is
HEADER = struct.Struct("<IfQQ")  # flag, label, id, id2
AGAIN = "copy or download it again"


class RecordFile:
    """The records of a ``.rec`` file, read one at a time, by their keys and first bytes.

    The file is mapped into memory on first use, once in each process, so an object of this
    class can be sent to worker processes.
    """

    def __init__(self, path: Path, keys: np.ndarray, offsets: np.ndarray) -> None:
        self.path, self.keys, self.offsets = Path(path), keys, offsets
        self._content: mmap.mmap | None = None

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_content": None}

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, rows: np.ndarray) -> "RecordFile":
        return RecordFile(self.path, self.keys[rows], self.offsets[rows])

    @property
    def content(self) -> mmap.mmap:
        """The whole file, mapped."""
        if self._content is None:
            with open(self.path, "rb") as file:
                self._content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._content

    def name(self, index: int) -> str:
        return f"{self.path}, key {self.keys[index]}"

    def parts(self, index: int) -> list[tuple[int, int]]:
        """Return (first byte, length) of each part of a record's payload."""
        at, parts = int(self.offsets[index]), list[tuple[int, int]]()
        while True:
            if at + 8 > len(self.content):
                raise self._cut(index, at)
            magic, word = struct.unpack_from("<II", self.content, at)
            if magic != MAGIC:
                raise UserError(
                    f"{self.name(index)}: no record begins at byte {at} (found {magic:#010x}, "
                    f"expected {MAGIC:#010x}); the .idx is of another file, or {AGAIN}"
                )
            kind, length = word >> LENGTH_BITS, word & ((1 << LENGTH_BITS) - 1)
            if at + 8 + length > len(self.content):
                raise self._cut(index, at)
            if kind > 3 or (kind in (0, 1)) != (not parts):
                raise UserError(
                    f"{self.name(index)}: part {len(parts) + 1} is marked {kind}; {AGAIN}"
                )
            parts.append((at + 8, length))
            if kind in (0, 3):  # whole, or the last part
                return parts
            at += 8 + length + (-length) % 4

    def payload(self, index: int) -> bytes:
        """Return a record's payload; parts are joined by the magic number that split them."""
        return MAGIC_BYTES.join(self.content[at : at + size] for at, size in self.parts(index))

    def labels(self, index: int) -> np.ndarray:
        """Return the labels of a record, (1,) or (flag,), without reading its image."""
        at, size = self.parts(index)[0]
        if size < HEADER.size:
            raise self._cut(index, at)
        flag, label, _, _ = HEADER.unpack_from(self.content, at)
        if flag == 0:
            return np.array([label])
        if size < HEADER.size + 4 * flag:
            # Labels that themselves hold the magic number are split; join before reading them.
            whole = self.payload(index)
            if len(whole) < HEADER.size + 4 * flag:
                raise self._cut(index, at)
            return np.frombuffer(whole, "<f4", flag, HEADER.size).astype(np.float64)
        return np.frombuffer(self.content[at + HEADER.size : at + HEADER.size + 4 * flag], "<f4")

    def size(self, index: int) -> int:
        return sum(size for _, size in self.parts(index))

    def read(self, index: int) -> bytes:
        """Return the encoded image of a record."""
        try:
            payload = self.payload(index)
            return payload[HEADER.size + 4 * HEADER.unpack_from(payload)[0] :]
        except (ValueError, struct.error, OSError) as error:
            raise UnreadableImage(f"{self.name(index)}: {error}") from None

    def _cut(self, index: int, at: int) -> UserError:
        return UserError(
            f"{self.name(index)}: the file ends inside the record at byte {at} (it has "
            f"{len(self.content)} bytes): {AGAIN}"
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
        identities. Where ``property`` says otherwise is an issue.
    """
    path = _record_path(Path(root))
    records = RecordFile(path, *_read_index(path.with_suffix(".idx"), path.stat().st_size))
    images = records.take(_image_rows(records))
    labels = np.empty(len(images), np.int64)
    for index in range(len(images)):
        label = images.labels(index)[0]
        if not np.isfinite(label) or label != int(label) or label < 0:
            raise UserError(f"{images.name(index)}: label {label} is no identity number")
        labels[index] = int(label)
    faces = photograph_set(path.parent.resolve().name, images, images.keys.astype(str), labels)
    counts = dict(images=len(images), identities=len(np.unique(labels)))
    return DatasetIndex(faces, counts, tuple(_compare_property(path, counts)))


def _record_path(root: Path) -> Path:
    if root.suffix == ".rec":
        path = root
    elif root.is_dir():
        files = sorted(root.glob("*.rec"))
        if len(files) != 1:
            raise UserError(
                f"{root} holds {len(files)} .rec files, expected one; give the .rec itself"
            )
        path = files[0]
    else:
        raise UserError(f"{root} is not there; give a folder with train.rec and train.idx")
    for file in (path, path.with_suffix(".idx")):
        if not file.is_file():
            raise UserError(f"{file} is missing: a set needs its .rec and its .idx")
        if not file.stat().st_size:
            raise UserError(f"{file} is empty: {AGAIN}")
    return path


def _read_index(path: Path, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return keys and offsets in the order of the keys."""
    try:
        table = pd.read_csv(path, sep="\t", header=None, names=["key", "offset"], dtype=np.int64)
    except (ValueError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: expected lines 'key<TAB>offset' ({error}); {AGAIN}") from None
    table = table.sort_values("key", kind="stable")
    keys, offsets = table["key"].to_numpy(), table["offset"].to_numpy()
    twice = keys[1:][keys[1:] == keys[:-1]]
    if len(twice):
        raise UserError(f"{path}: key {twice[0]} comes twice; {AGAIN}")
    outside = (offsets < 0) | (offsets >= size)
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        raise UserError(
            f"{path}: {int(outside.sum())} records lie past the end of the .rec, first key "
            f"{keys[row]} at byte {offsets[row]} of {size}: one of the two files is cut short or "
            f"of another set; {AGAIN}"
        )
    return keys, offsets


def _image_rows(records: RecordFile) -> np.ndarray:
    """Return the rows of the images: those before the identities' records begin."""
    if not len(records) or records.keys[0] != 0:
        return np.arange(len(records))
    header = records.labels(0)
    if len(header) != 2 or records.read(0):
        return np.arange(len(records))
    images = np.flatnonzero((records.keys > 0) & (records.keys < int(header[0])))
    if len(images) != int(header[0]) - 1:
        raise UserError(
            f"{records.name(0)} announces {int(header[0]) - 1} images, the .idx lists "
            f"{len(images)}; {AGAIN}"
        )
    return images


def _compare_property(path: Path, counts: dict[str, int]) -> list[Issue]:
    file = path.parent / "property"
    if not file.is_file():
        return [Issue("missing file", "property", "the number of identities is not checked")]
    fields = file.read_text(encoding="utf-8", errors="replace").strip().split(",")
    if len(fields) != 3 or not all(field.strip().isdigit() for field in fields):
        raise UserError(f"{file}: expected 'identities,height,width', got {','.join(fields)!r}")
    said = int(fields[0])
    if said == counts["identities"]:
        return []
    impact = f"it says {said} identities, {counts['identities']} are there"
    return [Issue("property differs", "property", impact)]
