"""Landmarks that come with photographs: ``.npz``, ``.csv`` or iBUG's ``.pts`` files."""

import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ifr.common.errors import UserError
from ifr.datasets.face_set import FaceSet
from ifr.datasets.readers.images import SUFFIXES, require
from ifr.datasets.readers.tables import read_named, read_table
from ifr.landmarks import NUM_LANDMARKS

COLUMNS = [f"{axis}{point}" for point in range(NUM_LANDMARKS) for axis in "xy"]
FIVE = 5  # eye, eye, nose tip, mouth corner, mouth corner; of each two the one left in the image


@dataclass(frozen=True, eq=False)
class GivenLandmarks:
    """Landmarks matched to the images of a set."""

    points: np.ndarray  # (N, P, 2) float32 pixels of the image as shown, P 68 or 5; NaN if unknown
    unmatched: tuple[str, ...]  # names in the file that no image has
    source: str  # the file or folder, for messages


def read_landmarks(path: Path, faces: FaceSet) -> GivenLandmarks:
    """Read 68 or five landmarks for the images of a set, in pixels of the images as shown.

    From ``.npz`` with ``names`` (M,) and ``landmarks`` (M, 68 or 5, 2); ``.csv`` with ``file, x0,
    y0, ...``; or iBUG's ``.pts``, which count the first pixel's centre as 1 and are moved by -0.5.
    Names are those of the attribute ``file``, or without suffix where that is one image.
    """
    path, files = Path(path), np.asarray(faces.attributes["file"]).astype(str)
    if path.is_dir():
        names, points = _read_pts_files(path)
    elif require(path, "give an .npz, a .csv, or a folder of .pts").suffix.lower() == ".csv":
        header = path.open(encoding="utf-8", errors="replace").readline().split(",")
        columns = COLUMNS if f"x{FIVE}" in map(str.strip, header) else COLUMNS[: 2 * FIVE]
        table = read_table(path, ("file",), numbers=columns)
        names, points = table["file"].to_numpy(str), table[columns].to_numpy()
        points = points.reshape(len(points), -1, 2)
    elif path.suffix.lower() == ".npz":
        shapes = "names (M,) and landmarks (M, 68 or 5, 2)"
        named, points = read_named(path, "names", "landmarks", shapes)
        names = named.to_numpy(str)
        if points.shape[1:] not in ((NUM_LANDMARKS, 2), (FIVE, 2)):
            raise UserError(f"{path}: expected {shapes}, got {points.shape}")
    else:
        raise UserError(f"{path}: expected .npz, .csv, or a folder of .pts files")
    if len(broken := names[~np.isfinite(points).all(axis=(1, 2))]):
        fault = f"landmarks of {len(broken)} images are not finite numbers, first {broken[0]}"
        raise UserError(f"{path}: {fault}; leave these out")
    known = pd.Index(names)
    if len(repeated := known[known.duplicated()]):
        raise UserError(f"{path}: {len(repeated)} names come twice, first {repeated[0]}")
    rows = known.get_indexer(files)
    # What is left is matched without suffixes, where only one name and one file have that path.
    left = np.setdiff1d(np.arange(len(names)), rows)
    stems = pd.Series(left, [_stem(name) for name in names[left].tolist()], dtype=np.int64)
    stems = stems[~stems.index.duplicated(keep=False)]
    wanted = pd.Index([_stem(name) for name in files.tolist()])
    by_stem = stems.reindex(wanted, fill_value=-1).to_numpy()
    rows = np.where((rows < 0) & ~wanted.duplicated(keep=False), by_stem, rows)
    if len(files) and (rows < 0).all():
        came = f"none of its {len(names)} names, such as {names[:1].tolist()}"
        remedy = f"is an image of the set, such as {files[0]}; names are paths below the root"
        raise UserError(f"{path}: {came}, {remedy}")
    matched = np.full((len(files), *points.shape[1:]), np.nan, np.float32)
    matched[rows >= 0] = points[rows[rows >= 0]]
    unused = np.setdiff1d(np.arange(len(names)), rows)
    return GivenLandmarks(matched, tuple(names[unused].tolist()), str(path))


def _stem(name: str) -> str:
    """Return a name in one spelling, without the suffix of an image or of its points."""
    name = unicodedata.normalize("NFC", name.replace("\\", "/")).removeprefix("./")
    suffix = Path(name).suffix
    return name[: -len(suffix)] if suffix.lower() in (*SUFFIXES, ".pts") else name


def _read_pts_files(root: Path) -> tuple[np.ndarray, np.ndarray]:
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() == ".pts")
    if not paths:
        raise UserError(f"{root} holds no .pts file; expected one for each image, named as it")
    points = [read_pts(path) for path in paths]
    for path, found in zip(paths, points, strict=True):
        if len(found) != len(points[0]):
            counts = f"{len(found)} points, {paths[0].name} has {len(points[0])}"
            raise UserError(f"{path} has {counts}; give one kind")
    return np.array([path.relative_to(root).as_posix() for path in paths]), np.stack(points)


def read_pts(path: Path) -> np.ndarray:
    """Return the 68 or five points of one file, (P, 2) float32, moved to continuous pixels."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
        values = np.array(text[text.index("{") + 1 : text.index("}")].split(), np.float32)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path}: expected lines 'x y' between {{ and }} ({error})") from None
    if values.size not in (2 * NUM_LANDMARKS, 2 * FIVE) or not np.isfinite(values).all():
        raise UserError(f"{path}: expected 68 or 5 points 'x y', got {values.size / 2:g}")
    return values.reshape(-1, 2) - 0.5
