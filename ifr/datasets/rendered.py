"""The procedural data sets: which people each holds, and how they get onto the disk."""

from dataclasses import asdict
from functools import cache, partial
from pathlib import Path

from ifr.common.files import code_hash, file_hash, value_hash
from ifr.common.paths import PACKAGE
from ifr.datasets.face_set import FaceSet, load_set
from ifr.datasets.rendered_people import AR_SHOTS, COLUMNS, IMAGE_BYTES, SetSpec, render_identity
from ifr.datasets.shards import Work, make_set
from ifr.profiles import FacesPlan

# First identity seed of each group; the groups are too far apart to meet.
TRAINING, VALIDATION, TEMPLATES, AR = 0, 10_000_000, 20_000_000, 30_000_000
CLOSED_SHOT = 100_000  # shots of training identities that no training set reaches
SEED_STEP = 100_000_000  # between the identities of one plan seed and the next
NATURAL = 0.4  # share of template shots that carry an occluder


def plan_sets(plan: FacesPlan) -> list[SetSpec]:
    """Return the five sets of a plan; only ``train`` and ``closed`` share identities."""
    base, people = plan.seed * SEED_STEP, plan.train[0]
    return [
        SetSpec("train", base + TRAINING, *plan.train),
        SetSpec("closed", base + TRAINING, people, plan.closed_shots, first_shot=CLOSED_SHOT),
        SetSpec("validation", base + VALIDATION, *plan.validation),
        SetSpec("templates", base + TEMPLATES, *plan.templates, yaw="wide", natural_share=NATURAL),
        SetSpec("ar", base + AR, plan.ar_identities, len(AR_SHOTS), ar=True),
    ]


@cache
def renderer_hash(package: Path = PACKAGE) -> str:
    """Return a hash of all that decides a rendered face: code, less its comments, and assets."""
    faces = sorted(set((package / "faces").glob("*.py")) - {package / "faces/contact_sheet.py"})
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
    make_set(folder, Work(*names, *sizes, tuple(COLUMNS), tasks), workers, progress)
    return load_set(folder)
