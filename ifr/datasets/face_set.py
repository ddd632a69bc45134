"""One form for every set of faces: memory-mapped arrays in a folder, with a fingerprint."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ifr.common.errors import UserError
from ifr.common.files import file_hash, write_text

FORMAT = 1
SMALL = 1 << 22  # bytes: a smaller array is read, and its hash checked, when a set is opened


@dataclass(frozen=True, eq=False)
class FaceSet:
    """Aligned faces with what is known of each; slicing gives a smaller set of the same form."""

    name: str
    images: Any  # (N, 112, 112, 3) uint8 RGB: memory-mapped, or an ImageSource
    identity: np.ndarray  # (N,) int64, 0 to the number of identities less one
    landmarks: np.ndarray | None  # (N, 68, 2) float32 pixels of the 112-pixel frame
    attributes: dict[str, np.ndarray] = field(default_factory=dict)  # (N, ...) by name, as yaw
    fingerprint: str = ""  # hash of all that decides the content

    def __post_init__(self) -> None:
        arrays = {"identity": self.identity, "landmarks": self.landmarks} | self.attributes
        for name, array in arrays.items():
            if array is not None and len(array) != len(self):
                counts = f"{len(array)} rows, there are {len(self)} images"
                raise ValueError(f"set {self.name!r}: {name} has {counts}")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, which: slice | np.ndarray | Sequence[int]) -> "FaceSet":
        """Return the faces of a slice, a boolean mask or an array of indices."""
        if not isinstance(which, slice) and np.ndim(which := np.asarray(which)) != 1:
            raise TypeError("a FaceSet takes a slice, a mask (N,) or indices (M,)")
        rows = np.arange(len(self), dtype=np.int64)[which]
        key = f"{self.fingerprint}:{hashlib.sha256(rows.tobytes()).hexdigest()[:16]}"
        landmarks = None if self.landmarks is None else self.landmarks[which]
        attributes = {name: array[which] for name, array in self.attributes.items()}
        images, identity = self.images[which], self.identity[which]
        return FaceSet(self.name, images, identity, landmarks, attributes, key)


def write_record(folder: Path, name: str, fingerprint: str) -> None:
    """Write ``set.json``: what the folder must hold, so that a set cut or changed is noticed."""
    files = sorted(folder.glob("*.npy"))
    shapes = {path.stem: list(np.load(path, mmap_mode="r").shape) for path in files}
    sizes = {path.name: path.stat().st_size for path in files}
    record = dict(format=FORMAT, name=name, fingerprint=fingerprint, shapes=shapes, bytes=sizes)
    record["sha256"] = {path.name: file_hash(path) for path in files if sizes[path.name] <= SMALL}
    write_text(folder / "set.json", json.dumps(record, indent=1) + "\n")


def load_set(folder: Path) -> FaceSet:
    """Open a set; images stay on disk until they are read."""
    folder, arrays, record = Path(folder), dict[str, np.ndarray](), None
    path, remedy = folder / "set.json", f"delete {folder} and make it again"
    if not path.exists():
        makers = "ifr faces renders procedural faces, ifr data prepare aligns photographs"
        raise UserError(f"no data set at {folder}: {makers}")
    with suppress(ValueError):
        record = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(record, dict) or "format" not in record:
        raise UserError(f"{path} is not the record of a data set; {remedy}")
    if (version := record["format"]) != FORMAT:
        raise UserError(f"{folder}: format {version}, this version reads {FORMAT}; {remedy}")
    if missing := {"name", "fingerprint", "bytes"} - record.keys():
        raise UserError(f"{path} lacks {', '.join(sorted(missing))}; {remedy}")
    for file, size in record["bytes"].items():
        path = folder / file
        there = path.stat().st_size if path.exists() else 0
        if there != size:
            raise UserError(f"{path} has {there} bytes, expected {size}; {remedy}")
        if size <= SMALL and file_hash(path) != record.get("sha256", {}).get(file, file_hash(path)):
            raise UserError(f"{path} was changed since the set was made; {remedy}")
        # Images and part maps are large: they are paged in from disk as they are read.
        arrays[path.stem] = np.load(path, mmap_mode="r" if size > SMALL else None)
    images, identity = arrays.pop("images"), arrays.pop("identity")
    landmarks = arrays.pop("landmarks", None)
    return FaceSet(record["name"], images, identity, landmarks, arrays, record["fingerprint"])
