"""The batch around the notebooks: which are executed, what the manifest and the page say."""

import json
import subprocess
from types import SimpleNamespace

import nbformat
import pytest

from ifr import __version__
from ifr.common import paths
from ifr.common.errors import OutOfTime, UserError
from ifr.common.files import alone
from ifr.experiment import batch
from ifr.experiment.notebook import is_current
from ifr.experiment.run import start
from ifr.profiles import get_profile, get_variant


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("IFR_HOME", str(tmp_path))
    monkeypatch.setattr(paths, "SOURCE", tmp_path)
    (tmp_path / "notebooks").mkdir()
    return tmp_path


def write(name, *lines, parameters='profile = "smoke"\nseed = 0'):
    made = nbformat.v4.new_notebook()
    made.cells = [
        nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell("\n".join(lines)),
    ]
    nbformat.write(made, paths.notebooks() / f"{name}.ipynb")


def test_notebooks_are_chosen_by_number_and_a_wrong_one_is_refused(home):
    with pytest.raises(UserError, match="no numbered notebooks"):
        batch.numbered_notebooks()
    for name in ("00_a", "07_b"):
        write(name)
    assert [path.stem for path in batch.numbered_notebooks()] == ["00_a", "07_b"]
    assert [path.stem for path in batch.numbered_notebooks(("07",))] == ["07_b"]
    with pytest.raises(UserError, match="no notebook 99: choose from 00, 07"):
        batch.numbered_notebooks(("99",))


def test_redrawing_takes_the_profiles_notebooks_and_refreshes_manifest_and_page(home, capsys):
    for number in get_profile("full_size_brief").notebooks:
        write(f"{number}_small")
    write("14_photographs", "raise RuntimeError('another profile')")
    folder = batch.redraw("full_size_brief")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert len(manifest["artefacts"]) == len(get_profile("full_size_brief").notebooks)
    executed = [stage for stage in manifest["stages"] if stage.endswith("_small")]
    assert manifest["seconds"] == pytest.approx(sum(manifest["stages"].values()), abs=0.1)
    assert len(executed) == 9 and "14_photographs" not in capsys.readouterr().out
    (folder / "index.html").unlink()
    before = manifest["artefacts"]
    write("07_small", "print('changed')")
    batch.redraw("full_size_brief", ["07"])
    after = json.loads((folder / "manifest.json").read_text())["artefacts"]
    assert [name for name in after if after[name] != before[name]] == ["07_small.ipynb"]
    assert "07_small.ipynb" in (folder / "index.html").read_text()


def test_reference_weights_leave_the_trained_results_alone(home):
    line = "from ifr.experiment.run import start"
    call = 'start("07", profile="smoke", weights=weights)'
    parameters = 'profile = "classroom"\nseed = 0\nweights = "trained"'
    for number in get_profile("smoke").notebooks:
        write(f"{number}_small")
    write("07_small", line, call, parameters=parameters)
    folder = batch.redraw("smoke", weights="reference")
    assert folder == home / "results" / "smoke-reference-weights" / "seed-0"
    assert [path.name for path in folder.glob("*.ipynb")] == ["07_small.ipynb"]
    executed = nbformat.read(folder / "07_small.ipynb", as_version=4)
    assert "results/smoke-reference-weights/" in str(executed.cells[-1].outputs)
    assert not (home / "results" / "smoke").exists()
    rendered = {path.name.split("-")[0] for path in paths.data().iterdir()}
    assert "templates" in rendered and "train" not in rendered  # nothing is trained
    with pytest.raises(UserError, match="no parameter weights"):
        batch.redraw("smoke", ["08"], weights="reference")


def manifest_of(folder):
    return json.loads((folder / "manifest.json").read_text())


def test_seeds_do_not_meet_and_a_notebook_that_fails_leaves_a_manifest_of_what_is_there(home):
    for name in ("02_a", "03_b"):
        write(name, "print(seed)")
    zero, one = (batch.redraw("smoke", ["02", "03"], seed=seed) for seed in (0, 1))
    assert zero != one and [manifest_of(folder)["seed"] for folder in (zero, one)] == [0, 1]
    before = manifest_of(zero)["artefacts"]
    assert before["02_a.ipynb"] != manifest_of(one)["artefacts"]["02_a.ipynb"]
    write("02_a", "print('changed')")
    write("03_b", "raise RuntimeError('broken')")
    (zero / "index.html").unlink()
    with pytest.raises(UserError, match=r"failed\.ipynb"):
        batch.redraw("smoke", ["02", "03"])
    after = manifest_of(zero)
    assert [name for name in after["artefacts"] if after["artefacts"][name] != before[name]] == [
        "02_a.ipynb"
    ]
    assert after["outdated"] == ["03_b.ipynb"]  # its result is of the cells before
    assert "Of other code, settings or inputs" in (zero / "index.html").read_text()
    with pytest.raises(UserError, match=r"failed\.ipynb"):
        batch.redraw("smoke", ["03"], seed=2)  # never finished: there is none
    assert not (paths.results("smoke", 2) / "manifest.json").exists()


def test_what_hangs_on_a_notebook_redrawn_is_named_outdated(home, capsys):
    def leave(value):
        path = paths.results("smoke", 0) / "tables" / "evidence_07.csv"
        entry = '\'{"file": "tables/evidence_07.csv"}\''
        note = f"print({entry}, file=open(os.environ['IFR_JOURNAL'], 'a'))"
        make = f"path = Path({str(path)!r}); path.parent.mkdir(exist_ok=True)"
        lines = ("import os", "from pathlib import Path", make)
        write("07_a", *lines, f"path.write_text('claim,{value}')", note)

    leave(1)
    write("12_claims", "1")
    folder = batch.redraw("smoke", ["07", "12"])
    assert manifest_of(folder)["outdated"] == []
    leave(2)
    batch.redraw("smoke", ["07"])
    assert manifest_of(folder)["outdated"] == ["12_claims.ipynb"]
    assert "than now: 12_claims.ipynb" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("profile", "number", "takes"),
    [("smoke", "14", "photographs, photographs_smoke"), ("photographs", "07", "smoke")],
)
def test_a_notebook_on_other_data_is_refused(home, profile, number, takes):
    for name in ("07_a", "14_b", "77_mine"):
        write(name, "1")
    with pytest.raises(UserError, match=rf"has no notebook {number}: take --profile .*{takes}"):
        batch.redraw(profile, [number])
    assert batch.redraw("smoke", ["77"]).name == "seed-0"  # one's own is taken


def test_a_result_of_another_network_than_the_runs_is_not_current(home):
    run = start("test", profile="smoke")
    record = dict(key="k", files={}, networks=dict(base=dict(key="one")))
    assert is_current(record, "k", run)
    run.networks[get_variant("base")] = SimpleNamespace(key="two")
    assert not is_current(record, "k", run) and not is_current({}, None, run)


def test_notebooks_are_looked_at_before_anything_is_made(home, monkeypatch):
    for number in get_profile("smoke").notebooks:
        write(f"{number}_small")
    write("07_small", parameters='profile = "smoke"')
    monkeypatch.setattr(batch, "prepare", lambda run: pytest.fail("began to train"))
    with pytest.raises(UserError, match=r"07_small\.ipynb has no parameter seed: it takes profile"):
        batch.reproduce("smoke")


def test_a_second_run_waits_for_the_first_as_long_as_it_may(home, capsys):
    for number in get_profile("smoke").notebooks:
        write(f"{number}_small")
    folder = paths.results("smoke", 0)
    with alone(folder / ".lock"), pytest.raises(OutOfTime, match="time is up before the other"):
        batch.reproduce("smoke", max_minutes=0)
    assert "waiting for it" in capsys.readouterr().err
    assert not (folder / "manifest.json").exists() and not paths.models().exists()


def test_an_installed_version_tells_no_commit_of_the_repository_it_lies_in(home):
    git = ["git", "-C", home, "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "--quiet"], ["commit", "--quiet", "--allow-empty", "-m", "a"]):
        subprocess.run([*git, *command], check=True)
    assert batch.code_version().startswith(f"{__version__}+")
    (home / "site-packages").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "SOURCE", home / "site-packages")
        assert batch.code_version() == __version__
