"""Variants trained side by side, a process each, after the pretrained base they all start from."""

import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError

from ifr.common.errors import OutOfTime, Stopped, UserError
from ifr.common.hardware import end_with_parent, usable_cores
from ifr.datasets import FaceSet
from ifr.profiles import PRETRAIN, Profile, Variant
from ifr.training.session import Session, interrupts
from ifr.training.store import Recipe, Trained, as_variant

Outcome = tuple[str, Exception | None]  # name of a variant, and what ended it


def train_variants(
    variants: Sequence[str | Variant],
    profile: Profile,
    data: FaceSet,
    *,
    seed: int = 0,
    progress: bool = True,
    deadline: float | None = None,
) -> dict[str, Trained]:
    """Train or load several variants, on a CPU as many side by side as cores allow.

    The pretrained base comes first. A network trains on the ``threads`` of its profile, here as
    alone, so its weights do not depend on the number of cores. A variant that fails does not end
    the others: the error with the reasons comes last; Stopped, once all saved a checkpoint.
    """
    recipes = [Recipe(as_variant(variant), profile, data, seed) for variant in variants]
    waiting = [recipe for recipe in recipes if not recipe.done]
    session = Session(progress=progress, deadline=deadline)
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
        interrupts((Path(folder) / "stop").touch) as stopped,
        parallel_config("loky", inner_max_num_threads=threads, initializer=end_with_parent),
    ):
        watched = partial(replace, session, stop_file=Path(folder) / "stop")
        jobs = (delayed(_outcome)(one, watched(line=k)) for k, one in enumerate(recipes))
        parallel = Parallel(n_jobs=workers, batch_size=1, return_as="generator_unordered")
        try:
            yield from parallel(jobs)
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
    if session.stop_file is not None and session.stop_file.exists():
        return name, Stopped(f"{name!r} is not begun")
    try:
        recipe.follow(session)
    except Exception as error:
        error.add_note(traceback.format_exc())
        return name, error
    return name, None


def _raise(failed: dict[str, Exception], count: int) -> None:
    """Raise one error for all variants that did not end well."""
    wrong = {name: error for name, error in failed.items() if not isinstance(error, Stopped)}
    if not wrong:
        late = (error for error in failed.values() if isinstance(error, OutOfTime))
        raise OutOfTime("; ".join(map(str, late)))
    reasons = "; ".join(f"{name}: {error}" for name, error in wrong.items())
    message = f"{len(wrong)} of {count} variants failed, the others are kept: {reasons}"
    if all(isinstance(error, UserError) for error in wrong.values()):
        raise UserError(message)
    raise ExceptionGroup(message, list(wrong.values()))
