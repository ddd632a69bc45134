"""Photographs aligned once and kept as one memory-mapped set."""

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np

from ifr.common.errors import UserError
from ifr.common.files import code_hash
from ifr.common.paths import ASSETS, PACKAGE
from ifr.datasets.align import METHODS, Photographs, align, outside
from ifr.datasets.detect import Detector
from ifr.datasets.face_set import FaceSet, load_set
from ifr.datasets.index import DatasetIndex
from ifr.datasets.readers.images import LazyImages, UnreadableImage
from ifr.datasets.readers.landmark_files import GivenLandmarks
from ifr.datasets.shards import Work, is_complete, make_set, read_shard
from ifr.landmarks import ARCFACE_TEMPLATE, FACE_SIZE, five_points

BLOCK = 256  # images of one block: 10 MB of aligned faces
SAMPLE = 32  # images whose landmarks are looked at before the work begins
FRAME = 12.0  # pixels: landmarks whose five points lie this near the template are of aligned faces
IN_FRAME = ("five_points", "box")  # attributes in pixels of the image before alignment
# All that decides the pixels and landmarks of an aligned photograph.
CODE = ("datasets/align.py", "datasets/detect.py", "datasets/readers/images.py", "landmarks.py")


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

    The folder is the form of :func:`ifr.datasets.load_set`, with all attributes of the index
    but those in pixels of the image before alignment (``five_points``, ``box``), and
    ``missed.csv``: the images that could not be used, with the reason. It is made by
    :func:`ifr.datasets.shards.make_set`. The fingerprint covers file names and sizes, landmarks,
    settings and the code of the alignment, not the bytes of the images.

    Args:
        index: from a reader of this package.
        folder: where prepared sets are kept.
        name: of the set.
        landmarks: of the images; without them ``detect``, the index's five points, or images that
            are aligned already are needed.
        detect: find landmarks with dlib where none are given.
        method: ``"five"`` or ``"all"`` points, see :func:`ifr.landmarks.alignment`; or
            ``"none"``: the images are 112×112 and aligned already.
        workers: processes; the cores this process may use if None.
        progress: show a progress bar with images/s.
    """
    photographs = _photographs(index.faces, landmarks, detect, method)
    fingerprint = _fingerprint(index.faces, photographs, name)
    target = folder / f"{name}-{fingerprint[:12]}"
    if landmarks is not None and not is_complete(target):
        _check_frame(photographs, landmarks)
    work = Work(
        f"aligning {name}",
        images=len(index.faces),
        block=BLOCK,
        image_bytes=3 * FACE_SIZE**2 + 1024,
        columns=("images", "landmarks") if photographs.have_landmarks else ("images",),
        task=lambda k: partial(align, photographs.some(slice(k * BLOCK, (k + 1) * BLOCK))),
    )
    finish = partial(_write_attributes, index.faces)
    make_set(target, name, fingerprint, work, finish=finish, workers=workers, progress=progress)
    with open(target / "missed.csv", encoding="utf-8", newline="") as file:
        reasons = Counter(row["reason"] for row in csv.DictReader(file))
    return Prepared(target, len(load_set(target)), dict(reasons))


def _photographs(
    faces: FaceSet, given: GivenLandmarks | None, detect: bool, method: str
) -> Photographs:
    """Put together what is known of the faces, and refuse what cannot be done."""
    if method not in METHODS:
        raise UserError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    count, known = len(faces), faces.attributes
    if not count:
        raise UserError(f"set {faces.name!r} holds no images to align")
    by_five = method == "five" and "five_points" in known
    if given is None and not detect and method != "none" and not by_five:
        raise UserError(
            f"set {faces.name!r} has no landmarks to align by: give them (--landmarks), let them "
            "be found (--detect), or say that the images are aligned already (--method none)"
        )
    for attribute, array in known.items():
        if np.asarray(array).dtype.hasobject:
            raise UserError(
                f"set {faces.name!r}: attribute {attribute} is of Python objects, which are not "
                "kept; give it as numbers or text, such as np.array(values, dtype=str)"
            )
    if detect:
        Detector()  # refuse before the work begins when its packages are missing
    images, points = cast(LazyImages, faces.images), None if given is None else given.points
    five = known.get("five_points", np.full((count, 5, 2), np.nan))
    boxes = known.get("box", np.full((count, 4), np.nan))
    return Photographs(images, points, five, boxes, detect, method)


def _fingerprint(faces: FaceSet, photographs: Photographs, name: str) -> str:
    digest = hashlib.sha256(code_hash(PACKAGE / file for file in CODE).encode())
    for row, file in enumerate(faces.attributes["file"].tolist()):
        digest.update(f"{file}\0{photographs.images.source.size(row)}\n".encode())
    for array in (photographs.points, photographs.five, photographs.boxes, faces.identity):
        digest.update(b"none" if array is None else np.ascontiguousarray(array).tobytes())
    if photographs.method == "all":
        digest.update((ASSETS / "frontal68.npy").read_bytes())
    digest.update(json.dumps([name, photographs.detect, photographs.method]).encode())
    return digest.hexdigest()


def _check_frame(photographs: Photographs, given: GivenLandmarks) -> None:
    """Refuse landmarks of another frame than the images before hours are spent on them."""
    known = np.flatnonzero(np.isfinite(given.points).all(axis=(1, 2)))[:SAMPLE]
    sizes, gaps, far = [], [], 0
    for row in known:
        try:
            height, width = photographs.images[row].shape[:2]
        except UnreadableImage:
            continue
        points = given.points[row]
        sizes.append((width, height))
        gaps.append(np.linalg.norm(five_points(points) - ARCFACE_TEMPLATE, axis=-1).mean())
        far += outside(points, width, height)
    if not sizes:
        return
    image, gap = f"{sizes[0][0]} x {sizes[0][1]}", np.median(gaps)
    if far > len(sizes) / 2:
        raise UserError(
            f"{given.source}: landmarks lie outside their images in {far} of {len(sizes)} "
            f"faces looked at (images of {image} pixels): they are of another crop or size; give "
            "landmarks in pixels of the images as they lie on disk"
        )
    if gap < FRAME and set(sizes) != {(FACE_SIZE, FACE_SIZE)}:
        raise UserError(
            f"{given.source}: landmarks are of aligned {FACE_SIZE}-pixel faces, the images have "
            f"{image} pixels; give landmarks of these images, or the aligned images"
        )
    if photographs.method == "none" and gap >= FRAME:
        raise UserError(
            f"{given.source}: the five points lie {gap:.0f} pixels from ArcFace's template: these "
            "images are not aligned, or the landmarks are of another frame; use --method five"
        )


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
        raise UserError(
            f"none of the {len(missed)} images can be used ({reason}, such as "
            f"{next(iter(missed.values()))[1]}); {folder} can be deleted"
        )
    identity = np.unique(faces.identity[keep], return_inverse=True)[1].astype(np.int64)
    np.save(folder / "identity.npy", identity)
    for name, array in faces.attributes.items():
        if name not in IN_FRAME:
            np.save(folder / f"{name}.npy", np.asarray(array)[keep])
    with open(folder / "missed.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "reason", "detail"])
        writer.writerows([faces.attributes["file"][row], *missed[row]] for row in sorted(missed))
