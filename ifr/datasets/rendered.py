"""The procedural data sets: which people each holds, and how they get onto the disk."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from ifr import __version__
from ifr.common.files import code_hash, file_hash, value_hash, write_text
from ifr.common.paths import ASSETS, PACKAGE
from ifr.datasets.face_set import FaceSet, load_set
from ifr.datasets.rendered_people import AR_SHOTS, COLUMNS, IMAGE_BYTES, SetSpec, render_identity
from ifr.datasets.shards import Work, make_set
from ifr.faces import build_identity, draw_shot, render
from ifr.landmarks import CROP
from ifr.profiles import FacesPlan

# First identity seed of each group; the groups are too far apart to meet.
TRAINING, VALIDATION, TEMPLATES, AR = 0, 10_000_000, 20_000_000, 30_000_000
CLOSED_SHOT = 100_000  # shots of training identities that no training set reaches
SEED_STEP = 100_000_000  # between the identities of one plan seed and the next
# What training meets, and so every variant alike: a little of what people wear, and of studios.
MET: dict[str, Any] = dict(light_share=0.05, studio_share=0.2)
NATURAL = 0.4  # share of template shots that carry an occluder
TWIN_SHOT = 500_000  # shot number of the pairs, which no data set reaches
STUDIO: dict[str, Any] = dict(expression="neutral", lighting="even", sharp=True)


def plan_sets(plan: FacesPlan) -> list[SetSpec]:
    """Return the five sets of a plan; only ``train`` and ``closed`` share identities."""
    base, people = plan.seed * SEED_STEP, plan.train[0]
    return [
        SetSpec("train", base + TRAINING, *plan.train, **MET),
        SetSpec("closed", base + TRAINING, people, plan.closed_shots, CLOSED_SHOT, **MET),
        SetSpec("validation", base + VALIDATION, *plan.validation, **MET),
        SetSpec("templates", base + TEMPLATES, *plan.templates, yaw="wide", natural_share=NATURAL),
        SetSpec("ar", base + AR, plan.ar_identities, len(AR_SHOTS), ar=True),
    ]


@cache
def renderer_hash(package: Path = PACKAGE) -> str:
    """Return a hash of all that decides a rendered face: code, less its comments, and assets."""
    faces = sorted((package / "faces").glob("*.py"))
    others = ("landmarks.py", "common/seeding.py", "datasets/rendered_people.py")
    code = code_hash([*faces, *(package / name for name in others)])
    assets = [file_hash(package / "assets" / name) for name in ("head.npz", "faces.json")]
    return value_hash([code, *assets])


def fingerprint(spec: SetSpec) -> str:
    """Return the content hash of a set: its specification and the renderer."""
    return value_hash([asdict(spec), renderer_hash()])


def set_folder(spec: SetSpec, root: Path) -> Path:
    """Return where a set lies: its name with the start of its fingerprint."""
    return root / f"{spec.name}-{fingerprint(spec)[:12]}"


def ensure_sets(plan: FacesPlan, root: Path, *, progress: bool = True) -> dict[str, FaceSet]:
    """Return the sets of a plan, rendering those that are not there yet."""
    specs = plan_sets(plan)
    return {s.name: render_set(s, set_folder(s, root), progress=progress) for s in specs}


def render_set(
    spec: SetSpec, folder: Path, *, workers: int | None = None, progress: bool = True
) -> FaceSet:
    """Load a set, or render it with :func:`ifr.datasets.shards.make_set`, a person a block."""
    names = spec.name, fingerprint(spec), f"rendering {spec.name}"
    sizes = spec.identities * spec.shots, spec.shots, IMAGE_BYTES
    tasks = (partial(render_identity, spec, index) for index in range(spec.identities))
    work = Work(*names, *sizes, tuple(COLUMNS), tasks, partial(write_croissant, spec))
    make_set(folder, work, workers, progress)
    return load_set(folder)


def write_croissant(spec: SetSpec, folder: Path, _: Sequence[Path] = ()) -> None:
    """Write ``croissant.json``: what the arrays in the folder are, in ML Commons' format."""
    about = json.loads((ASSETS / "croissant.json").read_text(encoding="utf-8"))
    about |= dict(name=f"{spec.name}-{fingerprint(spec)[:12]}", version=__version__)
    about["description"] += f" This set: {spec.identities} people in {spec.shots} shots each."
    for row in about["recordSet"][0]["data"]:
        path = folder / f"{row['arrays/name']}.npy"
        array = np.load(path, mmap_mode="r")
        row |= {"arrays/type": array.dtype.str, "arrays/shape": " × ".join(map(str, array.shape))}
        size = dict(contentSize=f"{path.stat().st_size} B", sha256=file_hash(path))
        file = {"@type": "cr:FileObject", "@id": path.name, "name": path.name, **size}
        file |= dict(contentUrl=path.name, encodingFormat="application/octet-stream")
        about["distribution"].append(file | dict(description=row["arrays/content"]))
    write_text(folder / "croissant.json", json.dumps(about, indent=1) + "\n")


@dataclass(frozen=True, eq=False)
class OccludedPairs:
    """Faces photographed twice, without and with an occluder, all else alike."""

    clean: FaceSet
    occluded: FaceSet
    masks: np.ndarray  # (N, 96, 96) bool, where the occluder colours the crop


def render_occluded_pairs(
    identity_seeds: np.ndarray, occluder: str, *, yaw: float | str = 0.0
) -> OccludedPairs:
    """Photograph people without and with one of ``OCCLUDERS``, at a yaw or ``YAWS`` (Fig. 1)."""
    seeds = [int(seed) for seed in identity_seeds]
    people, sets, rows = [build_identity(seed) for seed in seeds], [], np.arange(len(seeds))
    for kind in ("none", occluder):
        shots = [draw_shot(seed, TWIN_SHOT, yaw=yaw, occluder=kind, **STUDIO) for seed in seeds]
        faces = [render(person, shot) for person, shot in zip(people, shots, strict=True)]
        names = ("image", "landmarks", "occluder_mask")
        images, landmarks, masks = (np.stack([getattr(x, name) for x in faces]) for name in names)
        key = value_hash([seeds, kind, yaw, TWIN_SHOT, renderer_hash()])
        sets.append(FaceSet(f"pairs {kind}", images, rows, landmarks, fingerprint=key))
    return OccludedPairs(sets[0], sets[1], masks[:, CROP, CROP])
