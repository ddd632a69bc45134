"""Where things are: one place for every folder the project reads or writes."""

import os
from pathlib import Path

from ifr.common.errors import UserError

PACKAGE = Path(__file__).resolve().parents[1]
ASSETS = PACKAGE / "assets"


def home() -> Path:
    """Return the project's folder: ``IFR_HOME``, else the package's checkout, else this folder."""
    if os.environ.get("IFR_HOME"):
        return Path(os.environ["IFR_HOME"]).expanduser().resolve()
    return PACKAGE.parent if (PACKAGE.parent / "notebooks").is_dir() else Path.cwd()


def data() -> Path:
    """Return the folder of the rendered data sets."""
    return home() / "data"


def real_faces() -> Path:
    """Return the folder of photographs, which lies outside the project: ``IFR_REAL_FACES``."""
    named = os.environ.get("IFR_REAL_FACES")
    if not named:
        need = "a run on photographs needs the environment variable IFR_REAL_FACES to name their"
        raise UserError(f"{need} folder; data/README.md says what it holds")
    return Path(named).expanduser().resolve()


def models() -> Path:
    """Return the folder of trained networks and cached features."""
    return home() / "models"


def results(profile: str) -> Path:
    """Return the folder of one profile's run."""
    return home() / "results" / profile


def reference(profile: str) -> Path:
    """Return the folder of the committed reference run of a profile."""
    return home() / "results" / "reference" / profile


def reference_weights(profile: str) -> Path:
    """Return the folder of the networks kept with a reference run."""
    return reference(profile) / "weights"


def notebooks() -> Path:
    """Return the folder of the numbered notebooks."""
    return home() / "notebooks"


def require_writable(folder: Path) -> Path:
    """Create ``folder`` and return it, or say that it cannot be written to and what to do."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        advice = "choose another place with the environment variable IFR_HOME, or allow writing"
        raise UserError(f"cannot write to {folder}: {error.strerror}; {advice}") from error
    return folder
