"""The batch: get the faces, train, execute every notebook, and write down what happened."""

import json
import platform
import subprocess
import time
from collections.abc import Collection, Sequence
from importlib import metadata
from pathlib import Path

from ifr import __version__
from ifr.common import paths
from ifr.common.errors import OutOfTime, UserError
from ifr.common.files import file_hash, write_text
from ifr.common.hardware import device_facts, peak_memory
from ifr.experiment import results
from ifr.experiment.notebook import execute, parameter_names
from ifr.experiment.page import write_index
from ifr.experiment.run import Run, start
from ifr.profiles import PRETRAIN, VARIANTS

PACKAGES = (
    "torch",
    "torchvision",
    "lightning-fabric",
    "numpy",
    "scipy",
    "pandas",
    "scikit-learn",
    "scikit-image",
    "matplotlib",
    "seaborn",
    "numba",
    "opencv-python-headless",
    "papermill",
    "jupyterlab",
)
PREPARED = "prepared.json"  # what came before the notebooks: the data, the networks, their seconds


def numbered_notebooks(numbers: Collection[str] | None = None) -> list[Path]:
    """Return the numbered notebooks in order: all, or those of some numbers such as ``"07"``."""
    notebooks = {
        path.name[:2]: path for path in sorted(paths.notebooks().glob("[0-9][0-9]_*.ipynb"))
    }
    if not notebooks:
        raise UserError(
            f"no numbered notebooks in {paths.notebooks()}: run from a checkout of the project, or "
            "set IFR_HOME to one"
        )
    unknown = sorted(set(numbers or ()) - set(notebooks))
    if unknown:
        raise UserError(f"no notebook {', '.join(unknown)}: choose from {', '.join(notebooks)}")
    return [path for number, path in notebooks.items() if numbers is None or number in numbers]


def reproduce(
    profile: str = "classroom",
    *,
    seed: int = 0,
    force: bool = False,
    max_minutes: float | None = None,
) -> Path:
    """Get the faces, train every variant, execute the profile's notebooks; return the results.

    What is already there and current is kept, so a run cut short continues where it stopped; files
    that no notebook of the profile wrote are removed.

    Args:
        profile: the run size.
        seed: of every random draw.
        force: execute notebooks again even when their results are current.
        max_minutes: after which it stops cleanly: between two steps or two notebooks.

    Raises:
        Stopped: on Ctrl-C; OutOfTime when the time is up. What is done is kept.
    """
    began = time.monotonic()
    run = start("00_reproduce", profile=profile, seed=seed, max_minutes=max_minutes)
    run.progress = True
    notebooks = numbered_notebooks(run.profile.notebooks)
    clear_leftovers(run, notebooks)
    prepare(run)
    for notebook in notebooks:
        if run.deadline is not None and time.monotonic() > run.deadline:
            raise OutOfTime(
                f"time is up before {notebook.name}: what is done is kept; run the same command "
                "again to go on"
            )
        _report(notebook, run, "executed" if execute(notebook, run, force=force) else "kept")
    seconds = finish(run)
    print(
        f"done in {(time.monotonic() - began) / 60:.1f} min, {seconds / 60:.1f} min with what was "
        f"kept; open {run.folder / 'index.html'}"
    )
    return run.folder


def redraw(
    profile: str, numbers: Collection[str] = (), *, seed: int = 0, weights: str = "trained"
) -> Path:
    """Execute notebooks again, all of the profile or those of some numbers; return the results.

    With ``weights="reference"`` all means those that can do without training.
    """
    run = start("figures", profile=profile, seed=seed, weights=weights)
    notebooks = numbered_notebooks(numbers or run.profile.notebooks)
    parameters = {} if weights == "trained" else dict(weights=weights)
    if parameters and not numbers:
        notebooks = [path for path in notebooks if "weights" in parameter_names(path)]
    for notebook in notebooks:
        execute(notebook, run, parameters=parameters, force=True)
        _report(notebook, run, "executed")
    finish(run)
    return run.folder


def clear_leftovers(run: Run, notebooks: Collection[Path]) -> None:
    """Remove what is not of these notebooks: executed copies of others, and files of none."""
    names = {path.name for path in notebooks}
    for path in sorted(run.folder.glob("*.ipynb")):
        if path.name.replace(results.FAILED, ".ipynb") not in names:
            path.unlink()
            print(f"removed {path.name}: not a notebook of profile {run.profile.name}")
    for name in results.remove_unrecorded(run.folder):
        print(f"removed {name}: no notebook of this run wrote it")


def prepare(run: Run) -> None:
    """Get the faces and train every variant, and write down how long that took."""
    began, before = time.monotonic(), _prepared(run)
    _ = run.sets
    faces = dict(data=run.fingerprints, seconds=time.monotonic() - began)
    if before.get("faces", {}).get("data") == faces["data"]:  # kept: what it took to make them
        faces["seconds"] = max(faces["seconds"], before["faces"]["seconds"])
    write_text(run.folder / PREPARED, json.dumps(before | dict(faces=faces)))
    train_all(run)
    networks = {
        variant.name: dict(key=trained.key, seconds=trained.seconds)
        for variant, trained in run.networks.items()
    }
    write_text(run.folder / PREPARED, json.dumps(dict(faces=faces, networks=networks)))


def train_all(run: Run, variants: Sequence[str] = ()) -> None:
    """Train or load the common base and variants, all of the profile unless some are named."""
    run.train_together(variants or run.profile.variants)
    run.trained(PRETRAIN.name)


def finish(run: Run) -> float:
    """Write manifest and page of a run; return the seconds it took, kept results included."""
    manifest = manifest_of(run)
    write_text(run.folder / "manifest.json", json.dumps(manifest, indent=1) + "\n")
    write_index(run.folder, run.profile)
    return manifest["seconds"]


def manifest_of(run: Run) -> dict:
    """Return what made the results of a run, and the sha256 of every one of them."""
    before, records = _prepared(run), results.records(run.folder)
    networks = dict(before.get("networks", {}))
    for record in records.values():
        networks |= record.get("networks", {})
    stages = dict(
        faces=before.get("faces", {}).get("seconds", 0.0),
        training=sum(network["seconds"] for network in networks.values()),
    )
    stages |= {Path(name).stem: record.get("seconds", 0.0) for name, record in records.items()}
    peaks = [record.get("peak_memory_bytes") or 0 for record in records.values()]
    return dict(
        code=code_version(),
        parameters=run.profile.as_dict(),
        seed=run.seed,
        weights=run.weights,
        packages={name: metadata.version(name) for name in PACKAGES},
        python=platform.python_version(),
        device=device_facts(),
        data=run.fingerprints,
        networks={name: networks[name]["key"] for name in sorted(networks)},
        training_seconds={name: round(networks[name]["seconds"], 1) for name in sorted(networks)},
        seconds=round(sum(stages.values()), 1),
        stages={name: round(value, 1) for name, value in stages.items()},
        peak_memory_bytes=max([peak_memory() or 0, *peaks]) or None,
        images_per_second=_training_rates(run, networks),
        artefacts={name: file_hash(run.folder / name) for name in result_files(run.folder)},
    )


def result_files(folder: Path) -> list[str]:
    """Return the executed notebooks of a run and the files they wrote, relative to its folder."""
    names = [path.name for path in results.executed_notebooks(folder)]
    names += results.recorded_files(folder)
    return [name for name in names if (folder / name).exists()]


def code_version() -> str:
    """Return the package version with the commit it was run from, where git knows it."""
    command = ["git", "-C", str(paths.PACKAGE), "describe", "--always", "--dirty"]
    try:
        commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return __version__
    return f"{__version__}+{commit}"


def _prepared(run: Run) -> dict:
    path = run.folder / PREPARED
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _report(notebook: Path, run: Run, done: str) -> None:
    seconds = results.record_of(run.folder / notebook.name)["seconds"]
    words = f"executed in {seconds:.0f} s" if done == "executed" else "kept, nothing changed"
    print(f"{notebook.name}: {words}", flush=True)


def _training_rates(run: Run, networks: dict[str, dict]) -> dict[str, float]:
    """Return images a second in training for each variant, both of a pair counted."""
    settings, rates = run.profile.optimisation, {}
    for name in sorted(set(networks) & set(VARIANTS)):
        images = settings.batch * settings.steps * (2 if VARIANTS[name].occlusion else 1)
        rates[name] = round(images / max(networks[name]["seconds"], 1e-9), 1)
    return rates
