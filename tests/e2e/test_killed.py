"""A killed process leaves none at work; two on one empty folder do not disturb each other."""

import subprocess
import sys
import time

import psutil
import pytest

MAKING = """
import sys, time
from functools import partial
from pathlib import Path
from ifr.datasets.shards import Work, make_set

tasks = [partial(time.sleep, 120)] * 4
work = Work("a", "key", "making a", 8, 2, 1, ("images",), tasks)
make_set(Path(sys.argv[1]) / "a", work, workers=2)
"""
TRAINING = """
import sys
from pathlib import Path
from ifr.datasets import load_set
from ifr.profiles import get_profile, resized
from ifr.training import train_variants

profile = resized(get_profile("smoke"), pretrain_steps=1, steps=int(sys.argv[3]), batch=8)
train_variants(["base", "full"], profile, load_set(Path(sys.argv[2])))
"""


@pytest.fixture
def begin(tmp_path, train_folder, monkeypatch):
    monkeypatch.setenv("IFR_HOME", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    begun = []

    def begin(script, steps=100_000):
        command = [sys.executable, "-c", script, tmp_path, train_folder, str(steps)]
        how = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        begun.append(subprocess.Popen(command, **how))
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()
        process.communicate()


def workers(process):
    """Return the processes that compute for another."""
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if any("LokyProcess" in word for word in child.cmdline())]


def runs(process):
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def wait_until(condition, seconds=90):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.parametrize("script", [MAKING, TRAINING], ids=["making a set", "training"])
def test_no_worker_outlives_its_parent(begin, script):
    """Killed as for want of memory; preparing photographs is making a set, too."""
    process = begin(script)
    wait_until(lambda: len(workers(process)) == 2)
    left = workers(process)
    time.sleep(1)  # at work
    process.kill()
    wait_until(lambda: not any(map(runs, left)), seconds=20)


def test_of_two_processes_one_trains_and_the_other_waits(begin, tmp_path):
    processes = [begin(TRAINING, steps=10) for _ in range(2)]
    told = [process.communicate(timeout=200)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], told
    assert sum(text.count("pretrain: 1 of 1 step") for text in told) == 1
    assert sum(text.count("full: 10 of 10 step") for text in told) == 1
    folders = list((tmp_path / "models").iterdir())
    assert len(folders) == 3 and not list(tmp_path.rglob("*.lock"))
    for folder in folders:
        names = sorted(path.name for path in folder.iterdir())
        assert names == ["training.json", "weights.safetensors"]
