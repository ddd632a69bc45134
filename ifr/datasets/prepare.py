"""Photographs aligned once and kept as one memory-mapped set, in parallel and resumable."""

import csv
import errno
import hashlib
import json
import os
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from ifr import landmarks as landmarks_module
from ifr.common.errors import Stopped
from ifr.common.files import code_hash
from ifr.common.paths import ASSETS, require_writable
from ifr.datasets import FaceSet, align, blocks, detect, load_set, write_record
from ifr.datasets.align import METHODS, SIZE
from ifr.datasets.blocks import Job, aligned_blocks, outside
from ifr.datasets.detect import Detector
from ifr.datasets.index import DatasetIndex
from ifr.datasets.readers import images
from ifr.datasets.readers.images import UnreadableImage
from ifr.datasets.readers.landmark_files import GivenLandmarks
from ifr.landmarks import ARCFACE_TEMPLATE, five_points

BLOCK = 256  # images of one job: 10 MB of aligned faces
SAMPLE = 32  # images whose landmarks are looked at before the work begins
FRAME = 12.0  # pixels: landmarks whose five points lie this near the template are of aligned faces
COMPLETE = "complete.jsonl"  # the journal, once all else of a set is written
IN_FRAME = ("five_points", "box")  # attributes in pixels of the image before alignment
CODE = [Path(module.__file__) for module in (align, blocks, detect, images, landmarks_module)]


@dataclass(frozen=True)
class Prepared:
    """What became of a data set: where it lies, how many faces are kept, and why others are not."""

    folder: Path
    kept: int
    missed: dict[str, int]


def prepare(
    reading: DatasetIndex,
    folder: Path,
    *,
    name: str,
    landmarks: GivenLandmarks | None = None,
    detect: bool = False,
    method: str = "five",
    workers: int | None = None,
    progress: bool = True,
) -> Prepared:
    """Align every face of a reading to 112×112 and keep them as ``folder/NAME-FINGERPRINT/``.

    The folder is the form of :func:`ifr.datasets.load_set`, with all attributes of the reading
    but those in pixels of the image before alignment (``five_points``, ``box``), and
    ``missed.csv``: the images that could not be used, with the reason. What is aligned is kept
    when the work is stopped or killed, and the bytes do not depend on that or on the number of
    workers. A set that is there already is returned at once. The fingerprint covers file names and
    sizes, landmarks, settings and the code of the alignment, not the bytes of the images.

    Args:
        reading: from a reader of this package.
        folder: where prepared sets are kept.
        name: of the set.
        landmarks: of the images; without them ``detect``, the reading's five points, or images that
            are aligned already are needed.
        detect: find landmarks with dlib where none are given.
        method: ``"five"`` or ``"all"`` points, see :func:`ifr.datasets.align.alignment`; or
            ``"none"``: the images are 112×112 and aligned already.
        workers: processes; the cores this process may use if None.
        progress: show a progress bar with images/s.

    Raises:
        Stopped: on Ctrl-C; what is aligned is kept.
        ValueError: if the images cannot be aligned with what is given, the landmarks are of another
            frame, an attribute is of Python objects, or no image at all can be used.
        OSError: if the folder cannot be written, or the disk has no room for the set.
    """
    job = _job(reading.faces, landmarks, detect, method)
    key = _fingerprint(reading.faces, job, name)
    target = folder / f"{name}-{key[:12]}"
    if (target / "set.json").exists():
        return _result(target)
    if target.exists():
        raise FileExistsError(f"{target} holds no complete data set: delete it and try again")
    _check_frame(job, landmarks)
    require_writable(folder)
    partial = folder / f"{target.name}.partial"
    try:
        if not (partial / COMPLETE).exists():
            _make(reading.faces, job, partial, workers, progress, name)
        _publish(partial, target, name, key)
    except KeyboardInterrupt:
        raise Stopped(
            f"stopped writing {name!r}: all {len(reading.faces)} images are aligned and kept; run "
            "the same command again to go on"
        ) from None
    return _result(target)


def _make(
    faces: FaceSet, job: Job, partial: Path, workers: int | None, progress: bool, name: str
) -> None:
    """Align what is not aligned yet and write all files of the set into its partial folder."""
    arrays, done = _open_partial(partial, len(faces), job.knows_landmarks)
    _align_all(job, arrays, done, partial, workers, progress, name)
    missed = {row: why for found in done.values() for row, why in found.items()}
    keep = np.setdiff1d(np.arange(len(faces)), list(missed))
    if not len(keep):
        why = Counter(reason for reason, _ in missed.values()).most_common(1)
        raise ValueError(
            f"none of the {len(missed)} images can be used ({why[0][0]}, such as "
            f"{next(iter(missed.values()))[1]}); {partial} can be deleted"
        )
    _finish(faces, arrays, keep, missed, partial)


def _job(faces: FaceSet, given: GivenLandmarks | None, detect: bool, method: str) -> Job:
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if not len(faces):
        raise ValueError(f"set {faces.name!r} holds no images to align")
    five = faces.attributes.get("five_points")
    if given is None and not detect and method != "none" and (five is None or method == "all"):
        raise ValueError(
            f"set {faces.name!r} has no landmarks to align by: give them (--landmarks), let them "
            "be found (--detect), or say that the images are aligned already (--method none)"
        )
    for attribute, array in faces.attributes.items():
        if np.asarray(array).dtype.hasobject:
            raise ValueError(
                f"set {faces.name!r}: attribute {attribute} is of Python objects, which are not "
                "kept; give it as numbers or text, such as np.array(values, dtype=str)"
            )
    if detect:
        Detector()  # refuse before the work begins when its packages are missing
    return Job(
        faces.images,
        None if given is None else given.points,
        five,
        faces.attributes.get("box"),
        detect,
        method,
        BLOCK,
    )


def _fingerprint(faces: FaceSet, job: Job, name: str) -> str:
    digest = hashlib.sha256(code_hash([*CODE, Path(__file__)]).encode())
    source, rows = faces.images.source, faces.images.rows
    for file, row in zip(faces.attributes["file"].tolist(), rows.tolist(), strict=True):
        digest.update(f"{file}\0{source.size(row)}\n".encode())
    for array in (job.points, job.five, job.boxes, faces.identity):
        digest.update(b"none" if array is None else np.ascontiguousarray(array).tobytes())
    if job.method == "all":
        digest.update((ASSETS / "frontal68.npy").read_bytes())
    digest.update(json.dumps([name, job.detect, job.method]).encode())
    return digest.hexdigest()


def _check_frame(job: Job, given: GivenLandmarks | None) -> None:
    """Refuse landmarks of another frame than the images before hours are spent on them."""
    if given is None:
        return
    known = np.flatnonzero(np.isfinite(job.points).all(axis=(1, 2)))[:SAMPLE]
    sizes, distances, far = [], [], 0
    for row in known:
        try:
            height, width = job.images[row].shape[:2]
        except UnreadableImage:
            continue
        points = job.points[row]
        sizes.append((width, height))
        gaps = np.linalg.norm(five_points(points) - ARCFACE_TEMPLATE, axis=-1)
        distances.append(gaps.mean())
        far += outside(points, width, height)
    if not sizes:
        return
    image = f"{sizes[0][0]} x {sizes[0][1]}"
    if far > len(sizes) / 2:
        raise ValueError(
            f"{given.source}: landmarks lie outside their images in {far} of {len(sizes)} "
            f"faces looked at (images of {image} pixels): they are of another crop or size; give "
            "landmarks in pixels of the images as they lie on disk"
        )
    aligned = np.median(distances) < FRAME
    whole = all(size == (SIZE, SIZE) for size in sizes)
    if aligned and not whole:
        raise ValueError(
            f"{given.source}: landmarks are of aligned {SIZE}-pixel faces, the images have {image} "
            "pixels; give landmarks of these images, or the aligned images"
        )
    if job.method == "none" and not aligned:
        raise ValueError(
            f"{given.source}: the five points lie {np.median(distances):.0f} pixels from ArcFace's "
            "template: these images are not aligned, or the landmarks are of another frame; "
            "use --method five"
        )


def _open_partial(
    partial: Path, count: int, with_landmarks: bool
) -> tuple[dict[str, np.memmap], dict[int, dict]]:
    """Open or begin the arrays of unfinished work; return them and the blocks that are done."""
    shapes = {"images": ((count, SIZE, SIZE, 3), np.uint8)}
    if with_landmarks:
        shapes["landmarks"] = ((count, landmarks_module.NUM_LANDMARKS, 2), np.float32)
    journal = partial / "done.jsonl"
    paths = {name: partial / f"all_{name}.npy" for name in shapes}
    if not all(path.exists() for path in (journal, *paths.values())):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        arrays = {name: _new_array(paths[name], *shapes[name]) for name in shapes}
        journal.touch()
        return arrays, {}
    arrays = {name: np.lib.format.open_memmap(path, "r+") for name, path in paths.items()}
    whole = journal.read_bytes().rpartition(b"\n")
    os.truncate(journal, len(whole[0] + whole[1]))  # without a last line that was cut short
    done = {}
    for line in whole[0].decode().split("\n") if whole[0] else ():
        block, missed = json.loads(line)
        done[block] = {int(row): tuple(why) for row, why in missed.items()}
    return arrays, done


def _new_array(path: Path, shape: tuple[int, ...], kind: np.dtype) -> np.memmap:
    """Make an array on disk, with its room reserved: writing past a full disk ends the process."""
    array = np.lib.format.open_memmap(path, "w+", np.dtype(kind), shape)
    if hasattr(os, "posix_fallocate"):
        with open(path, "r+b") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                    return array  # a file system that cannot reserve
                raise OSError(
                    error.errno,
                    f"{os.strerror(error.errno)}: {array.nbytes / 1e9:.2g} GB are needed for this "
                    "file; free them or choose another folder (--to)",
                    str(path),
                ) from None
    return array


def _align_all(
    job: Job,
    arrays: dict,
    done: dict,
    partial: Path,
    workers: int | None,
    progress: bool,
    name: str,
) -> None:
    count = len(job.images)
    todo = [block for block in range(-(-count // job.block)) if block not in done]
    bar = tqdm(
        total=count,
        initial=min(count, len(done) * job.block),
        unit="img",
        desc=f"aligning {name}",
        disable=not progress,
        mininterval=1.0,
    )
    try:
        for block, (faces, points, missed) in aligned_blocks(job, todo, workers):
            rows = slice(block * job.block, block * job.block + len(faces))
            arrays["images"][rows] = faces
            if "landmarks" in arrays:
                arrays["landmarks"][rows] = points
            done[block] = missed
            with open(partial / "done.jsonl", "a", encoding="utf-8") as journal:
                journal.write(json.dumps([block, missed]) + "\n")
            bar.update(len(faces))
    except KeyboardInterrupt:
        state = f"{min(count, len(done) * job.block)} of {count} images are kept"
        raise Stopped(
            f"stopped aligning {name!r}: {state}; run the same command again to go on"
        ) from None
    finally:
        bar.close()


def _finish(faces: FaceSet, arrays: dict, keep: np.ndarray, missed: dict, partial: Path) -> None:
    """Write the final files of a set beside the arrays of all images, which stay as they are.

    The journal is renamed last: until then all of this can be done again.
    """
    for name, array in arrays.items():
        array.flush()
        if len(keep) == len(array):
            continue  # the array of all images gets the final name
        kept = _new_array(partial / f"{name}.npy", (len(keep), *array.shape[1:]), array.dtype)
        for first in range(0, len(keep), BLOCK):
            rows = keep[first : first + BLOCK]
            kept[first : first + len(rows)] = array[rows]
        kept.flush()
    identity = np.unique(faces.identity[keep], return_inverse=True)[1].astype(np.int64)
    np.save(partial / "identity.npy", identity)
    for name, array in faces.attributes.items():
        if name not in IN_FRAME:
            np.save(partial / f"{name}.npy", np.asarray(array)[keep])
    with open(partial / "missed.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "reason", "detail"])
        for row in sorted(missed):
            writer.writerow([faces.attributes["file"][row], *missed[row]])
    os.replace(partial / "done.jsonl", partial / COMPLETE)


def _publish(partial: Path, target: Path, name: str, key: str) -> None:
    """Give the files of a complete set, and then its folder, their names; may be done again."""
    for array in ("images", "landmarks"):
        source, final = partial / f"all_{array}.npy", partial / f"{array}.npy"
        if final.exists():
            source.unlink(missing_ok=True)
        elif source.exists():
            os.replace(source, final)
    write_record(partial, name, key)
    os.replace(partial, target)
    (target / COMPLETE).unlink()


def _result(folder: Path) -> Prepared:
    with open(folder / "missed.csv", encoding="utf-8", newline="") as file:
        reasons = Counter(row["reason"] for row in csv.DictReader(file))
    return Prepared(folder, len(load_set(folder)), dict(reasons))
