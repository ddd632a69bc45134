"""Checkpoints: what they hold and refuse; runs that are stopped, cut in pieces or killed."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from ifr.common.errors import OutOfTime, Stopped, UserError
from ifr.profiles import PRETRAIN, VARIANTS, get_profile, resized
from ifr.training import Recipe, Session, store, train
from ifr.training.session import Checkpoint, TrainingLog, interrupts

STEPS = 6
QUIET = Session(progress=False)
HERE = dict(processes=1, device="cpu", precision="32-true")
TINY = resized(get_profile("smoke"), pretrain_steps=STEPS, steps=STEPS, precision="fp32", batch=8)
TINY = resized(TINY, pretrain_threads=1)  # tests run side by side


@pytest.fixture
def faces(smoke_sets):
    return smoke_sets["train"]


@pytest.fixture(scope="module")
def kept(smoke_sets, tmp_path_factory):
    """A checkpoint after one step; no test changes it."""
    path = tmp_path_factory.mktemp("kept") / "checkpoint.pt"
    config = Recipe(PRETRAIN, TINY, smoke_sets["train"], hardware=HERE).config
    how = dict(checkpoint=path, config=config, session=replace(QUIET, deadline=0.0))
    with pytest.raises(Stopped):
        train(PRETRAIN, TINY, smoke_sets["train"], **how)
    return path


@pytest.fixture
def saved(kept, tmp_path):
    """A copy of it, free to be broken."""
    return Path(shutil.copy(kept, tmp_path))


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.values(), b.values(), strict=True))


def leaves(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [leaf for one in value for leaf in leaves(one)]
    return [value]


def test_a_checkpoint_holds_tensors_and_plain_values_alone(kept):
    found = leaves(torch.load(kept, weights_only=True))
    kinds = {type(leaf) for leaf in found}
    assert kinds <= {torch.Tensor, int, float, str, bool, type(None)} and torch.Tensor in kinds


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            dict(profile=replace(TINY, network=replace(TINY.network, filters=40))),
            "network.filters was 32 and is 40",
        ),
        (
            dict(profile=resized(TINY, learning_rate=1e-4)),
            "optimisation.learning_rate was 0.003 and is 0.0001",
        ),
        (dict(hardware=HERE | dict(processes=2)), "hardware.processes was 1 and is 2"),
        (dict(hardware=HERE | dict(device="cuda")), "hardware.device was 'cpu' and is 'cuda'"),
        (
            dict(hardware=HERE | dict(precision="bf16-mixed")),
            "hardware.precision was '32-true' and is 'bf16-mixed'",
        ),
    ],
)
def test_a_checkpoint_of_other_settings_or_hardware_is_refused_by_name(
    faces, kept, changes, message
):
    asked = replace(Recipe(PRETRAIN, TINY, faces, hardware=HERE), **changes)
    with pytest.raises(UserError, match=message) as caught:
        train(PRETRAIN, TINY, faces, checkpoint=kept, config=asked.config, session=QUIET)
    assert str(kept) in str(caught.value)


def test_a_checkpoint_of_other_data_or_code_is_refused_by_name(faces, kept, monkeypatch):
    other = Recipe(PRETRAIN, TINY, replace(faces, fingerprint="another"), hardware=HERE)
    with pytest.raises(UserError, match=r"data was '.*' and is 'another'"):
        train(PRETRAIN, TINY, faces, checkpoint=kept, config=other.config, session=QUIET)
    changed = store.code_hashes() | {"landmarks.py": "0" * 16}
    monkeypatch.setattr(store, "code_hashes", lambda: changed)
    edited = Recipe(PRETRAIN, TINY, faces, hardware=HERE)
    with pytest.raises(UserError, match=r"code\.landmarks\.py was"):
        train(PRETRAIN, TINY, faces, checkpoint=kept, config=edited.config, session=QUIET)


def test_a_broken_checkpoint_is_refused(faces, saved):
    saved.write_bytes(saved.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"is no checkpoint .*delete it"):
        train(PRETRAIN, TINY, faces, checkpoint=saved, session=QUIET)


class Unwritable:
    """State that pickle refuses."""

    def state_dict(self):
        return {"weights": torch.zeros(1000), "hook": lambda: None}

    def load_state_dict(self, state_dict):
        raise NotImplementedError


def test_writing_that_fails_leaves_the_checkpoint_before_it(saved):
    before = saved.read_bytes()
    with pytest.raises((AttributeError, pickle.PicklingError)):
        Checkpoint(saved, {"model": Unwritable()}, {}).save(TrainingLog())
    assert saved.read_bytes() == before and list(saved.parent.iterdir()) == [saved]


def test_a_run_in_pieces_by_the_clock_ends_like_one_at_once(faces, tmp_path):
    path, late = tmp_path / "checkpoint.pt", replace(QUIET, deadline=time.monotonic())
    whole, _ = train(VARIANTS["full"], TINY, faces, session=QUIET)
    for step in range(1, STEPS):
        with pytest.raises(OutOfTime, match=f"step {step} of {STEPS} is saved"):
            train(VARIANTS["full"], TINY, faces, checkpoint=path, session=late)
    # The last step ends the run, whatever the clock says.
    model, log = train(VARIANTS["full"], TINY, faces, checkpoint=path, session=late)
    assert same(model.state_dict(), whole.state_dict()) and log.step == STEPS


KILLED = """
import os, signal, sys
from pathlib import Path
from ifr.datasets import load_set
from ifr.profiles import VARIANTS, get_profile, resized
from ifr.training import Session, train

profile = resized(get_profile("smoke"), pretrain_steps=6, steps=6, precision="fp32", batch=8,
                  checkpoint_seconds=0.0)
replace, count = os.replace, 0

def killed(checkpoint, save, when):
    def replace_and_die(source, target):
        global count
        count += 1
        if count == int(save) and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)
        if count == int(save):
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = replace_and_die  # what puts a whole checkpoint in place of the one before
    train(VARIANTS["full"], profile, load_set(Path(sys.argv[1])), checkpoint=checkpoint,
          session=Session(progress=False))

for case in sys.argv[3:]:
    child = os.fork()  # so that all of this is imported once
    if not child:
        killed(Path(sys.argv[2], case), *case.split())
    print(os.waitpid(child, 0)[1])
"""


def test_a_killed_run_goes_on_from_the_last_checkpoint(faces, train_folder, tmp_path):
    cases, script = ("1 before", "2 after", "4 before"), tmp_path / "killed.py"
    script.write_text(KILLED)
    command = [sys.executable, script, train_folder, tmp_path, *cases]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.split() == [str(int(signal.SIGKILL))] * len(cases), done.stderr
    frequent = resized(TINY, checkpoint_seconds=0.0)
    whole, _ = train(VARIANTS["full"], frequent, faces, session=QUIET)
    for case, kept in zip(cases, (0, 2, 3), strict=True):
        path = tmp_path / case
        assert kept == (torch.load(path, weights_only=True)["step"] if path.exists() else 0)
        again, progress = train(VARIANTS["full"], frequent, faces, checkpoint=path, session=QUIET)
        assert same(whole.state_dict(), again.state_dict()) and progress.step == STEPS


def test_the_first_signal_waits_for_the_end_of_the_step_and_the_second_does_not():
    with interrupts() as stopped:
        assert not stopped()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopped()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_signals_are_left_alone_in_other_threads():
    found = []

    def run():
        with interrupts() as stopped:
            found.append(stopped())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [False]


def test_a_job_can_be_told_of_the_first_signal():
    calls = []
    with interrupts(then=lambda: calls.append(1)):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
    assert calls == [1]


def test_ctrl_c_keeps_the_step_it_came_in(faces, tmp_path):
    path = tmp_path / "checkpoint.pt"
    whole, _ = train(VARIANTS["full"], TINY, faces, session=QUIET)
    calls = []

    def interrupt(*_):
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)  # inside a step, before the weights have moved

    hook = register_optimizer_step_pre_hook(interrupt)
    try:
        with pytest.raises(Stopped, match=f"step 3 of {STEPS} is saved"):
            train(VARIANTS["full"], TINY, faces, checkpoint=path, session=QUIET)
    finally:
        hook.remove()
    again, _ = train(VARIANTS["full"], TINY, faces, checkpoint=path, session=QUIET)
    assert same(whole.state_dict(), again.state_dict())


def test_a_file_stops_a_run_cleanly(faces, tmp_path):
    path, stop = tmp_path / "checkpoint.pt", tmp_path / "stop"
    stop.touch()
    with pytest.raises(Stopped, match=f"step 1 of {STEPS} is saved"):
        train(PRETRAIN, TINY, faces, checkpoint=path, session=replace(QUIET, stop_file=stop))
