import os
import subprocess
import sys

import pytest

from ifr import cli, paths
from ifr.run import start

VERBS = ("faces", "train", "evaluate", "figures", "reproduce", "verify", "doctor", "benchmark")


def ifr(*arguments, home=None):
    environment = dict(os.environ, IFR_HOME=str(home or paths.home()), COLUMNS="100")
    command = [sys.executable, "-c", "from ifr.cli import main; main()", *arguments]
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
    (tmp_path / "notebooks").symlink_to(paths.PACKAGE.parent / "notebooks")
    code, output = call(monkeypatch, capsys, *arguments)
    assert code == 2 and words in output.err and "Traceback" not in output.err
    assert not (tmp_path / "models").exists()


def test_an_unwritable_results_folder_is_named(tmp_path):
    (tmp_path / "results").write_text("a file is in the way")
    os.environ["IFR_HOME"], before = str(tmp_path), os.environ.get("IFR_HOME")
    try:
        with pytest.raises(OSError, match=r"cannot write to .*results.*IFR_HOME"):
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


def test_contact_sheet(monkeypatch, capsys, tmp_path):
    sheet = tmp_path / "sheet.png"
    code, _ = call(monkeypatch, capsys, "faces", "--sheet", str(sheet), "--identities", "1")
    assert code == 0 and sheet.stat().st_size > 10_000


def test_evaluate_prints_both_protocols(monkeypatch, capsys, smoke_sets, smoke_home):
    code, output = call(monkeypatch, capsys, "evaluate", "base", "--profile", "smoke")
    assert code == 0 and "clean_percent" in output.out and "synthetic" in output.out
