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
from ifr.common.files import code_hash
from ifr.common.paths import ASSETS, PACKAGE
from ifr.datasets.align import METHODS, Detector, align, outside, source_of
from ifr.datasets.face_set import FaceSet, load_set
from ifr.datasets.index import DatasetIndex
from ifr.datasets.readers.images import UnreadableImage
from ifr.datasets.readers.landmark_files import GivenLandmarks
from ifr.datasets.shards import Work, is_complete, make_set, read_shard
from ifr.landmarks import ARCFACE_TEMPLATE, FACE_SIZE, five_points

BLOCK = 256  # images of one block: 10 MB of aligned faces
IMAGE_BYTES = 3 * FACE_SIZE**2 + 1024  # on disk: the picture, and the rest
SAMPLE = 32  # images whose landmarks are looked at before the work begins
FRAME = 12.0  # pixels: landmarks whose five points lie this near the template are of aligned faces
IN_FRAME = ("five_points", "box")  # attributes in pixels of the image before alignment
# All that decides the pixels and landmarks of an aligned photograph.
CODE = ("datasets/align.py", "datasets/readers/images.py", "landmarks.py")


@dataclass(frozen=True)
class Prepared:
    """What became of a data set: where it lies, how many faces are kept, and why others are not."""

    folder: Path
    kept: int
    missed: dict[str, int]


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
    points of the index, or by ``"none"``: the images are aligned already. The folder, which
    :func:`ifr.datasets.load_set` opens, has the attributes of the index but ``IN_FRAME``, and
    ``missed.csv``, the images not used and why. The fingerprint covers file names and sizes,
    landmarks, settings and the code of the alignment, not the images' bytes.
    """
    faces, points = index.faces, None if landmarks is None else landmarks.points
    _check_request(faces, points is not None, detect, method)
    # All that alignment needs to know: landmarks here are in pixels of the images, as IN_FRAME is.
    known = {key: faces.attributes[key] for key in IN_FRAME if key in faces.attributes}
    photographs = replace(faces, landmarks=points, attributes=known)
    fingerprint = _fingerprint(photographs, faces.attributes["file"], [name, detect, method])
    target = folder / f"{name}-{fingerprint[:12]}"
    if landmarks is not None and not is_complete(target):
        _check_frame(photographs, landmarks, method)
    columns = ("images",) if points is None and not detect else ("images", "landmarks")
    names, sizes = (name, fingerprint, f"aligning {name}"), (len(faces), BLOCK, IMAGE_BYTES)
    starts = range(0, len(faces), BLOCK)
    tasks = (partial(align, photographs[k : k + BLOCK], detect, method) for k in starts)
    work = Work(*names, *sizes, columns, tasks, partial(_write_attributes, faces))
    make_set(target, work, workers, progress)
    missed = pd.read_csv(target / "missed.csv")["reason"].value_counts(sort=False)
    return Prepared(target, len(load_set(target)), missed.to_dict())


def _check_request(faces: FaceSet, given: bool, detect: bool, method: str) -> None:
    """Refuse before the work begins what cannot be done."""
    if method not in METHODS:
        raise UserError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if not len(faces):
        raise UserError(f"set {faces.name!r} holds no images to align")
    by_five = method == "five" and "five_points" in faces.attributes
    if not given and not detect and method != "none" and not by_five:
        raise UserError(
            f"set {faces.name!r} has no landmarks to align by: give them (--landmarks), let them "
            "be found (--detect), or say that the images are aligned already (--method none)"
        )
    for attribute, array in faces.attributes.items():
        if np.asarray(array).dtype.hasobject:
            fault = f"attribute {attribute} is of Python objects, which are not kept"
            remedy = "give it as numbers or text, such as np.array(values, dtype=str)"
            raise UserError(f"set {faces.name!r}: {fault}; {remedy}")
    if detect:
        Detector()  # raises when its packages are missing


def _fingerprint(photographs: FaceSet, files: np.ndarray, settings: list[object]) -> str:
    digest = hashlib.sha256(code_hash(PACKAGE / file for file in CODE).encode())
    for row, file in enumerate(files.tolist()):
        digest.update(f"{file}\0{source_of(photographs).size(row)}\n".encode())
    arrays = photographs.attributes | dict(landmarks=photographs.landmarks)
    for key, array in (arrays | dict(identity=photographs.identity)).items():
        digest.update(key.encode())
        digest.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
    if settings[-1] == "all":
        digest.update((ASSETS / "frontal68.npy").read_bytes())
    digest.update(json.dumps(settings).encode())
    return digest.hexdigest()


def _check_frame(photographs: FaceSet, given: GivenLandmarks, method: str) -> None:
    """Refuse landmarks of another frame than the images before hours are spent on them."""
    sizes, gaps, far = [], [], 0
    for row in np.flatnonzero(np.isfinite(given.points).all(axis=(1, 2)))[:SAMPLE]:
        with suppress(UnreadableImage):
            height, width = photographs.images[row].shape[:2]
            sizes.append((width, height))
            shift = five_points(given.points[row]) - ARCFACE_TEMPLATE
            gaps.append(np.linalg.norm(shift, axis=-1).mean())
            far += outside(given.points[row], width, height)
    if not sizes:
        return
    image, gap, fault = f"{sizes[0][0]} x {sizes[0][1]}", np.median(gaps), None
    if far > len(sizes) / 2:
        fault = (
            f"landmarks lie outside their images in {far} of {len(sizes)} faces looked at (images "
            f"of {image} pixels): they are of another crop or size; give landmarks in pixels of "
            "the images as they lie on disk"
        )
    elif gap < FRAME and set(sizes) != {(FACE_SIZE, FACE_SIZE)}:
        fault = (
            f"landmarks are of aligned {FACE_SIZE}-pixel faces, the images have {image} pixels; "
            "give landmarks of these images, or the aligned images"
        )
    elif method == "none" and gap >= FRAME:
        fault = (
            f"the five points lie {gap:.0f} pixels from ArcFace's template: these images are not "
            "aligned, or the landmarks are of another frame; use --method five"
        )
    if fault:
        raise UserError(f"{given.source}: {fault}")


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
        example = next(iter(missed.values()))[1]
        fault = f"none of the {len(missed)} images can be used ({reason}, such as {example})"
        raise UserError(f"{fault}; {folder} can be deleted")
    identity = np.unique(faces.identity[keep], return_inverse=True)[1].astype(np.int64)
    np.save(folder / "identity.npy", identity)
    for name, array in faces.attributes.items():
        if name not in IN_FRAME:
            np.save(folder / f"{name}.npy", np.asarray(array)[keep])
    rows = [(faces.attributes["file"][row], *missed[row]) for row in sorted(missed)]
    table = pd.DataFrame(rows, columns=["file", "reason", "detail"])
    table.to_csv(folder / "missed.csv", index=False, lineterminator="\r\n")
