"""Shared set-up: few threads, and one smoke-size home that all tests of the session share."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("IFR_PROGRESS", "0")

import pytest

from ifr import paths
from ifr.faces.dataset import ensure_sets
from ifr.profiles import get_profile


@pytest.fixture(scope="session")
def smoke_home(tmp_path_factory):
    """A home folder with the project's notebooks and its own data, models and results."""
    home = tmp_path_factory.mktemp("home")
    (home / "notebooks").symlink_to(paths.PACKAGE.parent / "notebooks")
    before = os.environ.get("IFR_HOME")
    os.environ["IFR_HOME"] = str(home)
    yield home
    os.environ.pop("IFR_HOME")
    if before:
        os.environ["IFR_HOME"] = before


@pytest.fixture(scope="session")
def smoke_sets(smoke_home):
    """The procedural sets of the smoke profile."""
    return ensure_sets(get_profile("smoke").faces, paths.data(), progress=False)


@pytest.fixture(scope="session")
def real_faces():
    """The folder of real photographs that IFR_REAL_FACES names; a test without it is skipped."""
    folder = os.environ.get("IFR_REAL_FACES")
    if not folder:
        pytest.skip("IFR_REAL_FACES names no folder of photographs; data/README.md says how")
    return Path(folder)
