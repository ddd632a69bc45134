"""Two processes that share a batch train the network of one process on the whole."""

import os
import socket
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ifr.losses import feature_selection_mask
from ifr.profiles import VARIANTS, get_profile, resized
from ifr.training import Batcher, Session, make_fabric, train

STEPS = 20
QUIET = Session(progress=False)
PROFILE = resized(
    get_profile("smoke"),
    pretrain_steps=STEPS,
    steps=STEPS,
    batch=16,
    freeze_bn=True,
    precision="fp64",
    dropout=0.4,
    flip=True,
)

SCRIPT = """
import sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from ifr.datasets import load_set
from ifr.profiles import VARIANTS
from ifr.training import Session, make_fabric, train
sys.path.insert(0, sys.argv[4])
from test_distributed import profile_of

torch.set_num_threads(1)
profile = profile_of(sys.argv[2])
fabric = make_fabric(profile.optimisation.precision, accelerator="cpu")
fabric.launch()
model, done = train(VARIANTS[sys.argv[2]], profile, load_set(Path(sys.argv[1])),
                    session=Session(fabric, progress=False))
save_file({k: v.contiguous() for k, v in model.state_dict().items()},
          f"{sys.argv[3]}.rank{fabric.global_rank}")
if fabric.is_global_zero:
    print("id", done.history[-1]["id"], "world", fabric.world_size)
"""


def profile_of(name):
    """Return a profile in fp64: two processes add the same gradients in another order.

    In fp32 the steps enlarge that rounding, AdamW most of all, which divides by small gradients.
    """
    if name == "full_gaud":
        network = replace(PROFILE.network, head="arcface", head_scale=16.0)
        return resized(replace(PROFILE, network=network), learning_rate=1e-3)
    return resized(PROFILE, optimiser="sgd", learning_rate=1e-2)


def torchrun(script, *arguments):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-port",
        str(port),
        script,
        *arguments,
    ]
    return subprocess.run(
        command,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize("name", ["full", "full_gaud"])
def test_two_processes_train_the_network_of_one(smoke_sets, train_folder, tmp_path, name):
    faces = smoke_sets["train"]
    script = tmp_path / "two.py"
    script.write_text(SCRIPT)
    here = os.path.dirname(__file__)
    done = torchrun(script, str(train_folder), name, str(tmp_path / "two"), here)
    assert done.returncode == 0, done.stderr[-3000:]
    alone, progress = train(VARIANTS[name], profile_of(name), faces, session=QUIET)
    start = train(VARIANTS[name], resized(profile_of(name), steps=1), faces, session=QUIET)[0]
    two = [load_file(f"{tmp_path / 'two'}.rank{rank}") for rank in (0, 1)]
    moved = 0.0
    for key, value in alone.state_dict().items():
        assert torch.equal(two[0][key], two[1][key]), key
        assert torch.allclose(value, two[0][key], atol=1e-8, rtol=0), key
        moved = max(moved, float((value - start.state_dict()[key]).abs().max()))
    assert moved > 1e-3  # the steps did something
    assert "world 2" in done.stdout
    logged = float(done.stdout.split("id ")[1].split()[0])
    assert logged == pytest.approx(progress.history[-1]["id"], rel=1e-4)


CLOCKS = """
import atexit, sys, time
from pathlib import Path
import torch
from ifr.common.errors import OutOfTime
from ifr.datasets import load_set
from ifr.profiles import VARIANTS
from ifr.training import Session, make_fabric, train
sys.path.insert(0, sys.argv[2])
from test_distributed import profile_of

def tell():  # what was registered first runs last
    sys.stdout.write(f"grouped at the end: {torch.distributed.is_initialized()}\\n")

atexit.register(tell)
torch.set_num_threads(1)
fabric = make_fabric("fp64", accelerator="cpu")
fabric.launch()
late = fabric.global_rank == int(sys.argv[3])
deadline = time.monotonic() + (-1.0 if late else 1000.0)
session = Session(fabric, progress=False, deadline=deadline)
try:
    data = load_set(Path(sys.argv[1]))
    _, log = train(VARIANTS["base"], profile_of("base"), data, session=session)
    end = f"took {log.step}"
except OutOfTime as stop:
    end = f"stopped: {stop}"
sys.stdout.write(f"rank {fabric.global_rank} {end}\\n")
"""


@pytest.mark.parametrize(("late", "ends"), [(0, "stopped: time is up"), (1, f"took {STEPS}")])
def test_the_first_process_alone_watches_the_clock(train_folder, tmp_path, late, ends):
    script = tmp_path / "clocks.py"
    script.write_text(CLOCKS)
    done = torchrun(script, str(train_folder), os.path.dirname(__file__), str(late))
    assert done.returncode == 0, done.stderr[-3000:]
    assert all(f"rank {rank} {ends}" in done.stdout for rank in (0, 1)), done.stdout
    assert late == 1 or done.stdout.count("step 10 of") == 2
    assert done.stdout.count("grouped at the end: False") == 2


def test_the_mask_of_a_part_is_that_of_the_whole_batch():
    torch.manual_seed(0)
    clean, occluded = torch.randn(2, 8, 20)
    whole = feature_selection_mask(clean, occluded, keep=7)
    difference = (clean - occluded).abs()
    for part in (slice(0, 4), slice(4, 8)):
        alone = feature_selection_mask(clean[part], occluded[part], keep=7)
        shared = feature_selection_mask(
            clean[part], occluded[part], keep=7, all_reduce_mean=lambda mean: difference.mean(dim=0)
        )
        assert torch.equal(shared, whole) and not torch.equal(alone, whole)


@pytest.mark.parametrize("name", ["full", "full_gaud"])
def test_the_shares_of_a_batch_are_the_batch(smoke_sets, name):
    faces, cpu = smoke_sets["train"], torch.device("cpu")
    batch = Batcher(faces, VARIANTS[name], 48, 0, cpu, flip=True)
    thirds = [
        Batcher(faces, VARIANTS[name], 48, 0, cpu, flip=True, rank=rank, world=3)
        for rank in range(3)
    ]
    whole, labels = batch(np.arange(12), 3)
    parts = [third(np.arange(12), 3) for third in thirds]
    both = [torch.cat([part[0].chunk(2)[k] for part in parts]) for k in (0, 1)]
    assert torch.equal(torch.cat(both), whole)
    assert torch.equal(torch.cat([part[1] for part in parts]), labels)
    dropout_mask = batch.dropout_mask(12, 32, 0.4, 3)
    shares = [third.dropout_mask(12, 32, 0.4, 3) for third in thirds]
    assert torch.equal(
        torch.cat([torch.cat([s.chunk(2)[k] for s in shares]) for k in (0, 1)]), dropout_mask
    )
    assert dropout_mask.unique().tolist() == pytest.approx([0.0, 1 / 0.6])


def test_a_batch_that_cannot_be_shared_is_refused(smoke_sets):
    options = dict(rank=0, world=4)
    batch = Batcher(smoke_sets["train"], VARIANTS["base"], 48, 0, torch.device("cpu"), **options)
    with pytest.raises(ValueError, match="a batch of 10 faces cannot be shared equally by 4"):
        batch(np.arange(10), 0)


def test_more_gpus_than_there_are_and_a_wrong_count_under_torchrun_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match="3 devices are asked for, this machine has 2 GPUs"):
        make_fabric("fp32", devices=3)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="torchrun started 2 processes here, 3 are asked for"):
        make_fabric("fp32", devices=3)


def test_two_processes_train_one_network_on_the_set_given_and_make_no_other(train_folder, tmp_path):
    environment = dict(os.environ, IFR_HOME=str(tmp_path), OMP_NUM_THREADS="1")
    command = [sys.executable, "-m", "ifr", "train", "base", "--profile", "smoke", "--devices", "2"]
    command += ["--data", str(train_folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("base: trained") == 1
    assert len(list(tmp_path.glob("models/smoke-base-*/weights.safetensors"))) == 1
    assert not (tmp_path / "data").exists()
