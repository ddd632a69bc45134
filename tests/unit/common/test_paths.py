"""Where things are: what belongs to the code, and what is made."""

from pathlib import Path

import pytest

from ifr.common import paths
from ifr.common.errors import UserError
from ifr.common.hardware import usable_cores


def test_what_is_made_goes_home_and_what_belongs_to_the_code_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("IFR_HOME", str(tmp_path / "some wörk"))
    checkout = Path(__file__).parents[3]
    assert paths.models() == tmp_path / "some wörk" / "models"
    assert paths.notebooks() == checkout / "notebooks"
    assert paths.reference("classroom") == checkout / "results" / "reference" / "classroom"
    monkeypatch.delenv("IFR_HOME")
    assert paths.home() == checkout


def test_installed_from_a_wheel_all_is_made_in_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("IFR_HOME", raising=False)
    monkeypatch.setattr(paths, "SOURCE", tmp_path / "site-packages" / "ifr-checkout")
    monkeypatch.chdir(tmp_path)
    assert paths.home() == tmp_path


def test_named_folders_may_be_relative_or_of_nobody(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IFR_HOME", "here")
    monkeypatch.setenv("IFR_REAL_FACES", "~nobody-of-that-name/faces")
    assert paths.home() == tmp_path / "here"
    assert paths.real_faces() == tmp_path / "~nobody-of-that-name" / "faces"
    assert paths.named()["IFR_HOME"] == str(tmp_path / "here")
    monkeypatch.setenv("IFR_REAL_FACES", "")
    assert list(paths.named()) == ["IFR_HOME"]
    with pytest.raises(UserError, match="needs the environment variable IFR_REAL_FACES"):
        paths.real_faces()


@pytest.mark.parametrize(("value", "cores"), [("2,1", 2), (" 3 ", 3), ("4", 4)])
def test_every_legal_number_of_threads_is_read(monkeypatch, value, cores):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert usable_cores() == cores


@pytest.mark.parametrize("value", ["", "0", "many", "-1", ",2"])
def test_any_other_number_of_threads_leaves_it_to_the_system(monkeypatch, value):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert usable_cores() >= 1
