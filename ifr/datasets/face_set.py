"""One form for every set of faces: memory-mapped arrays in a folder, with a fingerprint."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ifr.common.errors import UserError
from ifr.common.files import write_text

FORMAT = 1
REQUIRED = ("images", "identity")


@dataclass(frozen=True, eq=False)
class FaceSet:
    """Aligned faces with what is known of each; slicing gives a smaller set of the same form.

    Attributes:
        name: of the set.
        images: (N, 112, 112, 3) uint8 RGB, usually memory-mapped.
        identity: (N,) int64, 0 to the number of identities less one.
        landmarks: (N, 68, 2) float32 pixels of the 112-pixel frame, or None.
        attributes: further arrays of length N by name: ``visible`` (N, 68), ``yaw``, ``pitch``,
            ``roll`` in degrees, ``occluder`` and ``condition`` as text, ``shot``, ``parts``.
        fingerprint: hash of all that decides the content.
    """

    name: str
    images: np.ndarray
    identity: np.ndarray
    landmarks: np.ndarray | None
    attributes: dict[str, np.ndarray] = field(default_factory=dict)
    fingerprint: str = ""

    def __post_init__(self) -> None:
        count = len(self.images)
        arrays = {"identity": self.identity, "landmarks": self.landmarks} | self.attributes
        for name, array in arrays.items():
            if array is not None and len(array) != count:
                raise ValueError(
                    f"set {self.name!r}: {name} has {len(array)} rows, there are {count} images"
                )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, which: slice | np.ndarray | Sequence[int]) -> "FaceSet":
        """Return the faces of a slice, a boolean mask or an array of indices."""
        if not isinstance(which, slice):
            which = np.asarray(which)
            if which.ndim != 1:
                raise TypeError("a FaceSet takes a slice, a mask (N,) or indices (M,)")
        return FaceSet(
            self.name,
            self.images[which],
            self.identity[which],
            None if self.landmarks is None else self.landmarks[which],
            {name: array[which] for name, array in self.attributes.items()},
            f"{self.fingerprint}:{_describe(which, len(self))}",
        )


def _describe(which: slice | np.ndarray, count: int) -> str:
    rows = np.arange(count)[which]
    return hashlib.sha256(np.ascontiguousarray(rows, dtype=np.int64).tobytes()).hexdigest()[:16]


def save_set(faces: FaceSet, folder: Path) -> None:
    """Write a set under a temporary name and rename it into place; none is ever overwritten."""
    folder = Path(folder)
    if folder.exists():
        raise UserError(f"{folder} exists: delete it or choose another folder")
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    arrays = {"images": faces.images, "identity": faces.identity} | faces.attributes
    if faces.landmarks is not None:
        arrays["landmarks"] = faces.landmarks
    for name, array in arrays.items():
        np.save(partial / f"{name}.npy", np.asarray(array))
    write_record(partial, faces.name, faces.fingerprint)
    partial.rename(folder)


def write_record(folder: Path, name: str, fingerprint: str) -> None:
    """Write ``set.json``: what the folder must hold, so that a truncated set is noticed."""
    files = sorted(folder.glob("*.npy"))
    record = dict(
        format=FORMAT,
        name=name,
        fingerprint=fingerprint,
        shapes={path.stem: list(np.load(path, mmap_mode="r").shape) for path in files},
        bytes={path.name: path.stat().st_size for path in files},
    )
    write_text(folder / "set.json", json.dumps(record, indent=1) + "\n")


def load_set(folder: Path) -> FaceSet:
    """Open a set; images stay on disk until they are read."""
    folder = Path(folder)
    record = _read_record(folder)
    arrays = {}
    for file, size in record["bytes"].items():
        path = folder / file
        there = path.stat().st_size if path.exists() else 0
        if there != size:
            raise UserError(
                f"{path} has {there} bytes, expected {size}: it was deleted, cut short or changed; "
                f"delete {folder} and make it again"
            )
        # Images and part maps are large: they are paged in from disk as they are read.
        arrays[path.stem] = np.load(path, mmap_mode="r" if size > 1 << 22 else None)
    images, identity = (arrays.pop(name) for name in REQUIRED)
    landmarks = arrays.pop("landmarks", None)
    return FaceSet(record["name"], images, identity, landmarks, arrays, record["fingerprint"])


def _read_record(folder: Path) -> dict[str, Any]:
    """Read ``set.json``, or say what is wrong with it."""
    path, remedy = folder / "set.json", f"delete {folder} and make it again"
    if not path.exists():
        raise UserError(
            f"no data set at {folder}: ifr faces renders procedural faces, ifr data prepare aligns "
            "photographs"
        )
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        version = record["format"]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is not the record of a data set; {remedy}") from None
    if version != FORMAT:
        raise UserError(f"{folder}: format {version}, this version reads {FORMAT}; {remedy}")
    missing = {"name", "fingerprint", "bytes"} - record.keys()
    if missing:
        raise UserError(f"{path} lacks {', '.join(sorted(missing))}; {remedy}")
    return record
