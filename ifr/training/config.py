"""What decides the weights of a training run, as plain values."""

import json
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from ifr.common.files import code_hash, value_hash
from ifr.common.paths import PACKAGE
from ifr.datasets import FaceSet
from ifr.mesh import FaceMesh
from ifr.profiles import PRETRAIN, Profile, Variant

# The code that decides a network's weights, as files and folders of the package. What only loads,
# shows or saves is left out: a change there retrains nothing.
DECIDES = [f"training/{name}" for name in ("batches", "loop", "setup", "step")]
DECIDES += [
    "common/seeding",
    "common/tensors",
    "landmarks",
    "mesh",
    "occlusion",
    "losses",
    "models",
]
BESIDE = ("__init__.py", "state.py")  # of those folders


def code_files() -> list[Path]:
    """Return the files that decide a network's weights."""
    files = []
    for name in DECIDES:
        inside = sorted((PACKAGE / name).glob("*.py"))
        files += [path for path in inside if path.name not in BESIDE] or [PACKAGE / f"{name}.py"]
    return files


@cache
def code_hashes() -> dict[str, str]:
    """Return the hash of each file that decides a network's weights, by its name."""
    return {str(path.relative_to(PACKAGE)): code_hash([path])[:16] for path in code_files()}


def training_config(
    profile: Profile,
    variant: Variant,
    seed: int,
    data: FaceSet,
    start: str | None,
    hardware: dict[str, Any],
) -> dict:
    """Return all that decides the weights of a training run, and nothing else."""
    config: dict[str, Any] = dict(network=asdict(profile.network))
    config["optimisation"] = asdict(profile.optimisation)
    for name in ("checkpoint_seconds", "precision"):  # what "auto" comes to is in the hardware
        del config["optimisation"][name]
    config["variant"] = {k: v for k, v in asdict(variant).items() if k not in ("name", "title")}
    config["variant"]["pretrain"] = variant.name == PRETRAIN.name  # it has a schedule of its own
    template = value_hash(FaceMesh.frontal().points.tolist())[:16]  # masks are drawn on it
    config |= dict(seed=seed, data=data.fingerprint, start=start, template=template)
    config |= dict(code=code_hashes(), hardware=hardware)
    return json.loads(json.dumps(config))  # as a checkpoint gives it
