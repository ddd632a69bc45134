"""The procedural data sets: which faces each holds, and how they are rendered to disk."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import psutil
from tqdm.auto import tqdm

from ifr.common.errors import Stopped
from ifr.common.files import code_hash
from ifr.common.hardware import usable_cores
from ifr.common.paths import ASSETS, PACKAGE, require_writable
from ifr.common.seeding import stream
from ifr.datasets import FaceSet, load_set, write_record
from ifr.faces import OCCLUDERS, build_identity, draw_shot, render
from ifr.landmarks import mirror
from ifr.profiles import FacesPlan

# First identity seed of each group; the groups are too far apart to meet.
TRAINING, VALIDATION, TEMPLATES, AR = 0, 10_000_000, 20_000_000, 30_000_000
CLOSED_SHOT = 100_000  # shots of training identities that no training set reaches
SEED_STEP = 100_000_000  # between the identities of one plan seed and the next
NATURAL_SHARE = 0.4  # of template shots that carry an occluder

# The 13 shots of one AR session: neutral, expressions, lights, sunglasses, scarf.
AR_SHOTS: tuple[tuple[str, dict[str, str]], ...] = (
    ("neutral", dict(expression="neutral", lighting="even")),
    ("smile", dict(expression="smile", lighting="even")),
    ("anger", dict(expression="anger", lighting="even")),
    ("scream", dict(expression="scream", lighting="even")),
    ("light left", dict(expression="neutral", lighting="left")),
    ("light right", dict(expression="neutral", lighting="right")),
    ("light both", dict(expression="neutral", lighting="both")),
    *(
        (f"{occluder} {light}", dict(expression="neutral", lighting=light, occluder=occluder))
        for occluder in ("sunglasses", "scarf")
        for light in ("even", "left", "right")
    ),
)


@dataclass(frozen=True)
class SetSpec:
    """One set: ``identities`` people from seed ``first`` on, with ``shots`` pictures each."""

    name: str
    first: int
    identities: int
    shots: int
    first_shot: int = 0
    yaw: str = "mixed"
    natural_share: float = 0.0
    ar: bool = False

    def shot_options(self, identity: int, shot: int) -> tuple[str, dict]:
        """Return the condition of a shot in words, and the arguments of ``draw_shot``."""
        if self.ar:
            condition, options = AR_SHOTS[shot]
            return condition, dict(yaw="frontal") | options
        rng = stream(identity, "natural occlusion", shot)
        worn, kind = rng.random() < self.natural_share, rng.integers(1, len(OCCLUDERS))
        occluder = OCCLUDERS[kind] if worn else "none"
        return self.yaw, dict(yaw=self.yaw, occluder=occluder)


def plan_sets(plan: FacesPlan) -> list[SetSpec]:
    """Return the five sets of a plan; only ``train`` and ``closed`` share identities."""
    base = plan.seed * SEED_STEP
    people, shots = plan.train
    return [
        SetSpec("train", base + TRAINING, people, shots),
        SetSpec("closed", base + TRAINING, people, plan.closed_shots, first_shot=CLOSED_SHOT),
        SetSpec("validation", base + VALIDATION, *plan.validation),
        SetSpec(
            "templates", base + TEMPLATES, *plan.templates, yaw="wide", natural_share=NATURAL_SHARE
        ),
        SetSpec("ar", base + AR, plan.ar_identities, len(AR_SHOTS), ar=True),
    ]


@cache
def renderer_hash() -> str:
    """Return a hash of all that decides a rendered face: the renderer's code and its assets."""
    sources = [*sorted((PACKAGE / "faces").glob("*.py")), PACKAGE / "landmarks.py"]
    digest = hashlib.sha256(code_hash([*sources, Path(__file__)]).encode())
    digest.update((ASSETS / "head.npz").read_bytes())
    return digest.hexdigest()


def fingerprint(spec: SetSpec) -> str:
    """Return the content hash of a set: its specification and the renderer."""
    what = json.dumps([asdict(spec), renderer_hash()], sort_keys=True)
    return hashlib.sha256(what.encode()).hexdigest()


def set_folder(spec: SetSpec, root: Path) -> Path:
    """Return where a set lies: its name with the start of its fingerprint."""
    return root / f"{spec.name}-{fingerprint(spec)[:12]}"


def ensure_sets(
    plan: FacesPlan, root: Path, *, workers: int | None = None, progress: bool = True
) -> dict[str, FaceSet]:
    """Return the sets of a plan, rendering those that are not there yet."""
    return {
        spec.name: render_set(spec, set_folder(spec, root), workers=workers, progress=progress)
        for spec in plan_sets(plan)
    }


def columns(spec: SetSpec) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return the arrays of a set: name -> (shape of one row, type)."""
    words = max(len(word) for word in [*OCCLUDERS, *(name for name, _ in AR_SHOTS), spec.yaw])
    return {
        "images": ((112, 112, 3), "u1"),
        "parts": ((112, 112), "u1"),
        "landmarks": ((68, 2), "f4"),
        "visible": ((68,), "?"),
        "occluder_mask": ((112, 14), "u1"),  # packed bits
        "yaw": ((), "f4"),
        "pitch": ((), "f4"),
        "roll": ((), "f4"),
        "occluder": ((), f"U{words}"),
        "condition": ((), f"U{words}"),
        "shot": ((), "i8"),
        "identity": ((), "i8"),
        "identity_seed": ((), "i8"),
    }


def render_identity(spec: SetSpec, index: int) -> dict[str, np.ndarray]:
    """Render every shot of one identity of a set: the unit of work of one worker."""
    seed = spec.first + index
    identity, rows = build_identity(seed), []
    for place in range(spec.shots):
        shot = spec.first_shot + place
        condition, options = spec.shot_options(seed, place)
        found = render(identity, draw_shot(seed, shot, **options))
        rows.append(
            dict(
                images=found.image,
                parts=found.parts,
                landmarks=found.landmarks,
                visible=found.visible,
                occluder_mask=np.packbits(found.occluder_mask, axis=1),
                yaw=found.yaw,
                pitch=found.pitch,
                roll=found.roll,
                occluder=found.occluder,
                condition=condition,
                shot=shot,
                identity=index,
                identity_seed=seed,
            )
        )
    types = columns(spec)
    return {name: np.array([row[name] for row in rows], types[name][1]) for name in types}


def render_set(
    spec: SetSpec, folder: Path, *, workers: int | None = None, progress: bool = True
) -> FaceSet:
    """Load a set, or render it; a rendering that was cut short is continued.

    Images go to ``folder.partial`` identity by identity, with a journal of those that are done, and
    the folder gets its name when all are. The bytes do not depend on the number of workers.

    Args:
        spec: what to render.
        folder: where the set belongs.
        workers: processes; the cores this process may use if None.
        progress: show a progress bar with images/s.

    Raises:
        Stopped: on Ctrl-C; what is rendered is kept.
        OSError: if the folder cannot be written, or is there without a complete set.
    """
    if (folder / "set.json").exists():
        return load_set(folder)
    if folder.exists():
        # Found before rendering: the rename at the end would fail, with all the work done.
        raise FileExistsError(f"{folder} holds no complete data set: delete it and try again")
    require_writable(folder.parent)
    partial = folder.with_name(folder.name + ".partial")
    arrays, journal, done = _open_partial(spec, partial)
    kept = len(done)
    todo = [index for index in range(spec.identities) if index not in done]
    bar = tqdm(
        total=spec.identities * spec.shots,
        initial=len(done) * spec.shots,
        unit="img",
        desc=f"rendering {spec.name}",
        disable=not progress,
        mininterval=1.0,
    )
    try:
        for index, found in _render_all(spec, todo, workers):
            rows = slice(index * spec.shots, (index + 1) * spec.shots)
            for name, array in arrays.items():
                array[rows] = found[name]
            with open(journal, "a", encoding="utf-8") as file:
                file.write(f"{index}\n")
            kept += 1  # a disabled bar does not count
            bar.update(spec.shots)
    except KeyboardInterrupt:
        state = f"{kept * spec.shots} of {spec.identities * spec.shots} images are kept"
        raise Stopped(
            f"stopped rendering {spec.name!r}: {state}; run the same command again to go on"
        ) from None
    finally:
        bar.close()
    for array in arrays.values():
        array.flush()
    del arrays
    journal.unlink()
    (partial / "spec.json").unlink()
    write_record(partial, spec.name, fingerprint(spec))
    os.replace(partial, folder)
    return load_set(folder)


def _open_partial(spec: SetSpec, partial: Path) -> tuple[dict[str, np.memmap], Path, set[int]]:
    """Open the arrays of an unfinished set, or begin it anew; return what is done."""
    journal, note = partial / "done.txt", partial / "spec.json"
    if not (note.exists() and note.read_text(encoding="utf-8") == fingerprint(spec)):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    arrays = {}
    fresh = not note.exists()
    for name, (shape, kind) in columns(spec).items():
        shape = (spec.identities * spec.shots, *shape)
        mode = "w+" if fresh else "r+"
        arrays[name] = np.lib.format.open_memmap(
            partial / f"{name}.npy", mode, *(() if not fresh else (np.dtype(kind), shape))
        )
    note.write_text(fingerprint(spec), encoding="utf-8")
    journal.touch()
    whole = journal.read_bytes().rpartition(b"\n")
    os.truncate(journal, len(whole[0] + whole[1]))  # without a last line that was cut short
    return arrays, journal, {int(line) for line in whole[0].split()}


def _render_all(
    spec: SetSpec, todo: list[int], workers: int | None
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Yield the identities of a set as they are rendered, in order."""
    workers = min(workers or usable_cores(), len(todo))
    if workers <= 1:
        for index in todo:
            yield index, render_identity(spec, index)
        return
    # A fresh interpreter for each worker: forking a process with OpenMP threads can hang.
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    try:
        jobs = {index: pool.submit(render_identity, spec, index) for index in todo}
        for index in todo:
            yield index, jobs.pop(index).result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def render_benchmark(images: int = 2000, *, workers: int | None = None) -> str:
    """Render faces without keeping them and return speed and memory in words.

    Identity building and the start of the workers are counted, 40 images to an identity.

    Args:
        images: how many, rounded up to whole identities.
        workers: processes; the cores this process may use if None.
    """
    spec = SetSpec("benchmark", 40_000_000, -(-images // 40), 40)
    began, count, peak = time.perf_counter(), 0, 0
    process = psutil.Process()
    with tqdm(total=spec.identities * spec.shots, unit="img", desc="rendering") as bar:
        for _, found in _render_all(spec, list(range(spec.identities)), workers):
            count += len(found["images"])
            family = [process, *process.children(recursive=True)]
            peak = max(peak, sum(one.memory_info().rss for one in family if one.is_running()))
            bar.update(len(found["images"]))
    seconds = time.perf_counter() - began
    return (
        f"{count} images of {spec.identities} identities in {seconds:.1f} s: "
        f"{count / seconds:.0f} images/s, {peak / 2**20:.0f} MiB in all processes"
    )


@cache
def mean_frontal_face(identities: int = 60) -> np.ndarray:
    """Return the mean of plain frontal faces, (112, 112, 3) uint8: the ground of Figure 5."""
    total = np.zeros((112, 112, 3))
    for found in _frontal_faces(identities):
        total += found.image
    return (total / identities).round().astype(np.uint8)


def mean_frontal_landmarks(identities: int = 200) -> np.ndarray:
    """Return the mean landmarks of plain frontal faces made symmetric, (68, 2) float32 pixels.

    This is what ``ifr/assets/frontal68.npy`` holds.
    """
    mean = np.mean([found.landmarks for found in _frontal_faces(identities)], axis=0)
    return ((mean + mirror(mean, 112)) / 2).astype(np.float32)


def _frontal_faces(identities: int) -> Iterator:
    for seed in range(TRAINING, TRAINING + identities):
        shot = draw_shot(
            seed, CLOSED_SHOT - 1, yaw=0.0, expression="neutral", lighting="even", plain=True
        )
        yield render(build_identity(seed), shot)
