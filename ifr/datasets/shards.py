"""A set of faces made block by block: in parallel, resumable, and the same bytes in any case."""

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import cv2
import numpy as np
from joblib import Parallel, delayed

from ifr.common.errors import Stopped, UserError
from ifr.common.files import alone, write_text, written_whole
from ifr.common.hardware import begin_worker, usable_cores
from ifr.common.progress import progress_bar
from ifr.datasets.face_set import write_record

Block = dict[str, np.ndarray]
SHARDS = "shards"  # folder of the blocks that are done, in that of the set
IDLE = 10  # seconds until a worker without work ends and gives its memory back


@dataclass(frozen=True)
class Work:
    """What has to be done for a set."""

    name: str  # of the set
    fingerprint: str  # of all that decides its bytes
    title: str  # such as "rendering train"
    images: int  # how many go in
    block: int  # how many of them a block has; the last one may have fewer
    image_bytes: int  # of one image and its columns on disk
    columns: Sequence[str]  # arrays that all blocks have; the set holds them one after another
    tasks: Iterable[Callable[[], Block]]  # what a worker computes for each block
    # Writes what else the set has into the folder it is given, from the .npz file of each block.
    finish: Callable[[Path, Sequence[Path]], None] = lambda folder, shards: None

    def size(self, blocks: Iterable[int]) -> int:
        """Return the images of some blocks."""
        return sum(min(self.block, self.images - block * self.block) for block in blocks)


def make_set(folder: Path, work: Work, workers: int | None = None, progress: bool = True) -> None:
    """Make a set that :func:`ifr.datasets.load_set` opens, unless it is there; Ctrl-C: Stopped.

    A later call goes on from the finished blocks; a second process waits for the first.
    """
    if is_complete(folder):
        return
    partial = folder.with_name(f"{folder.name}.partial")
    shards = [partial / SHARDS / f"{k:06d}.npz" for k in range(-(-work.images // work.block))]
    try:
        with alone(folder.with_name(f"{folder.name}.lock")):
            if is_complete(folder):  # the process waited for has made it
                return
            owner, mark = partial / SHARDS / "made_for.txt", f"{work.fingerprint} {work.block}"
            if not owner.is_file() or owner.read_text(encoding="utf-8") != mark:
                shutil.rmtree(partial, ignore_errors=True)  # leftovers of another set
                write_text(owner, mark)
            _check_room(partial, work)
            _compute(work, shards, workers, progress)
            _assemble(shards, work.columns, partial)
            work.finish(partial, shards)
            write_record(partial, work.name, work.fingerprint)
            partial.rename(folder)
            is_complete(folder)
    except KeyboardInterrupt:
        done = work.size([int(path.stem) for path in (partial / SHARDS).glob("*.npz")])
        kept = f"{work.images if folder.exists() else done} of {work.images} images are kept"
        message = f"stopped {work.title}: {kept}; run the same command again to go on"
        raise Stopped(message) from None


def is_complete(folder: Path) -> bool:
    """Return whether a set is there; something else in its place is refused."""
    if not folder.exists():
        return False
    if not (folder / "set.json").exists():
        # Found before the work: the rename at its end would fail.
        raise UserError(f"{folder} holds no complete data set: delete it and try again")
    shutil.rmtree(folder / SHARDS, ignore_errors=True)  # after a stop behind the rename
    return True


def _check_room(partial: Path, work: Work) -> None:
    """Refuse a disk that is too small, asking for the space where the system has quotas."""
    there = sum(path.stat().st_size for path in partial.rglob("*") if path.is_file())
    # Blocks stay until they are put together.
    needed = max(2 * work.images * work.image_bytes - there, 1)
    full = (free := shutil.disk_usage(partial).free) < needed
    try:
        with tempfile.TemporaryFile(dir=partial) as file:
            os.posix_fallocate(file.fileno(), 0, 1 if full else needed)
    except AttributeError:  # macOS and Windows have no such call
        pass
    except OSError as error:  # another: this file system has no such call, or limits one file
        full |= error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full:
        short = f"{work.title} needs {needed:,} bytes in {partial.parent}, which has {free:,} free"
        raise UserError(f"{short}: make room or choose another folder; what is done is kept")


def _compute(work: Work, shards: Sequence[Path], workers: int | None, progress: bool) -> None:
    """Write the shards that are not there yet."""
    todo = {block for block, path in enumerate(shards) if not path.exists()}
    workers = max(1, min(workers or usable_cores(), len(todo)))
    # Fresh interpreters: forking a process with OpenMP threads can hang.
    options = dict(backend="loky", batch_size=1, return_as="generator_unordered")
    options |= dict(idle_worker_timeout=IDLE, initializer=begin_worker)
    parallel = Parallel(workers, **options)
    tasks = enumerate(zip(shards, work.tasks, strict=True))
    calls = (delayed(_write_shard)(*task, block) for block, task in tasks if block in todo)
    done = work.images - work.size(todo)
    with progress_bar(work.images, work.title, "img", progress, initial=done) as bar:
        try:
            for block in parallel(calls):
                bar.update(work.size([block]))
        except BrokenProcessPool:
            lost = f"one of {workers} worker processes was killed, most likely for lack of memory"
            remedy = "run it again with fewer --workers; what is done is kept"
            raise UserError(f"{lost}: {remedy}") from None


def _write_shard(path: Path, task: Callable[[], Block], block: int) -> int:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # the other cores have blocks of their own
    try:
        arrays = task()
    finally:
        cv2.setNumThreads(threads)
    with written_whole(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    return block


def _assemble(shards: Sequence[Path], columns: Sequence[str], folder: Path) -> None:
    """Write each column of all shards as one ``.npy`` file, holding one shard at a time."""
    for name in columns:
        rows = 0
        with written_whole(folder / f"{name}.npy") as temporary, open(temporary, "wb") as file:
            for path in shards:
                array = np.ascontiguousarray(read_shard(path)[name])
                rows += len(array)
                header = np.lib.format.header_data_from_array_1_0(array)
                header["shape"] = (rows, *array.shape[1:])
                file.seek(0)  # the header keeps its length: NumPy leaves room for any number
                np.lib.format.write_array_header_1_0(file, header)
                file.seek(0, os.SEEK_END)
                file.write(array.tobytes())


def read_shard(path: Path) -> np.lib.npyio.NpzFile:
    """Open a block that is done; its arrays are read one by one."""
    try:
        return np.load(path)
    except (BadZipFile, ValueError, EOFError):
        path.unlink()
        raise UserError(f"{path} is broken and was deleted: run the same command again") from None
