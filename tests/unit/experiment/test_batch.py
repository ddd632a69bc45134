"""The batch around the notebooks: which are executed, what the manifest and the page say."""

import json

import nbformat
import pytest

from ifr.common import paths
from ifr.common.errors import UserError
from ifr.experiment import batch
from ifr.profiles import get_profile


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("IFR_HOME", str(tmp_path))
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
    call = 'start("07", profile="full_size_brief", weights=weights)'
    parameters = 'profile = "smoke"\nseed = 0\nweights = "trained"'
    for number in get_profile("full_size_brief").notebooks:
        write(f"{number}_small")
    write("07_small", line, call, parameters=parameters)
    folder = batch.redraw("full_size_brief", weights="reference")
    assert folder == home / "results" / "full_size_brief-reference-weights"
    assert [path.name for path in folder.glob("*.ipynb")] == ["07_small.ipynb"]
    executed = nbformat.read(folder / "07_small.ipynb", as_version=4)
    assert "results/full_size_brief-reference-weights/" in str(executed.cells[-1].outputs)
    assert not (home / "results" / "full_size_brief").exists()
    with pytest.raises(UserError, match="no parameter weights"):
        batch.redraw("full_size_brief", ["08"], weights="reference")
