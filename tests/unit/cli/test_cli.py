import os
import subprocess
import sys

import course
import pytest

from ifr.cli import main as cli
from ifr.common import paths
from ifr.common.errors import UserError
from ifr.evaluation.onnx_model import InputConvention
from ifr.experiment.run import start
from ifr.profiles import PROFILES, get_profile, resized

VERBS = (
    "explain",
    "faces",
    "train",
    "evaluate",
    "figures",
    "reproduce",
    "verify",
    "doctor",
    "benchmark",
    "sweep",
)


@pytest.fixture
def smoke_data(smoke_sets):
    """The folder of the smoke profile's rendered sets, for another home."""
    return paths.data()


def ifr(*arguments, home=None):
    environment = dict(os.environ, IFR_HOME=str(home or paths.home()), COLUMNS="100")
    command = [sys.executable, "-c", "from ifr.cli.main import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


def call(monkeypatch, capsys, *arguments):
    """Run the command in this process: quicker than starting Python anew."""
    monkeypatch.setattr(sys, "argv", ["ifr", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return stop.value.code or 0, capsys.readouterr()


def test_help_names_every_verb():
    shown = ifr("--help")
    assert shown.returncode == 0
    assert all(verb in shown.stdout for verb in VERBS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["reproduce", "--profile", "laptop"], "unknown profile 'laptop': choose one of smoke"),
        (["train", "sda", "--profile", "smoke"], "unknown variant 'sda'"),
        (["figures", "99", "--profile", "smoke"], "no notebook 99: choose from 00"),
        (["verify", "--profile", "smoke"], "no manifest.json"),
    ],
)
def test_a_wrong_word_is_one_plain_line(monkeypatch, capsys, tmp_path, arguments, words):
    monkeypatch.setenv("IFR_HOME", str(tmp_path))
    code, output = call(monkeypatch, capsys, *arguments)
    assert code == 2 and words in output.err and "Traceback" not in output.err
    assert not (tmp_path / "models").exists()


def test_an_unwritable_results_folder_is_named(tmp_path):
    (tmp_path / "results").write_text("a file is in the way")
    os.environ["IFR_HOME"], before = str(tmp_path), os.environ.get("IFR_HOME")
    try:
        with pytest.raises(UserError, match=r"cannot write to .*results.*IFR_HOME"):
            start("test", profile="smoke")
    finally:
        os.environ.pop("IFR_HOME")
        if before:
            os.environ["IFR_HOME"] = before


def test_start_refuses_a_bad_seed(smoke_home):
    with pytest.raises(ValueError, match="seed must be an integer >= 0, got -1"):
        start("test", profile="smoke", seed=-1)


def test_doctor_reports_data_and_packages(monkeypatch, capsys, smoke_sets, smoke_home):
    code, output = call(monkeypatch, capsys, "doctor")
    assert code == 0
    for word in ("cores:", "memory:", "package torch:", "images in place", "not rendered yet"):
        assert word in output.out


def test_doctor_works_before_anything_is_there(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("IFR_HOME", str(tmp_path / "not" / "there"))
    code, output = call(monkeypatch, capsys, "doctor")
    assert code == 0 and str(tmp_path / "not" / "there") in output.out


@pytest.mark.parametrize("command", [("benchmark", "mesh"), ("course", "build", "01")])
def test_programs_of_a_checkout_say_so_elsewhere(monkeypatch, capsys, tmp_path, command):
    monkeypatch.setattr(paths, "SOURCE", tmp_path)
    code, output = call(monkeypatch, capsys, *command)
    assert code == 2 and "this command works in a checkout" in output.err


def test_the_course_says_how_to_get_nbgrader(monkeypatch, tmp_path):
    for name in [name for name in sys.modules if name.split(".")[0] == "nbgrader"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "nbgrader", None)
    with pytest.raises(UserError, match=r"pip install 'ifr\[course\]'"):
        course.build(tmp_path / "course", ["01"])


def test_a_fault_of_the_program_keeps_its_traceback(monkeypatch):
    def fail():
        raise ValueError("a fault")

    monkeypatch.setattr("ifr.cli.doctor.report", fail)
    monkeypatch.setattr(sys, "argv", ["ifr", "doctor"])
    with pytest.raises(ValueError, match="a fault"):
        cli.main()


def test_contact_sheet(monkeypatch, capsys, tmp_path):
    sheet = tmp_path / "sheet.png"
    code, _ = call(monkeypatch, capsys, "faces", "--sheet", str(sheet), "--identities", "1")
    assert code == 0 and sheet.stat().st_size > 10_000


def test_evaluate_prints_both_protocols(monkeypatch, capsys, smoke_sets, smoke_home):
    start("train", profile="smoke").trained("base")
    code, output = call(monkeypatch, capsys, "evaluate", "base", "--profile", "smoke")
    assert code == 0 and "clean_percent" in output.out and "synthetic" in output.out


def test_what_is_trained_on_ones_own_set_is_evaluated_and_nothing_is_trained_in_its_place(
    monkeypatch, capsys, smoke_data, smoke_sets, tmp_path
):
    monkeypatch.setenv("IFR_HOME", str(tmp_path))
    (tmp_path / "data").symlink_to(smoke_data)
    one, two = (next(smoke_data.glob(f"{name}-*")) for name in ("validation", "ar"))
    train = ("train", "base", "--profile", "smoke", "--data")
    evaluate = ("evaluate", "base", "--profile", "smoke")
    code, output = call(monkeypatch, capsys, *train, str(one))
    [folder] = (tmp_path / "models").glob("smoke-base-*")
    assert code == 0 and f"base is in {folder}, which ifr protocol takes" in output.out
    for arguments in (evaluate, (*evaluate, "--data", str(two)), (*evaluate, "--seed", "1")):
        code, output = call(monkeypatch, capsys, *arguments)
        assert code == 2 and "ifr train trains it" in output.err and "percent" not in output.out
        assert ("(on validation)" in output.err) == ("--seed" not in arguments)
    code, output = call(monkeypatch, capsys, *evaluate, "--data", str(one))
    assert code == 0 and "trained on validation" in output.out and "synthetic" in output.out
    assert "closed set: not measured" in output.out and "clean_percent" not in output.out
    assert len(list((tmp_path / "models").glob("smoke-base-*"))) == 1
    code, output = call(
        monkeypatch,
        capsys,
        "evaluate",
        "base",
        "--data",
        str(one),
        "--profile",
        "photographs_smoke",
    )
    assert code == 2 and "nothing to test this network on" in output.err


def test_what_a_network_takes_is_stated_by_options_of_protocol(monkeypatch, capsys):
    def stop(*places, convention, **how):
        raise UserError(repr(convention))

    monkeypatch.setattr("ifr.evaluation.protocols.published.run_protocol", stop)
    command = ("protocol", "lfw", "root", "set", "model.onnx")
    stated = ("--input-range", "-1,1", "--mean", "0.5,0.4,0.3", "--std", "0.5", "--size", "48")
    code, output = call(monkeypatch, capsys, *command, *stated, "--channels", "bgr")
    convention = InputConvention((-1.0, 1.0), (0.5, 0.4, 0.3), (0.5,), "bgr", 48)
    assert code == 2 and output.err == f"ifr: {convention!r}\n"
    assert repr(InputConvention()) in call(monkeypatch, capsys, *command)[1].err
    code, output = call(monkeypatch, capsys, *command, "--mean", "grey")
    assert code == 2 and "--mean: expected numbers such as 0,255, got 'grey'" in output.err


def test_a_training_cut_in_pieces_says_to_call_again_and_is_done_in_the_end(
    monkeypatch, capsys, smoke_data, tmp_path
):
    monkeypatch.setenv("IFR_HOME", str(tmp_path))
    (tmp_path / "data").symlink_to(smoke_data)
    short = resized(get_profile("smoke"), pretrain_steps=3, steps=3, pretrain_threads=1)
    monkeypatch.setitem(PROFILES, "smoke", short)
    command = ("train", "base", "--profile", "smoke", "--max-minutes", "0")
    pieces = 0
    while (found := call(monkeypatch, capsys, *command))[0] == cli.TRY_AGAIN:
        pieces += 1
        assert "run the same command again to go on" in found[1].err and pieces < 9
    assert found[0] == 0 and "base: trained" in found[1].out
    assert pieces == 4  # of 3 steps, twice: the last of each ends it
    assert not list(tmp_path.rglob("*.partial")) and not list(tmp_path.rglob("checkpoint.pt"))


def test_reproduce_stops_when_its_time_is_up(monkeypatch, capsys, smoke_data, tmp_path):
    monkeypatch.setenv("IFR_HOME", str(tmp_path))
    (tmp_path / "data").symlink_to(smoke_data)
    code, output = call(
        monkeypatch, capsys, "reproduce", "--profile", "smoke", "--max-minutes", "0"
    )
    assert code == cli.TRY_AGAIN and "time is up" in output.err
    assert not list((tmp_path / "results").rglob("*.ipynb"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sweep", "t=0", "--profile", "smoke"], "t must be numbers between 1 and K"),
        (["sweep", "t=130", "--profile", "smoke", "--seeds", "one"], "--seeds must be integers"),
        (["sweep", "t=130", "--profile", "photographs_smoke"], "no validation people"),
        (["figures", "07", "--profile", "smoke", "--weights", "best"], "trained, reference"),
    ],
)
def test_a_wrong_argument_is_one_plain_line(monkeypatch, capsys, smoke_home, arguments, words):
    code, output = call(monkeypatch, capsys, *arguments)
    assert code == 2 and words in output.err and "Traceback" not in output.err
