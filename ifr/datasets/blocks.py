"""Blocks of photographs aligned by worker processes, each block the same whatever their number."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context

import cv2
import numpy as np

from ifr.common.hardware import usable_cores
from ifr.datasets.align import SIZE, alignment, five_point_alignment, warp_face
from ifr.datasets.detect import Detector
from ifr.datasets.readers.images import LazyImages, UnreadableImage
from ifr.landmarks import NUM_LANDMARKS, apply_similarity


@dataclass(frozen=True, eq=False)
class Job:
    """What a worker needs to align any block of a set."""

    images: LazyImages
    points: np.ndarray | None  # (N, 68, 2) given landmarks, NaN where there are none
    five: np.ndarray | None  # (N, 5, 2)
    boxes: np.ndarray | None  # (N, 4)
    detect: bool
    method: str
    block: int  # images in a block

    @property
    def knows_landmarks(self) -> bool:
        """Whether the aligned set will have 68 landmarks."""
        return self.points is not None or self.detect


def aligned_blocks(job: Job, todo: list[int], workers: int | None) -> Iterator[tuple[int, tuple]]:
    """Yield the blocks as they are aligned, in order; a few are in flight at a time.

    Raises:
        ChildProcessError: if a worker is killed.
    """
    workers = min(workers or usable_cores(), len(todo))
    if workers <= 1:
        for block in todo:
            yield block, _align_block(job, block)
        return
    # A fresh interpreter for each worker: forking a process with OpenMP threads can hang.
    pool = ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_begin, initargs=(job,)
    )
    try:
        ahead = 2 * workers
        jobs = {block: pool.submit(_run, block) for block in todo[:ahead]}
        for place, block in enumerate(todo):
            if place + ahead < len(todo):
                coming = todo[place + ahead]
                jobs[coming] = pool.submit(_run, coming)
            yield block, jobs.pop(block).result()
    except BrokenProcessPool:
        raise ChildProcessError(
            f"one of {workers} worker processes was killed, most likely for lack of memory: "
            "what is aligned is kept; run the same command again, with fewer --workers"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_job_of_worker: Job | None = None


def _begin(job: Job) -> None:
    global _job_of_worker
    _job_of_worker = job
    cv2.setNumThreads(1)


def _run(block: int) -> tuple:
    return _align_block(_job_of_worker, block)


@cache
def _detector() -> Detector:
    return Detector()


def _align_block(job: Job, block: int) -> tuple[np.ndarray, np.ndarray, dict[int, tuple]]:
    """Return aligned faces (n, 112, 112, 3), their landmarks (n, 68, 2), and rows missed by why."""
    rows = range(block * job.block, min(len(job.images), (block + 1) * job.block))
    faces = np.zeros((len(rows), SIZE, SIZE, 3), np.uint8)
    points = np.full((len(rows), NUM_LANDMARKS, 2), np.nan, np.float32)
    missed = {}
    for place, row in enumerate(rows):
        try:
            faces[place], found = _align_one(job, row)
        except UnreadableImage as error:
            missed[row] = ("unreadable", str(error))
        except _Unusable as error:
            missed[row] = (str(error), job.images.name(row))
        else:
            if found is not None:
                points[place] = found
    return faces, points, missed


class _Unusable(Exception):
    """A face that cannot be aligned; the message is the reason in few words."""


def _align_one(job: Job, row: int) -> tuple[np.ndarray, np.ndarray | None]:
    image = job.images[row]
    height, width = image.shape[:2]
    points = None
    if job.points is not None and np.isfinite(job.points[row]).all():
        points = job.points[row]
        if outside(points, width, height):
            raise _Unusable("landmarks outside the image")
    elif job.detect:
        points = _detector().find(image, None if job.boxes is None else job.boxes[row])
    if job.method == "none":
        if (height, width) != (SIZE, SIZE):
            raise _Unusable(f"not {SIZE} x {SIZE} pixels")
        if job.knows_landmarks and points is None:
            raise _Unusable("no face found" if job.detect else "no landmarks given")
        return image, points
    if points is None and job.knows_landmarks:
        raise _Unusable("no face found" if job.detect else "no landmarks given")
    try:
        if points is None:
            matrix = five_point_alignment(job.five[row])
        else:
            matrix = alignment(points, job.method)
    except ValueError:
        raise _Unusable("landmarks that coincide or are unknown") from None
    moved = None if points is None else apply_similarity(matrix, points)
    return warp_face(image, matrix), moved


def outside(points: np.ndarray, width: int, height: int) -> bool:
    """Return whether the middle of the landmarks (68, 2) lies outside an image of that size."""
    return bool(((points.mean(axis=0) < 0) | (points.mean(axis=0) > [width, height])).any())
