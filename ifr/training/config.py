"""What decides the weights of a training run, as plain values, and the key made of it."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import torch

from ifr import landmarks, losses, mesh, models, occlusion
from ifr.common import seeding
from ifr.common.files import code_hash
from ifr.datasets import FaceSet
from ifr.models import inputs as preprocess
from ifr.profiles import PRETRAIN, Profile, Variant

# The code that decides a network's weights.
CODE = [
    *(
        Path(module.__file__)
        for module in (landmarks, losses, mesh, occlusion, preprocess, seeding)
    ),
    *sorted(Path(models.__file__).parent.glob("*.py")),
    *(Path(__file__).with_name(f"{name}.py") for name in ("batches", "loop", "setup", "step")),
]


def training_config(
    profile: Profile, variant: Variant, seed: int, data: FaceSet, start: str | None
) -> dict:
    """Return all that decides the weights of a training run, and nothing else, as plain values."""
    optimisation = asdict(profile.optimisation)
    for irrelevant in ("checkpoint_seconds",):
        del optimisation[irrelevant]
    settings = {k: v for k, v in asdict(variant).items() if k not in ("name", "title")}
    settings["pretrain"] = variant.name == PRETRAIN.name  # it has a schedule of its own
    root = Path(__file__).parents[1]
    template = json.dumps(mesh.FaceMesh.frontal(112).points.tolist())  # masks are drawn on it
    config = dict(
        network=asdict(profile.network),
        optimisation=optimisation,
        variant=settings,
        seed=seed,
        data=data.fingerprint,
        start=start,
        template=digest(template),
        code={str(path.relative_to(root)): code_hash([path])[:16] for path in CODE},
    )
    return json.loads(json.dumps(config))  # as a checkpoint gives them back


def training_key(
    profile: Profile, variant: Variant, seed: int, data: FaceSet, start: str | None
) -> str:
    """Return the content hash of a training run."""
    return digest(json.dumps(training_config(profile, variant, seed, data, start), sort_keys=True))


def weights_digest(state: dict[str, torch.Tensor]) -> str:
    """Return a hash of tensors by name."""
    found = hashlib.sha256()
    for name in sorted(state):
        found.update(name.encode() + state[name].detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def digest(text: str) -> str:
    """Return a short hash of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
