"""Trained networks on disk: found by the content hash of all that decides their weights."""

import hashlib
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch
from lightning.fabric import Fabric
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ifr.common import paths
from ifr.datasets import FaceSet
from ifr.models import InterpretableFaceNet, build_model, load_weights
from ifr.profiles import PRETRAIN, Profile, Variant, get_variant
from ifr.training.config import training_config, training_key
from ifr.training.loop import train
from ifr.training.setup import build_network, make_fabric, network_settings


@dataclass(frozen=True)
class Trained:
    """A trained network with what is known of its training."""

    model: InterpretableFaceNet
    history: pd.DataFrame
    key: str
    folder: Path
    loaded: bool  # True when it was found, False when it was trained by this call
    seconds: float  # spent training, whenever that was


def train_or_load(
    variant: str | Variant,
    profile: Profile,
    data: FaceSet,
    *,
    seed: int = 0,
    progress: bool = True,
    fabric: Fabric | None = None,
    deadline: float | None = None,
) -> Trained:
    """Return the trained network of a variant: from disk when it was trained before, else train it.

    A variant starts from the common pretrained base, which is trained or loaded first. The folder
    is named by the content hash of all that decides the weights: data, network, optimisation,
    losses, seed and code.

    Args:
        variant: itself, or its name in ``ifr.profiles.VARIANTS``, or ``"pretrain"``.
        profile: the run size.
        data: training faces.
        seed: of everything random in training.
        progress: show progress bars.
        fabric: launched already, where several devices are used.
        deadline: on the monotonic clock, when training stops cleanly, to go on another time.

    Raises:
        Stopped: on Ctrl-C, or at the deadline.
    """
    if isinstance(variant, str):
        variant = PRETRAIN if variant == PRETRAIN.name else get_variant(variant)
    fabric = fabric or make_fabric(profile.optimisation.precision)
    begin = dict(seed=seed, progress=progress, fabric=fabric, deadline=deadline)
    start = start_key = None
    if variant != PRETRAIN:
        base = train_or_load(PRETRAIN, profile, data, **begin)
        start, start_key = base.model.state_dict(), base.key
    config = training_config(profile, variant, seed, data, start_key)
    key = training_key(profile, variant, seed, data, start_key)
    folder = paths.models() / f"{profile.name}-{variant.name}-seed{seed}-{key}"
    weights, record = folder / "weights.safetensors", folder / "training.json"
    classes = int(data.identity.max()) + 1
    if record.exists():
        return replace(_load(folder, build_network(profile, variant, classes, seed)), key=key)
    paths.require_writable(folder)
    checkpoint = folder / "checkpoint.pt"
    model, done = train(
        variant, profile, data, start=start, checkpoint=checkpoint, config=config, **begin
    )
    if fabric.is_global_zero:
        state = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
        save_file(state, weights.with_suffix(".partial"))
        os.replace(weights.with_suffix(".partial"), weights)
        known = dict(
            variant=variant.name,
            key=key,
            seed=seed,
            seconds=done.seconds,
            data=data.fingerprint,
            start=start_key,
            network=network_settings(profile, variant, classes),
            input_size=profile.network.input_size,
            history=done.history,
        )
        record.with_suffix(".partial").write_text(json.dumps(known))
        os.replace(record.with_suffix(".partial"), record)
        checkpoint.unlink(missing_ok=True)
    fabric.barrier()
    return Trained(model, pd.DataFrame(done.history), key, folder, False, done.seconds)


def save_half(trained: Trained, path: Path) -> None:
    """Write a network in half precision with its record, to be kept with a reference run.

    Weights become float16; vectors, such as the statistics of batch norm, stay float32, because
    they take no space and a small variance would be lost.
    """
    state = {
        name: (value.half() if value.ndim > 1 else value).contiguous()
        for name, value in trained.model.state_dict().items()
    }
    record = (trained.folder / "training.json").read_text()
    temporary = path.with_suffix(".partial")
    save_file(state, temporary, metadata={"record": record})
    os.replace(temporary, path)


def load_half(variant: str, profile: str) -> Trained:
    """Return a network that is kept with the reference run of a profile, in float32.

    Raises:
        FileNotFoundError: if none is kept, naming those that are.
    """
    folder = paths.reference_weights(profile)
    path = folder / f"{variant}.safetensors"
    if not path.exists():
        kept = ", ".join(sorted(found.stem for found in folder.glob("*.safetensors"))) or "none"
        raise FileNotFoundError(
            f"no {path}: of the reference run of profile {profile!r} these networks are kept: "
            f"{kept}; train this one with weights='trained'"
        )
    key = f"reference-{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
    with safe_open(path, "pt") as file:
        record = json.loads(file.metadata()["record"])
    model = build_model(**record["network"])
    state = {name: value.to(_float(value)) for name, value in load_file(path).items()}
    load_weights(model, state, source=str(path))
    history = pd.DataFrame(record["history"])
    cache = paths.models() / f"{profile}-{variant}-{key}"
    return Trained(model.eval(), history, key, cache, True, record["seconds"])


def _float(value: torch.Tensor) -> torch.dtype:
    return torch.float32 if value.is_floating_point() else value.dtype


def _load(folder: Path, model: InterpretableFaceNet) -> Trained:
    weights, record = folder / "weights.safetensors", folder / "training.json"
    load_weights(model, load_file(weights), source=str(weights))
    known = json.loads(record.read_text())
    history = pd.DataFrame(known["history"])
    return Trained(model.eval(), history, known["key"], folder, True, known["seconds"])
