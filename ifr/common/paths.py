"""Where things are: one place for every folder the project reads or writes."""

import os
from pathlib import Path

from ifr.common.errors import UserError

PACKAGE = Path(__file__).resolve().parents[1]
ASSETS = PACKAGE / "assets"


def home() -> Path:
    """Return the folder that holds ``data/``, ``models/``, ``results/`` and ``notebooks/``.

    The environment variable ``IFR_HOME`` wins; else the checkout the package lies in, when it is
    one; else the current folder.
    """
    if os.environ.get("IFR_HOME"):
        return Path(os.environ["IFR_HOME"]).expanduser().resolve()
    checkout = PACKAGE.parent
    return checkout if (checkout / "notebooks").is_dir() else Path.cwd()


def data() -> Path:
    """Return the folder of the rendered data sets."""
    return home() / "data"


def real_faces() -> Path:
    """Return the folder of photographs, which lies outside the project: ``IFR_REAL_FACES``."""
    named = os.environ.get("IFR_REAL_FACES")
    if not named:
        raise UserError(
            "a run on photographs needs the environment variable IFR_REAL_FACES to name their "
            "folder; data/README.md says what it holds"
        )
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


def exercises() -> Path:
    """Return the folder of the course's exercises."""
    return notebooks() / "exercises"


def require_writable(folder: Path) -> Path:
    """Create ``folder`` and return it, or say that it cannot be written to and what to do."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"cannot write to {folder}: {error.strerror}; choose another place with the "
            "environment variable IFR_HOME, or give this user the right to write there"
        ) from error
    return folder
