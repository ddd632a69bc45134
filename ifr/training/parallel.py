"""Variants trained side by side, a process each, after the pretrained base they all start from."""

import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError

from ifr.common.errors import OutOfTime, Stopped, UserError
from ifr.common.hardware import usable_cores
from ifr.datasets import FaceSet
from ifr.profiles import PRETRAIN, Profile, Variant
from ifr.training.session import Interrupts, Session
from ifr.training.store import Recipe, Trained, as_variant, follow

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
    alone, so its weights do not depend on the number of cores. The processes map the same file of
    faces. A variant that fails does not end the others. On a GPU they train one after the other.

    Args:
        variants: themselves, or their names.
        profile: the run size.
        data: training faces.
        seed: of everything random in training.
        progress: show how far each is.
        deadline: on the monotonic clock, when all stop cleanly.

    Returns:
        The networks by name, in the order given.

    Raises:
        Stopped: on Ctrl-C, once all have saved a checkpoint; OutOfTime at the deadline.
        UserError: if variants failed, once the others are trained, with the reason of each.
    """
    recipes = [Recipe(as_variant(variant), profile, data, seed) for variant in variants]
    waiting = [recipe for recipe in recipes if not recipe.is_trained]
    session = Session(progress=progress, deadline=deadline)
    if any(recipe.variant != PRETRAIN for recipe in waiting):
        follow(Recipe(PRETRAIN, profile, data, seed), session)
    workers = min(len(waiting), usable_cores() // profile.optimisation.threads)
    beside = workers > 1 and not torch.cuda.is_available()
    outcomes = _side_by_side(waiting, session, workers) if beside else _in_turn(waiting, session)
    failed = {name: error for name, error in outcomes if error is not None}
    if failed:
        _raise(failed, len(variants))
    names = {recipe.variant.name for recipe in waiting}
    trained = {recipe.variant.name: follow(recipe, session) for recipe in recipes}
    return {name: replace(one, loaded=name not in names) for name, one in trained.items()}


def _in_turn(recipes: list[Recipe], session: Session) -> Iterator[Outcome]:
    for recipe in recipes:
        name, error = _outcome(recipe, session)
        if isinstance(error, Stopped):
            raise error
        yield name, error


def _side_by_side(recipes: list[Recipe], session: Session, workers: int) -> Iterator[Outcome]:
    """Follow each recipe in a fresh process; Ctrl-C here asks all of them to stop and save."""
    threads = recipes[0].profile.optimisation.threads
    # A Ctrl-C in a terminal reaches the processes, too: they leave it to this one.
    ignore = dict(initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN))
    with (
        tempfile.TemporaryDirectory() as folder,
        Interrupts(then=(Path(folder) / "stop").touch) as interrupts,
        parallel_config("loky", inner_max_num_threads=threads, **ignore),
    ):
        session = replace(session, stop_file=Path(folder) / "stop")
        jobs = (
            delayed(_outcome)(recipe, replace(session, line=line))
            for line, recipe in enumerate(recipes)
        )
        parallel = Parallel(n_jobs=workers, batch_size=1, return_as="generator_unordered")
        try:
            yield from parallel(jobs)
        except TerminatedWorkerError as error:
            if not interrupts():
                raise UserError(
                    "a training process was ended from outside, most likely for want of memory; "
                    "checkpoints are kept: set OMP_NUM_THREADS to fewer than the "
                    f"{usable_cores()} cores and run the same command again"
                ) from error
        finally:
            get_reusable_executor().shutdown(wait=True)  # workers would hold memory for minutes
            if session.progress and sys.stderr.isatty():
                print("\n" * (len(recipes) - 1), file=sys.stderr)  # below the progress of all
    if interrupts():
        raise Stopped("training is stopped and saved; run the same command again to go on")


def _outcome(recipe: Recipe, session: Session) -> Outcome:
    """Follow a recipe and return what ended it, with its traceback, which does not travel."""
    name = recipe.variant.name
    if session.stop_file is not None and session.stop_file.exists():
        return name, Stopped(f"{name!r} is not begun")
    try:
        follow(recipe, session)
    except Exception as error:
        error.add_note(traceback.format_exc())
        return name, error
    return name, None


def _raise(failed: dict[str, Exception], count: int) -> None:
    """Raise one error for all variants that did not end well."""
    late = [str(error) for error in failed.values() if isinstance(error, OutOfTime)]
    wrong = {name: error for name, error in failed.items() if not isinstance(error, Stopped)}
    reasons = "; ".join(f"{name}: {error}" for name, error in wrong.items())
    message = f"{len(wrong)} of {count} variants failed, the others are kept: {reasons}"
    if all(isinstance(error, UserError) for error in wrong.values()) and wrong:
        raise UserError(message)
    if wrong:
        raise ExceptionGroup(message, list(wrong.values()))
    raise OutOfTime("; ".join(late))
