"""Trained networks on disk: found by the content hash of all that decides their weights."""

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from lightning.fabric import Fabric
from safetensors.torch import load_file, save_file

from ifr import paths
from ifr.datasets import FaceSet
from ifr.models import InterpretableFaceNet, load_weights
from ifr.profiles import PRETRAIN, Profile, Variant, get_variant
from ifr.training.facts import training_facts, training_key
from ifr.training.loop import train
from ifr.training.setup import make_fabric, network_of, network_settings


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
    facts = training_facts(profile, variant, seed, data, start_key)
    key = training_key(profile, variant, seed, data, start_key)
    folder = paths.models() / f"{profile.name}-{variant.name}-seed{seed}-{key}"
    weights, record = folder / "weights.safetensors", folder / "training.json"
    classes = int(data.identity.max()) + 1
    if record.exists():
        return replace(_load(folder, network_of(profile, variant, classes, seed)), key=key)
    paths.require_writable(folder)
    checkpoint = folder / "checkpoint.pt"
    model, done = train(variant, profile, data, start=start, checkpoint=checkpoint, facts=facts,
                        **begin)  # fmt: skip
    if fabric.is_global_zero:
        state = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
        save_file(state, weights.with_suffix(".partial"))
        os.replace(weights.with_suffix(".partial"), weights)
        known = dict(variant=variant.name, key=key, seed=seed, seconds=done.seconds,
                     data=data.fingerprint, start=start_key,
                     network=network_settings(profile, variant, classes),
                     input_size=profile.network.input_size, history=done.history)  # fmt: skip
        record.with_suffix(".partial").write_text(json.dumps(known))
        os.replace(record.with_suffix(".partial"), record)
        checkpoint.unlink(missing_ok=True)
    fabric.barrier()
    return Trained(model, pd.DataFrame(done.history), key, folder, False, done.seconds)


def _load(folder: Path, model: InterpretableFaceNet) -> Trained:
    weights, record = folder / "weights.safetensors", folder / "training.json"
    load_weights(model, load_file(weights), source=str(weights))
    known = json.loads(record.read_text())
    history = pd.DataFrame(known["history"])
    return Trained(model.eval(), history, known["key"], folder, True, known["seconds"])
