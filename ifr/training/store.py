"""Trained networks on disk, found by the hash of all that decides them; many trained at once."""

import json
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError
from safetensors import safe_open
from safetensors.torch import load_file, save

from ifr.common import paths
from ifr.common.errors import OutOfTime, Stopped, UserError
from ifr.common.files import alone, code_hash, file_hash, value_hash, write_bytes, write_text
from ifr.common.hardware import begin_worker, usable_cores
from ifr.datasets import FaceSet
from ifr.mesh import FaceMesh
from ifr.models import InterpretableFaceNet, build_model, load_weights
from ifr.profiles import PRETRAIN, Profile, Variant, get_variant
from ifr.training.loop import network_settings, train
from ifr.training.session import Session, TrainingLog, hardware_of, interrupts, make_fabric

if TYPE_CHECKING:
    from lightning_fabric import Fabric

WEIGHTS, RECORD, CHECKPOINT = "weights.safetensors", "training.json", "checkpoint.pt"
# The code that decides a network's weights, as files and folders of the package. What only loads,
# shows or saves is left out: a change there retrains nothing.
DECIDES = [f"training/{name}" for name in ("batches", "loop", "step")]
DECIDES += ["common/seeding", "common/tensors", "landmarks", "mesh", "occlusion", "losses"]
DECIDES += ["models"]
BESIDE = ("__init__.py", "state.py")  # of those folders
Outcome = tuple[str, Exception | None]  # name of a variant, and what ended it


@cache
def code_hashes() -> dict[str, str]:
    """Return the hash of each file that decides a network's weights, by its name."""
    files = []
    for name in DECIDES:
        inside = sorted((paths.PACKAGE / name).glob("*.py")) or [paths.PACKAGE / f"{name}.py"]
        files += [path for path in inside if path.name not in BESIDE]
    return {str(path.relative_to(paths.PACKAGE)): code_hash([path])[:16] for path in files}


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
        self.config = self._config()
        asked = value_hash(self.config | dict(hardware=None))[:16]
        start = self.base and self.base.anywhere
        self.anywhere: str = value_hash(self.config | dict(hardware=None, start=start))  # made
        self.name = f"{self.profile.name}-{self.variant.name}-seed{self.seed}"
        self.folder = self._find(f"{self.name}-{asked}")
        self.key: str = self.folder.name.removeprefix(f"{self.name}-")

    def _config(self) -> dict:
        """Return all that decides the weights, and nothing else, as plain values."""
        network, variant = asdict(self.profile.network), asdict(self.variant)
        optimisation = asdict(self.profile.optimisation)
        for name in ("checkpoint_seconds", "precision"):  # what "auto" comes to is in the hardware
            del optimisation[name]
        del variant["name"], variant["title"]
        variant["pretrain"] = self.variant.name == PRETRAIN.name  # it has a schedule of its own
        template = value_hash(FaceMesh.frontal().points.tolist())[:16]  # masks are drawn on it
        config = dict(network=network, optimisation=optimisation, variant=variant, seed=self.seed)
        config |= dict(data=self.data.fingerprint, start=self.base and self.base.key)
        config |= dict(template=template, code=code_hashes(), hardware=self.hardware)
        return json.loads(json.dumps(config))  # as a checkpoint gives it

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
        if self.done:
            record = json.loads((self.folder / RECORD).read_text(encoding="utf-8"))
            return _rebuild(record, self.folder / WEIGHTS, self.folder)
        fabric = session.fabric or make_fabric(self.profile.optimisation.precision)
        session = replace(session, fabric=fabric)
        start = None if self.base is None else self.base.follow(session).model.state_dict()
        checkpoint, what = self.folder / CHECKPOINT, (self.variant, self.profile, self.data)
        kept: Any = dict(checkpoint=checkpoint, config=self.config, session=session)
        with self._alone(fabric, session):
            if self.done:  # by the process that was waited for
                return self.follow(session)
            model, log = train(*what, seed=self.seed, start=start, **kept)
            if fabric.is_global_zero:
                self._save(model, log)
                checkpoint.unlink(missing_ok=True)
            fabric.barrier()
        facts = (self.key, self.folder, False, log.seconds, self.data.fingerprint)
        return Trained(model, pd.DataFrame(log.history), *facts)

    @contextmanager
    def _alone(self, fabric: "Fabric", session: Session) -> Iterator[None]:
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
        classes = int(self.data.identity.max()) + 1
        record = dict(variant=self.variant.name, key=self.key, seed=self.seed, set=self.data.name)
        record |= dict(data=self.data.fingerprint, start=self.config["start"])
        record |= dict(seconds=log.seconds, history=log.history)
        record["network"] = network_settings(self.profile, self.variant, classes)
        record["input_size"] = self.profile.network.input_size
        state = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
        write_bytes(self.folder / WEIGHTS, save(state))
        write_text(self.folder / RECORD, json.dumps(record))


def train_variants(
    variants: Sequence[str | Variant],
    profile: Profile,
    data: FaceSet,
    *,
    seed: int = 0,
    session: Session | None = None,
) -> dict[str, Trained]:
    """Train or load several variants, on a CPU as many side by side as cores allow.

    The pretrained base comes first. A network trains on the ``threads`` of its profile, here as
    alone, so its weights do not depend on the number of cores. A variant that fails does not end
    the others: the error with the reasons comes last; Stopped, once all saved a checkpoint.
    """
    session = session or Session()
    recipes = [Recipe(as_variant(variant), profile, data, seed) for variant in variants]
    waiting = [recipe for recipe in recipes if not recipe.done]
    if any(recipe.variant != PRETRAIN for recipe in waiting):
        Recipe(PRETRAIN, profile, data, seed).follow(session)
    workers = min(len(waiting), usable_cores() // profile.optimisation.threads)
    beside = workers > 1 and not torch.cuda.is_available()
    one_by_one = (_outcome(recipe, session) for recipe in waiting)
    failed: dict[str, Exception] = {}
    for name, error in _side_by_side(waiting, session, workers) if beside else one_by_one:
        if isinstance(error, Stopped) and not beside:
            raise error
        if error is not None:
            failed[name] = error
    if failed:
        _raise(failed, len(variants))
    trained = {recipe: recipe.follow(session) for recipe in recipes}
    return {r.variant.name: replace(t, loaded=r not in waiting) for r, t in trained.items()}


def _side_by_side(recipes: list[Recipe], session: Session, workers: int) -> Iterator[Outcome]:
    """Follow each recipe in a fresh process; Ctrl-C here asks all of them to stop and save."""
    threads = recipes[0].profile.optimisation.threads
    with (
        tempfile.TemporaryDirectory() as folder,
        interrupts((stop := Path(folder) / "stop").touch) as stopped,
        parallel_config("loky", inner_max_num_threads=threads, initializer=begin_worker),
    ):
        watched = [replace(session, stop_file=stop, line=line) for line in range(len(recipes))]
        jobs = map(delayed(_outcome), recipes, watched)
        try:
            yield from Parallel(workers, return_as="generator_unordered", batch_size=1)(jobs)
        except TerminatedWorkerError as error:
            if not stopped():
                raise UserError(
                    "a training process was ended from outside, most likely for want of memory; "
                    f"checkpoints are kept: set OMP_NUM_THREADS below {usable_cores()} and run the "
                    "same command again"
                ) from error
        finally:
            get_reusable_executor().shutdown(wait=True)  # workers would hold memory for minutes
            if session.progress and sys.stderr.isatty():
                print("\n" * (len(recipes) - 1), file=sys.stderr)  # below the progress of all
    if stopped():
        raise Stopped("training is stopped and saved; run the same command again to go on")


def _outcome(recipe: Recipe, session: Session) -> Outcome:
    """Follow a recipe and return what ended it, with its traceback, which does not travel."""
    name = recipe.variant.name
    try:
        if session.reason_to_stop() is Stopped:
            raise Stopped(f"{name!r} is not begun")
        recipe.follow(session)
    except Exception as error:
        error.add_note(traceback.format_exc())
        return name, error
    return name, None


def _raise(failed: dict[str, Exception], count: int) -> None:
    """Raise one error for all variants that did not end well."""
    wrong = {name: error for name, error in failed.items() if not isinstance(error, Stopped)}
    if not wrong:
        late = (str(error) for error in failed.values() if isinstance(error, OutOfTime))
        raise OutOfTime("; ".join(late))
    reasons = "; ".join(f"{name}: {error}" for name, error in wrong.items())
    message = f"{len(wrong)} of {count} variants failed, the others are kept: {reasons}"
    if all(isinstance(error, UserError) for error in wrong.values()):
        raise UserError(message)
    raise ExceptionGroup(message, list(wrong.values()))


def as_variant(variant: str | Variant) -> Variant:
    """Return a variant, or ``"pretrain"``, by its name, or itself."""
    if isinstance(variant, Variant):
        return variant
    return PRETRAIN if variant == PRETRAIN.name else get_variant(variant)


def save_half(trained: Trained, path: Path, recipe: str) -> None:
    """Write a network in half precision with its record, to be kept with a reference run."""
    # Vectors, as of batch norm, take no space, and a small variance would be lost.
    kept = trained.model.state_dict().items()
    state = {name: (value.half() if value.ndim > 1 else value).contiguous() for name, value in kept}
    record = (trained.folder / RECORD).read_text(encoding="utf-8")
    write_bytes(path, save(state, metadata={"record": record, "recipe": recipe}))


def stand_in(variant: Variant, profile: Profile, data: FaceSet, seed: int) -> Trained | None:
    """Return the network kept with a reference, if of this very recipe and not trained here."""
    path = paths.reference_weights(profile.name) / f"{variant.name}.safetensors"
    if variant.name not in profile.kept or not path.exists():
        return None
    recipe = Recipe(variant, profile, data, seed)
    with safe_open(path, "pt") as file:
        same = file.metadata().get("recipe") == recipe.anywhere
    return load_half(variant.name, profile.name, seed) if same and not recipe.done else None


def load_half(variant: str, profile: str, seed: int = 0) -> Trained:
    """Return a network that is kept with the reference run of a profile, in float32."""
    folder = paths.reference_weights(profile)
    path = folder / f"{variant}.safetensors"
    if not path.exists():
        kept = ", ".join(sorted(file.stem for file in folder.glob("*.safetensors"))) or "none"
        lack = f"no {path}: of the reference run of profile {profile!r} these networks are kept"
        raise UserError(f"{lack}: {kept}; train this one with weights='trained'")
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
