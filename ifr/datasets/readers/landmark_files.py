"""Landmarks that come with photographs: ``.npz``, ``.csv`` or iBUG's ``.pts`` files."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ifr.common.errors import UserError
from ifr.datasets.face_set import FaceSet
from ifr.datasets.readers.ijb import read_table
from ifr.datasets.readers.images import SUFFIXES, require
from ifr.landmarks import NUM_LANDMARKS

COLUMNS = [f"{axis}{point}" for point in range(NUM_LANDMARKS) for axis in "xy"]


@dataclass(frozen=True, eq=False)
class GivenLandmarks:
    """Landmarks matched to the images of a set."""

    points: np.ndarray  # (N, 68, 2) float32 pixels of the image on disk; NaN where none are given
    unmatched: tuple[str, ...]  # names in the file that no image has
    source: str  # the file or folder, for messages


def read_landmarks(path: Path, faces: FaceSet) -> GivenLandmarks:
    """Read 68 landmarks for the images of a set.

    From ``.npz`` with ``names`` (M,) and ``landmarks`` (M, 68, 2); ``.csv`` with ``file, x0, y0,
    ..., x67, y67``; or ``.pts`` files laid out as the images. The first two are continuous pixels,
    0.5 the centre of the first; ``.pts`` count that as 1, as iBUG's do, and are moved by -0.5.
    Names are matched to the attribute ``file``, then without suffix where that is one image.
    """
    path = Path(path)
    files = np.asarray(faces.attributes["file"]).astype(str)
    if path.is_dir():
        return _from_pts(path, files)
    require(path, "give an .npz, a .csv, or a folder of .pts")
    if path.suffix == ".csv":
        table = read_table(path, texts=("file",), numbers=COLUMNS)
        names, points = table["file"].to_numpy(str), table[COLUMNS].to_numpy()
        points = points.reshape(-1, NUM_LANDMARKS, 2)
    elif path.suffix == ".npz":
        names, points = _read_npz(path)
    else:
        raise UserError(f"{path}: expected .npz, .csv, or a folder of .pts files")
    broken = names[~np.isfinite(points).all(axis=(1, 2))]
    if len(broken):
        fault = f"landmarks of {len(broken)} images are not finite numbers, first {broken[0]}"
        raise UserError(f"{path}: the {fault}; leave out images without landmarks")
    return _match(path, names, points, files)


def _match(path: Path, names: np.ndarray, points: np.ndarray, files: np.ndarray) -> GivenLandmarks:
    known = pd.Index(names)
    if known.has_duplicates:
        repeated = known[known.duplicated()]
        raise UserError(f"{path}: {len(repeated)} names come twice, first {repeated[0]}")
    rows = known.get_indexer(files)
    # What is left is matched without suffixes, where only one name has that path.
    left = np.setdiff1d(np.arange(len(names)), rows)
    stems = pd.Series(left, [_stem(name) for name in names[left].tolist()], dtype=np.int64)
    stems = stems[~stems.index.duplicated(keep=False)]
    by_stem = stems.reindex([_stem(name) for name in files.tolist()], fill_value=-1).to_numpy()
    rows = np.where(rows < 0, by_stem, rows)
    if len(files) and (rows < 0).all():
        fault = (
            f"none of its {len(names)} names, such as {names[:1].tolist()}, is an image of the set"
        )
        raise UserError(f"{path}: {fault}, such as {files[0]}; names are paths below the root")
    matched = np.full((len(files), NUM_LANDMARKS, 2), np.nan, np.float32)
    matched[rows >= 0] = points[rows[rows >= 0]]
    unused = np.setdiff1d(np.arange(len(names)), rows)
    return GivenLandmarks(matched, tuple(names[unused].tolist()), str(path))


def _stem(name: str) -> str:
    """Return a name without the suffix of an image; other dots belong to the name."""
    return name[: -len(suffix)] if (suffix := Path(name).suffix).lower() in SUFFIXES else name


def _read_npz(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        with zipfile.ZipFile(path), np.load(path) as stored:
            found, expected = list(stored), "names (M,) and landmarks (M, 68, 2)"
            absent = [name for name in ("names", "landmarks") if name not in found]
            names, points = (None if absent else stored[name] for name in ("names", "landmarks"))
    except ValueError:
        raise UserError(
            f"{path}: names or landmarks are Python objects, which are not read: they could run "
            "code; save text as np.array(names, dtype=str) and landmarks as float32"
        ) from None
    except (OSError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: cannot be read as .npz, as np.savez writes ({error})") from None
    if names is None or points is None:
        came = ", ".join(found) or "nothing"
        raise UserError(f"{path} lacks {' and '.join(absent)}: expected {expected}, found {came}")
    if names.ndim != 1 or points.shape != (len(names), NUM_LANDMARKS, 2):
        raise UserError(f"{path}: expected {expected}, got {names.shape} and {points.shape}")
    if points.dtype.kind not in "fiu":
        raise UserError(f"{path}: landmarks must be numbers, got {points.dtype}")
    return names.astype(str), points.astype(np.float32)


def _from_pts(root: Path, files: np.ndarray) -> GivenLandmarks:
    given = {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*.pts"))}
    wanted = [f"{_stem(name)}.pts" for name in files.tolist()]
    used = {name: read_pts(given[name]) for name in dict.fromkeys(wanted) if name in given}
    if not used:
        raise UserError(f"{root} holds no .pts file with the name of an image of the set")
    none = np.full((NUM_LANDMARKS, 2), np.nan, np.float32)
    points = np.stack([used.get(name, none) for name in wanted])
    return GivenLandmarks(points, tuple(name for name in given if name not in used), str(root))


def read_pts(path: Path) -> np.ndarray:
    """Return the 68 points of one iBUG file, (68, 2) float32, moved to continuous pixels."""
    text = path.read_text(encoding="utf-8", errors="replace")
    start, end = text.find("{"), text.find("}")
    if start < 0 or end < start:
        raise UserError(f"{path}: expected 68 lines 'x y' between {{ and }}")
    try:
        values = np.array(text[start + 1 : end].split(), np.float32)
    except ValueError as error:
        raise UserError(f"{path}: a landmark is no number ({error})") from None
    if values.size != 2 * NUM_LANDMARKS or not np.isfinite(values).all():
        raise UserError(f"{path}: expected 68 points 'x y', got {values.size / 2:g}")
    return values.reshape(NUM_LANDMARKS, 2) - 0.5
