"""The wheel in an empty environment: it carries what belongs to the code, and works anywhere."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv

import pytest

from ifr.common import paths

pytest.importorskip("ensurepip")
CHECKOUT = paths.PACKAGE.parent
FILES = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "CITATION.cff")
FOLDERS = ("ifr", "notebooks", "scripts", "results/reference")
BUILD = "from setuptools import build_meta as b; print(b.build_{}({!r}))"


def build(kind, source, target):
    """Build a source distribution or a wheel without pip, which an environment may lack."""
    command = [sys.executable, "-c", BUILD.format(kind, str(target))]
    done = subprocess.run(command, cwd=source, check=True, capture_output=True, text=True)
    return target / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """An environment that holds the wheel alone; the packages it needs are those here."""
    root = tmp_path_factory.mktemp("wheel")
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in FOLDERS:
        shutil.copytree(CHECKOUT / name, root / "source" / name, ignore=unwanted)
    for name in FILES:
        shutil.copy(CHECKOUT / name, root / "source")
    with tarfile.open(build("sdist", root / "source", root)) as archive:
        archive.extractall(root / "unpacked", filter="data")
    wheel = build("wheel", next((root / "unpacked").iterdir()), root)
    venv.create(root / "env", with_pip=True)
    folder = root / "env" / "bin"
    install = "import pip.__main__, sys; sys.exit(pip.main(sys.argv[1:]))"
    options = ["install", "--quiet", "--no-index", "--no-deps", "--disable-pip-version-check"]
    subprocess.run([folder / "python", "-c", install, *options, wheel], check=True)
    packages = next((root / "env" / "lib").glob("python*/site-packages"))
    here = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    (packages / "needed.pth").write_text("\n".join(sorted(here)) + "\n")
    return folder


@pytest.fixture
def ifr(environment, tmp_path):
    """Run the installed command elsewhere, with a home that is not there yet."""
    programs = f"{environment}{os.pathsep}{os.path.dirname(sys.executable)}"
    given = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL"))}
    given |= dict(IFR_HOME=str(tmp_path / "my wörk"), PATH=f"{programs}{os.pathsep}{given['PATH']}")
    given["JUPYTER_PATH"] = f"{sys.prefix}/share/jupyter"  # what those packages keep there

    def run(*arguments):
        how = dict(capture_output=True, text=True, env=given, cwd=tmp_path, timeout=600)
        return subprocess.run([environment / "ifr", *arguments], check=False, **how)

    return run


def test_the_doctor_works_before_anything_is_there(ifr, environment, tmp_path):
    shown = ifr("doctor")
    assert shown.returncode == 0, shown.stderr
    assert f"free at {tmp_path / 'my wörk'}" in shown.stdout
    assert f"{environment.parent}/lib" in shown.stdout and str(CHECKOUT) not in shown.stdout
    assert not list(tmp_path.iterdir())


def test_a_notebook_is_executed_and_the_whole_run_begins(ifr, tmp_path, smoke_sets):
    """All of ``ifr reproduce --profile smoke`` takes minutes: of it notebook 03, and its start."""
    home = tmp_path / "my wörk"
    home.mkdir()
    (home / "data").symlink_to(paths.data())
    done = ifr("figures", "03", "--profile", "smoke")
    assert done.returncode == 0, done.stderr[-2000:]
    folder = home / "results" / "smoke" / "seed-0"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert "03_network_and_lmf.ipynb" in manifest["artefacts"] and "+" not in manifest["code"]
    assert (folder / "index.html").exists()
    begun = ifr("reproduce", "--profile", "smoke", "--max-minutes", "0")
    assert begun.returncode == 75 and "time is up" in begun.stderr, begun.stderr[-2000:]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my wörk"]


def test_a_run_is_compared_with_the_reference_that_the_wheel_carries(ifr, tmp_path):
    refused = ifr("verify", "--profile", "classroom")
    assert refused.returncode == 2 and "holds no finished run" in refused.stderr
    target = tmp_path / "my wörk" / "results" / "classroom" / "seed-0"
    shutil.copytree(paths.reference("classroom"), target)
    agrees = ifr("verify", "--profile", "classroom")
    assert agrees.returncode == 0 and "comparisons agree" in agrees.stdout, agrees.stderr


def test_the_course_is_built(ifr, tmp_path):
    pytest.importorskip("nbgrader")
    built = ifr("course", "build", "01")
    assert built.returncode == 0, built.stderr[-2000:]
    release = tmp_path / "my wörk" / "course" / "release" / "01_barycentric_masks"
    assert "BEGIN SOLUTION" not in (release / "01_barycentric_masks.ipynb").read_text()


def test_what_needs_a_checkout_says_so(ifr):
    refused = ifr("course", "check")
    assert refused.returncode == 2 and "this command works in a checkout" in refused.stderr
