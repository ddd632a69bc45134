"""Variants trained side by side: the weights of training alone, failures apart, one clear stop."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from ifr.common.errors import OutOfTime, UserError
from ifr.profiles import PRETRAIN, VARIANTS, get_profile, resized
from ifr.training import Recipe, Session, train_variants

QUIET = Session(progress=False)
PROFILE = resized(
    get_profile("smoke"), pretrain_steps=4, steps=6, batch=8, precision="fp32", learning_rate=2e-3
)


@pytest.fixture
def faces(smoke_sets):
    return smoke_sets["train"]


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_two_side_by_side_are_the_two_trained_alone(faces, two_cores, tmp_path, monkeypatch):
    beside = train_variants(["base", "full"], PROFILE, faces, session=QUIET)
    assert list(beside) == ["base", "full"] and not any(one.loaded for one in beside.values())
    again = train_variants(["full", "base"], PROFILE, faces, session=QUIET)
    assert list(again) == ["full", "base"] and all(one.loaded for one in again.values())
    monkeypatch.setenv("IFR_HOME", str(tmp_path))
    for name, one in beside.items():
        alone = Recipe(VARIANTS[name], PROFILE, faces).follow(QUIET)
        assert not alone.loaded and alone.key == one.key
        assert same(alone.model, one.model)
        assert alone.history.equals(one.history)


@pytest.mark.parametrize("cores", ["1", "2"])
def test_a_variant_that_fails_leaves_the_others_trained(faces, monkeypatch, cores):
    monkeypatch.setenv("OMP_NUM_THREADS", cores)
    profile = resized(PROFILE, learning_rate=1e-3 * int(cores))
    weights = replace(VARIANTS["sad"].weights, response=float("nan"))
    bad = replace(VARIANTS["sad"], name="bad", weights=weights)
    kept = "1 of 3 variants failed, the others are kept: bad: loss part .* of 'bad' is not finite"
    with pytest.raises(UserError, match=kept):
        train_variants(["augmented", bad, "sad"], profile, faces, session=QUIET)
    for name in ("augmented", "sad"):
        assert Recipe(VARIANTS[name], profile, faces).follow(QUIET).loaded


def test_a_deadline_stops_all_and_the_same_call_goes_on(faces, two_cores):
    profile = resized(PROFILE, steps=3, learning_rate=3e-3)
    Recipe(PRETRAIN, profile, faces).follow(QUIET)
    for _ in range(2):
        with pytest.raises(OutOfTime, match="time is up in training 'fad'"):
            late = replace(QUIET, deadline=time.monotonic())
            train_variants(["fad", "base"], profile, faces, session=late)
    done = train_variants(["fad", "base"], profile, faces, session=QUIET)
    assert [len(one.history) for one in done.values()] == [1, 1]


SCRIPT = """
import sys
from pathlib import Path
from ifr.cli.main import main
from ifr.datasets import load_set
from ifr.profiles import get_profile, resized
from ifr.training import train_variants
import ifr.cli.main as cli

profile = resized(get_profile("smoke"), pretrain_steps=2, steps=int(sys.argv[2]), batch=8,
                  precision="fp32")

def app():
    done = train_variants(["base", "full"], profile, load_set(Path(sys.argv[1])))
    print("steps", [int(one.history["step"].iloc[-1]) for one in done.values()])

cli.app = app
main()
"""


def started(script, folder, home, steps):
    environment = os.environ | {"OMP_NUM_THREADS": "2", "IFR_HOME": str(home)}
    return subprocess.Popen(
        [sys.executable, script, folder, str(steps)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def checkpoint_steps(home):
    found = {}
    for path in (home / "models").glob("*/checkpoint.pt"):
        found[path.parent.name.split("-")[1]] = torch.load(path, weights_only=True)["step"]
    return found


@pytest.mark.parametrize("whole_group", [False, True], ids=["process", "terminal"])
def test_ctrl_c_stops_all_saved_with_one_line_and_the_same_command_goes_on(
    train_folder, tmp_path, whole_group
):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    steps = 150
    process = started(script, train_folder, tmp_path, steps)
    folders = tmp_path / "models"
    deadline = time.monotonic() + 90
    while len(list(folders.glob("*-seed0-*"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)  # until both variants have begun
    (os.killpg if whole_group else os.kill)(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    told = [line for line in errors.splitlines() if line.strip() and " step, " not in line]
    assert told == ["training is stopped and saved; run the same command again to go on"]
    reached = checkpoint_steps(tmp_path)
    assert reached.keys() == {"base", "full"}
    assert all(0 < step < steps for step in reached.values())
    again = started(script, train_folder, tmp_path, steps)
    output, errors = again.communicate(timeout=200)
    assert again.returncode == 0 and f"steps [{steps}, {steps}]" in output, errors
    first = next(line for line in errors.splitlines() if line.startswith("base: "))
    assert first.startswith(f"base: {steps} of {steps} step")
    assert not list(folders.glob("*/checkpoint.pt"))
