import json
import subprocess
import sys

import pytest
import torch
from benchmark import measured
from benchmark_cases import CASES, Case, Settings
from benchmark_training import PARTS, Trial, drawn_faces, matrix_peak

from ifr.common.paths import PACKAGE
from ifr.profiles import get_profile, get_variant, resized
from ifr.training import make_fabric


@pytest.fixture(scope="module")
def trials():
    fabric = make_fabric("fp32", accelerator="cpu")
    fabric.launch()

    def make(batch, identities):
        profile = resized(get_profile("smoke"), batch=batch)
        return Trial(profile, get_variant("full"), identities, fabric)

    return make


def test_a_step_is_taken_apart(trials):
    trial = trials(4, 30)
    trial.step()
    shares = trial.shares(2)
    assert tuple(shares) == PARTS and sum(shares.values()) == pytest.approx(1)
    assert all(share > 0 for share in shares.values())
    time, peak = trial.notes(1)
    assert "warp" in time and "TFLOP/s" in peak


def test_the_operations_counted_grow_with_the_batch_and_the_classes(trials):
    few = trials(4, 30).flops()
    assert trials(8, 30).flops() == pytest.approx(2 * few, rel=0.02)
    # Forward, gradient of the weights and of the features: 3 products of 2 NKC operations.
    wide = trials(4, 10_030).flops()
    assert wide - few == pytest.approx(3 * 2 * 8 * 32 * 10_000, rel=0.02)


def test_drawn_faces_have_every_label_there_is_room_for():
    faces = drawn_faces(6, 4)
    assert faces.identity.max() == 3 and faces.images.shape == (6, 112, 112, 3)
    assert drawn_faces(6, 100).identity.max() == 99


def test_the_peak_is_positive():
    assert matrix_peak(torch.device("cpu"), torch.float32) > 1e8


def test_a_case_runs_every_way_in_turns():
    calls = []
    case = Case(
        "sums",
        "a sum",
        lambda: calls.append("ours"),
        {"slowly": lambda: calls.append("slowly"), "by hand": lambda: calls.append("by hand")},
        count=3,
        turns=2,
    )
    rows = measured(case)
    assert calls == ["ours", "slowly", "by hand"] * 3
    assert [row.other for row in rows] == ["slowly", "by hand"]
    assert all(row.ratio > 0 and row.rate > 0 for row in rows)


NAMES = ["lmf", "mesh", "response", "alignment", "features", "resamples", "maps"]


@pytest.mark.parametrize("name", NAMES)
def test_both_ways_of_a_case_run(name):
    for case in CASES[name](Settings(get_profile("smoke"), None, 30, 40)):
        case.ours()
        for other in case.others.values():
            other()


def test_the_table_is_written_for_machines(tmp_path):
    script, path = PACKAGE.parent / "scripts" / "benchmark.py", tmp_path / "speeds.json"
    command = [sys.executable, str(script), "lmf", "--profile", "smoke", "--json", str(path)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "sort and scatter" in printed
    table = json.loads(path.read_text())
    assert table["rows"][0]["case"] == "lmf" and table["machine"]["cores"] >= 1
    wrong = subprocess.run([*command[:2], "speed"], capture_output=True, text=True)
    assert wrong.returncode and "choose of lmf" in wrong.stderr
