"""Trained networks on disk: found by the content hash of all that decides their weights."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lightning_fabric import Fabric
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ifr.common import paths
from ifr.common.errors import UserError
from ifr.common.files import file_hash, value_hash, write_text, written_whole
from ifr.datasets import FaceSet
from ifr.models import InterpretableFaceNet, build_model, load_weights
from ifr.profiles import PRETRAIN, Profile, Variant, get_variant
from ifr.training.checkpoint import TrainingLog
from ifr.training.config import training_config
from ifr.training.loop import train
from ifr.training.session import Session
from ifr.training.setup import make_fabric, network_settings

WEIGHTS, RECORD = "weights.safetensors", "training.json"


@dataclass(frozen=True)
class Trained:
    """A trained network with what is known of its training."""

    model: InterpretableFaceNet
    history: pd.DataFrame
    key: str
    folder: Path
    loaded: bool  # True when it was found, False when it was trained by this call
    seconds: float  # spent training, whenever that was


@dataclass(eq=False)
class Recipe:
    """All that decides the weights of one network, and the folder that is named by its hash."""

    variant: Variant
    profile: Profile
    data: FaceSet
    seed: int = 0

    def __post_init__(self) -> None:
        pretrains = self.variant == PRETRAIN  # the common base that the others start from, Sec. 3.3
        self.base: Recipe | None = None if pretrains else replace(self, variant=PRETRAIN)
        start = None if self.base is None else self.base.key
        self.config = training_config(self.profile, self.variant, self.seed, self.data, start)
        self.key: str = value_hash(self.config)[:16]
        name = f"{self.profile.name}-{self.variant.name}-seed{self.seed}-{self.key}"
        self.folder = paths.models() / name

    def follow(self, session: Session) -> Trained:
        """Load the network, or train it and its base as a session says."""
        folder, profile, data = self.folder, self.profile, self.data
        if (folder / RECORD).exists():
            record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            return _rebuild(record, folder / WEIGHTS, folder)
        fabric = session.fabric or make_fabric(profile.optimisation.precision)
        session = replace(session, fabric=fabric)
        start = None if self.base is None else self.base.follow(session).model.state_dict()
        checkpoint = paths.require_writable(folder) / "checkpoint.pt"
        kept: Any = dict(checkpoint=checkpoint, config=self.config, session=session)
        model, log = train(self.variant, profile, data, seed=self.seed, start=start, **kept)
        if fabric.is_global_zero:
            self._save(model, log)
            checkpoint.unlink(missing_ok=True)
        fabric.barrier()
        return Trained(model, pd.DataFrame(log.history), self.key, folder, False, log.seconds)

    def _save(self, model: InterpretableFaceNet, log: TrainingLog) -> None:
        """Write the weights, and last the record that says they are there."""
        record = dict(variant=self.variant.name, key=self.key, seed=self.seed)
        record |= dict(seconds=log.seconds, history=log.history, start=self.config["start"])
        classes = int(self.data.identity.max()) + 1
        record["network"] = network_settings(self.profile, self.variant, classes)
        record |= dict(data=self.data.fingerprint, input_size=self.profile.network.input_size)
        state = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
        with written_whole(self.folder / WEIGHTS) as temporary:
            save_file(state, temporary)
        write_text(self.folder / RECORD, json.dumps(record))


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

    So is first the base it starts from. Several devices need a launched ``fabric``; at the
    ``deadline``, on the monotonic clock, training raises OutOfTime, to go on another time.
    """
    recipe = Recipe(as_variant(variant), profile, data, seed)
    return recipe.follow(Session(fabric, progress, deadline))


def as_variant(variant: str | Variant) -> Variant:
    """Return a variant, or ``"pretrain"``, by its name, or itself."""
    if isinstance(variant, Variant):
        return variant
    return PRETRAIN if variant == PRETRAIN.name else get_variant(variant)


def save_half(trained: Trained, path: Path) -> None:
    """Write a network in half precision with its record, to be kept with a reference run."""
    # Vectors, as of batch norm, take no space, and a small variance would be lost.
    kept = trained.model.state_dict().items()
    state = {name: (value.half() if value.ndim > 1 else value).contiguous() for name, value in kept}
    record = (trained.folder / RECORD).read_text(encoding="utf-8")
    with written_whole(path) as temporary:
        save_file(state, temporary, metadata={"record": record})


def load_half(variant: str, profile: str) -> Trained:
    """Return a network that is kept with the reference run of a profile, in float32."""
    folder = paths.reference_weights(profile)
    path = folder / f"{variant}.safetensors"
    if not path.exists():
        kept = ", ".join(sorted(file.stem for file in folder.glob("*.safetensors"))) or "none"
        raise UserError(
            f"no {path}: of the reference run of profile {profile!r} these networks are kept: "
            f"{kept}; train this one with weights='trained'"
        )
    with safe_open(path, "pt") as file:
        record = json.loads(file.metadata()["record"])
    key = f"reference-{file_hash(path)[:16]}"
    return _rebuild(record | dict(key=key), path, paths.models() / f"{profile}-{variant}-{key}")


def _rebuild(record: dict, weights: Path, folder: Path) -> Trained:
    """Return the network of a record, in float32."""
    with torch.random.fork_rng(devices=[]):  # drawn weights are replaced at once
        model = build_model(**record["network"])
    load_weights(model, load_file(weights), source=str(weights))  # which widens half precision
    history = pd.DataFrame(record["history"])
    return Trained(model.eval(), history, record["key"], folder, True, record["seconds"])
