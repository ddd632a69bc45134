"""Photographs aligned once and kept as one memory-mapped set."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from ifr.common.errors import UserError
from ifr.common.files import code_hash, file_hash, value_hash, write_array, write_text
from ifr.common.paths import ASSETS, PACKAGE
from ifr.datasets.align import METHODS, ROLL, Detector, Unusable, align, align_one
from ifr.datasets.check import doubts
from ifr.datasets.face_set import FaceSet, load_set
from ifr.datasets.index import DatasetIndex
from ifr.datasets.readers.images import UnreadableImage
from ifr.datasets.readers.landmark_files import GivenLandmarks
from ifr.datasets.shards import Work, is_complete, make_set, read_shard
from ifr.landmarks import ARCFACE_TEMPLATE, FACE_SIZE, NUM_LANDMARKS, five_points, misfit

BLOCK = 256  # images of one block: 10 MB of aligned faces
IMAGE_BYTES = 3 * FACE_SIZE**2 + 1024  # on disk: the picture, and the rest
SAMPLE = 32  # images whose landmarks are looked at before the work begins
FRAME = 12.0  # pixels: landmarks whose five points lie this near the template are of aligned faces
MISSED = "missed.csv"  # in the folder of a set
IN_FRAME = {"five_points", "box"}  # attributes in pixels of the image before alignment
# All that decides the pixels and landmarks of an aligned photograph.
CODE = ("datasets/align.py", "datasets/readers/images.py", "landmarks.py")


@dataclass(frozen=True)
class Prepared:
    """What became of a data set: where it lies, how many faces are kept, and why others are not."""

    folder: Path
    kept: int
    missed: dict[str, int]  # images by the reason for which they were left out
    issues: dict[str, int]  # what the reader found missing or did not read, by its kind
    doubts: list[str]  # what the aligned faces themselves give to think about


def prepare(
    index: DatasetIndex,
    folder: Path,
    *,
    name: str,
    landmarks: GivenLandmarks | None = None,
    detect: bool = False,
    method: str = "five",
    workers: int | None = None,
    progress: bool = True,
) -> Prepared:
    """Align every face of a data set to 112×112 and keep them as ``folder/NAME-FINGERPRINT/``.

    By ``"five"`` or ``"all"`` points of the landmarks that are given or dlib detects, by five
    points given or of the index, or by ``"none"``: the images are aligned already. The set has the
    attributes of the index but ``IN_FRAME``. The fingerprint covers all but the images' bytes.
    """
    faces, points = index.faces, None if landmarks is None else landmarks.points
    # All that alignment needs to know, in pixels of the images; aligned ones have other pixels.
    in_frame = faces.attributes.keys() & (set() if method == "none" else IN_FRAME)
    known = {key: faces.attributes[key] for key in sorted(in_frame)}
    if points is not None and points.shape[1] != NUM_LANDMARKS:
        if detect:
            raise UserError("--detect finds 68 landmarks: leave it out, or the five that are given")
        known, points = known | {"five_points": points}, None
    photographs = replace(faces, landmarks=points, attributes=known)
    _check_request(faces, photographs, detect, method)
    files = faces.attributes["file"].tolist()
    lengths = [faces.images.size(row) for row in range(len(faces))]
    arrays = known | dict(landmarks=points, identity=faces.identity)
    hashes = {
        key: hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
        for key, array in arrays.items()
        if array is not None
    }
    code = [code_hash(PACKAGE / file for file in CODE), file_hash(ASSETS / "frontal68.npy")]
    fingerprint = value_hash([name, detect, method, files, lengths, hashes, code])
    target = folder / f"{name}-{fingerprint[:12]}"
    if not is_complete(target):
        source = f"the points of {name}" if landmarks is None else landmarks.source
        _check_fit(photographs, source, method)
    columns = ("images",) if points is None and not detect else ("images", "landmarks")
    names, sizes = (name, fingerprint, f"aligning {name}"), (len(faces), BLOCK, IMAGE_BYTES)
    starts = range(0, len(faces), BLOCK)
    tasks = (partial(align, photographs[k : k + BLOCK], detect, method) for k in starts)
    work = Work(*names, *sizes, columns, tasks, partial(_write_attributes, faces))
    make_set(target, work, workers, progress)
    missed, kept = _list_missed(target, index), load_set(target)
    issues = Counter(issue.kind for issue in index.issues)
    return Prepared(target, len(kept), missed, dict(issues), doubts(kept.images))


def _check_request(faces: FaceSet, photographs: FaceSet, detect: bool, method: str) -> None:
    """Refuse before the work begins what cannot be done."""
    whole, named = photographs.landmarks is not None or detect, f"set {faces.name!r}"
    if method not in METHODS:
        raise UserError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if not len(faces):
        raise UserError(f"{named} holds no images to align")
    by_five = method == "five" and "five_points" in photographs.attributes
    if not (whole or by_five or method == "none"):
        lacking = f"{named} has no {'68 ' if method == 'all' else ''}landmarks to align by"
        ways = "give them (--landmarks), let them be found (--detect)"
        raise UserError(f"{lacking}: {ways}, or say that it is aligned already (--method none)")
    for attribute, array in faces.attributes.items():
        if np.asarray(array).dtype.hasobject:
            remedy = "give numbers or text, such as np.array(values, dtype=str)"
            raise UserError(f"{named}: attribute {attribute} is of Python objects; {remedy}")
    if detect:
        Detector()  # raises when its packages are missing


def _check_fit(photographs: FaceSet, source: str, method: str) -> None:
    """Refuse landmarks that do not fit the images before hours are spent on them."""
    points = photographs.landmarks
    if points is None and (points := photographs.attributes.get("five_points")) is None:
        return
    whole = points.shape[1] == NUM_LANDMARKS
    known = np.isfinite(points).all(axis=2).sum(axis=1) >= (NUM_LANDMARKS if whole else 2)
    fives, sizes, reasons = [], [], Counter[str]()
    for row in np.flatnonzero(known)[:: max(1, known.sum() // SAMPLE)]:
        fives.append(five_points(points[row]) if whole else points[row])
        with suppress(UnreadableImage):
            sizes.append("{1} x {0}".format(*photographs.images[row].shape))
            try:
                align_one(photographs, row, False, method)
            except Unusable as error:
                reasons[str(error)] += 1
    if not sizes:
        return
    gap = np.median([np.nanmean(np.linalg.norm(five - ARCFACE_TEMPLATE, axis=1)) for five in fives])
    roll, fault = np.median([abs(misfit(five)[1]) for five in fives]), ""
    if (misses := reasons.total()) > len(sizes) / 2:
        worst, seen = reasons.most_common(1)[0][0], f"{misses} of {len(sizes)} faces looked at"
        fault = f"{worst}, in {seen} (images of {sizes[0]} pixels)"
    elif gap < FRAME and set(sizes) != {f"{FACE_SIZE} x {FACE_SIZE}"}:
        fault = f"landmarks of aligned {FACE_SIZE}-pixel faces, the images have {sizes[0]} pixels"
    elif roll > ROLL:
        fault = f"landmarks of faces turned by {roll:.0f} degrees"
    elif method == "none" and gap >= FRAME:
        fault = f"landmarks {gap:.0f} pixels from ArcFace's template, not aligned"
    if fault:
        advice = "give those of these images as viewers show them, in the order of data/README.md"
        raise UserError(f"{source}: {fault}; {advice}")


def _write_attributes(faces: FaceSet, folder: Path, shards: Sequence[Path]) -> None:
    """Write the attributes of the faces that are kept, and which others are missed and why."""
    missed = {
        block * BLOCK + row: why
        for block, path in enumerate(shards)
        for row, *why in json.loads(read_shard(path)["missed"].item())
    }
    keep = np.setdiff1d(np.arange(len(faces)), list(missed))
    if not len(keep):
        reason = Counter(reason for reason, _ in missed.values()).most_common(1)[0][0]
        example = f"({reason}, such as {next(iter(missed.values()))[1]})"
        raise UserError(f"none of the {len(missed)} images can be used {example}")
    arrays = {name: np.asarray(array)[keep] for name, array in faces.attributes.items()}
    arrays["identity"] = np.unique(faces.identity[keep], return_inverse=True)[1].astype(np.int64)
    for name in arrays.keys() - IN_FRAME:
        write_array(folder / f"{name}.npy", arrays[name])
    rows = [(faces.attributes["file"][row], *missed[row]) for row in sorted(missed)]
    _write_missed(folder, pd.DataFrame(rows, columns=["file", "reason", "detail"]))


def _list_missed(folder: Path, index: DatasetIndex) -> dict[str, int]:
    """Add what the reader left out to ``missed.csv``; return the reasons of all other lines."""
    listed = pd.read_csv(folder / MISSED, dtype=str, keep_default_na=False)
    missed = listed[listed["file"].isin(index.faces.attributes["file"])]
    rows = [(issue.where, issue.kind, issue.impact) for issue in index.issues]
    table = pd.concat([missed, pd.DataFrame(rows, columns=listed.columns)], ignore_index=True)
    if not table.equals(listed):
        _write_missed(folder, table)
    return missed["reason"].value_counts(sort=False).to_dict()


def _write_missed(folder: Path, table: pd.DataFrame) -> None:
    write_text(folder / MISSED, table.to_csv(index=False, lineterminator="\r\n"))
