"""Trained networks on disk: found by the content hash of all that decides their weights."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lightning_fabric import Fabric
from safetensors import safe_open
from safetensors.torch import load_file, save

from ifr.common import paths
from ifr.common.errors import UserError
from ifr.common.files import alone, file_hash, value_hash, write_bytes, write_text
from ifr.datasets import FaceSet
from ifr.models import InterpretableFaceNet, build_model, load_weights
from ifr.profiles import PRETRAIN, Profile, Variant, get_variant
from ifr.training.checkpoint import TrainingLog
from ifr.training.config import training_config
from ifr.training.loop import train
from ifr.training.session import Session
from ifr.training.setup import hardware_of, make_fabric, network_settings

WEIGHTS, RECORD, CHECKPOINT = "weights.safetensors", "training.json", "checkpoint.pt"


@dataclass(frozen=True)
class Trained:
    """A trained network with what is known of its training."""

    model: InterpretableFaceNet
    history: pd.DataFrame
    key: str
    folder: Path
    loaded: bool  # True when it was found, False when it was trained by this call
    seconds: float  # spent training, whenever that was
    data: str  # fingerprint of the set it was trained on


@dataclass(eq=False)
class Recipe:
    """All that decides the weights of one network, and the folder that is named by its hash."""

    variant: Variant
    profile: Profile
    data: FaceSet
    seed: int = 0
    hardware: dict[str, Any] | None = None  # see ``hardware_of``; one process here if None

    def __post_init__(self) -> None:
        if not self.data.fingerprint.partition(":")[0]:
            remedy = "give FaceSet a fingerprint to tell its networks from those of other faces"
            raise UserError(f"set {self.data.name!r} has no fingerprint: {remedy}")
        if self.hardware is None:
            self.hardware = hardware_of(make_fabric(self.profile.optimisation.precision))
        pretrains = self.variant == PRETRAIN  # the common base that the others start from, Sec. 3.3
        self.base: Recipe | None = None if pretrains else replace(self, variant=PRETRAIN)
        what = (self.profile, self.variant, self.seed, self.data)
        start = None if self.base is None else self.base.key
        self.config = training_config(*what, start, self.hardware)
        asked = value_hash(self.config | dict(hardware=None))[:16]
        self.name = f"{self.profile.name}-{self.variant.name}-seed{self.seed}"
        self.folder = self._find(f"{self.name}-{asked}")
        self.key: str = self.folder.name.removeprefix(f"{self.name}-")

    def _find(self, name: str) -> Path:
        """Return the folder of the network on this hardware, or of one made on other hardware."""
        own = "{processes}x{device}-{precision}".format_map(self.config["hardware"])
        folder, others = paths.models() / f"{name}-{own}", []
        if not (folder / RECORD).exists():
            others = [path for path in sorted(paths.models().glob(f"{name}-*")) if path != folder]
        made = [path for path in others if (path / RECORD).exists()]
        if len(made) == 1:
            return made[0]
        if begun := made or [path for path in others if (path / CHECKPOINT).exists()]:
            there = " and ".join(path.name.removeprefix(f"{name}-") for path in begun)
            fault = f"{begun[0]} was begun with {there} (processes x device-precision), this is"
            raise UserError(f"{fault} {own}: go on as it was begun, or delete it")
        return folder

    def require(self) -> None:
        """Refuse a network that is not trained yet, naming those that may be mistaken for it."""
        if self.done:
            return
        others = [
            f"{path.parent.name} (on {json.loads(path.read_text(encoding='utf-8')).get('set')})"
            for path in sorted(paths.models().glob(f"{self.name}-*/{RECORD}"))
        ]
        wanted = f"{self.name}-… of set {self.data.name!r} is not in {paths.models()}"
        there = ", ".join(others) or "nothing of that name"
        raise UserError(f"{wanted}: ifr train trains it; of other data or code is there: {there}")

    @property
    def done(self) -> bool:
        """Whether the network is trained."""
        return (self.folder / RECORD).exists()

    def follow(self, session: Session) -> Trained:
        """Load the network, or train it and its base as a session says."""
        folder, profile, data = self.folder, self.profile, self.data
        if self.done:
            record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            return _rebuild(record, folder / WEIGHTS, folder)
        fabric = session.fabric or make_fabric(profile.optimisation.precision)
        session = replace(session, fabric=fabric)
        start = None if self.base is None else self.base.follow(session).model.state_dict()
        checkpoint = folder / CHECKPOINT
        kept: Any = dict(checkpoint=checkpoint, config=self.config, session=session)
        with self._alone(fabric, session):
            if self.done:  # by the process that was waited for
                return self.follow(session)
            model, log = train(self.variant, profile, data, seed=self.seed, start=start, **kept)
            if fabric.is_global_zero:
                self._save(model, log)
                checkpoint.unlink(missing_ok=True)
            fabric.barrier()
        history = pd.DataFrame(log.history)
        return Trained(model, history, self.key, folder, False, log.seconds, data.fingerprint)

    @contextmanager
    def _alone(self, fabric: Fabric, session: Session) -> Iterator[None]:
        """Be the only run that trains this network: its first process waits, the rest for it."""
        with ExitStack() as stack:
            if fabric.is_global_zero:
                stack.enter_context(alone(self.folder / "training.lock", session.while_waiting))
                for left in self.folder.glob("*.partial"):  # of a run that was killed
                    left.unlink()
            fabric.barrier()
            yield

    def _save(self, model: InterpretableFaceNet, log: TrainingLog) -> None:
        """Write the weights, and last the record that says they are there."""
        record = dict(variant=self.variant.name, key=self.key, seed=self.seed)
        record |= dict(seconds=log.seconds, history=log.history, start=self.config["start"])
        classes = int(self.data.identity.max()) + 1
        record["network"] = network_settings(self.profile, self.variant, classes)
        record |= dict(data=self.data.fingerprint, set=self.data.name)
        record |= dict(input_size=self.profile.network.input_size)
        state = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
        write_bytes(self.folder / WEIGHTS, save(state))
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
    hardware = None if fabric is None else hardware_of(fabric)
    recipe = Recipe(as_variant(variant), profile, data, seed, hardware)
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
    write_bytes(path, save(state, metadata={"record": record}))


def load_half(variant: str, profile: str, seed: int = 0) -> Trained:
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
    if record["seed"] != seed:
        raise UserError(f"{path} is of seed {record['seed']}, not {seed}: take that seed")
    key = f"reference-{file_hash(path)[:16]}"
    return _rebuild(record | dict(key=key), path, paths.models() / f"{profile}-{variant}-{key}")


def _rebuild(record: dict, weights: Path, folder: Path) -> Trained:
    """Return the network of a record, in float32."""
    with torch.random.fork_rng(devices=[]):  # drawn weights are replaced at once
        model = build_model(**record["network"])
    load_weights(model, load_file(weights), source=str(weights))  # which widens half precision
    history, facts = pd.DataFrame(record["history"]), (record["seconds"], record["data"])
    return Trained(model.eval(), history, record["key"], folder, True, *facts)
