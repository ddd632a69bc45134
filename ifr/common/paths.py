"""Where things are: one place for every folder the project reads or writes."""

import os
import tempfile
from pathlib import Path

from ifr.common.errors import UserError

PACKAGE = Path(__file__).resolve().parents[1]
ASSETS = PACKAGE / "assets"
_CARRIED = PACKAGE.parent / "ifr-checkout"  # by a wheel; setup.py puts it there
# What belongs to the code besides the package: notebooks, scripts, the reference runs.
SOURCE = _CARRIED if _CARRIED.is_dir() else PACKAGE.parent


def home() -> Path:
    """Return where all that is made goes: ``IFR_HOME``, else the checkout, else this folder."""
    checkout = (SOURCE / "pyproject.toml").is_file()
    return _named("IFR_HOME") or (SOURCE if checkout else Path.cwd())


def named() -> dict[str, str]:
    """Return the variables that name folders, with whole paths: kernels start in another folder."""
    folders = {name: _named(name) for name in ("IFR_HOME", "IFR_REAL_FACES")}
    return {name: str(folder) for name, folder in folders.items() if folder is not None}


def _named(variable: str) -> Path | None:
    """Return the folder that an environment variable names, if it names one."""
    value = os.environ.get(variable)
    return Path(os.path.expanduser(value)).resolve() if value else None


def data() -> Path:
    """Return the folder of the rendered data sets."""
    return home() / "data"


def real_faces() -> Path:
    """Return the folder of photographs, which lies outside the project: ``IFR_REAL_FACES``."""
    folder = _named("IFR_REAL_FACES")
    if folder is None:
        need = "a run on photographs needs the environment variable IFR_REAL_FACES to name their"
        raise UserError(f"{need} folder; data/README.md says what it holds")
    return folder


def models() -> Path:
    """Return the folder of trained networks and cached features."""
    return home() / "models"


def results(profile: str, seed: int | None = None) -> Path:
    """Return the folder of a profile's run with one seed, or of all its seeds."""
    folder = home() / "results" / profile
    return folder if seed is None else folder / f"seed-{seed}"


def reference(profile: str) -> Path:
    """Return the folder of the committed reference run of a profile."""
    return SOURCE / "results" / "reference" / profile


def reference_weights(profile: str) -> Path:
    """Return the folder of the networks kept with a reference run."""
    return reference(profile) / "weights"


def notebooks() -> Path:
    """Return the folder of the numbered notebooks."""
    return SOURCE / "notebooks"


def require_writable(folder: Path) -> Path:
    """Create ``folder`` and return it, or say that it cannot be written to and what to do."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        advice = "choose another place (IFR_HOME names that of all that is made), or allow writing"
        raise UserError(f"cannot write to {folder}: {error.strerror}; {advice}") from error
    return folder
