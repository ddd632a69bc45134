"""The batch: render, train, execute every notebook with papermill, and write down what happened."""

import hashlib
import json
import os
import platform
import subprocess
import time
from collections.abc import Collection
from importlib import metadata
from pathlib import Path

import nbformat
import papermill

from ifr import __version__
from ifr.common import paths
from ifr.common.errors import NotebookFailed, OutOfTime
from ifr.common.hardware import device_facts, peak_memory
from ifr.experiment.page import write_index
from ifr.experiment.run import Run, start
from ifr.profiles import get_variant

PACKAGES = (
    "torch",
    "torchvision",
    "lightning",
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
WIDGET = "application/vnd.jupyter.widget-view+json"
ARTEFACTS = ("*.ipynb", "figures/*.png", "figures/*.pdf", "tables/*.csv", "claims.csv")


def numbered_notebooks(numbers: Collection[str] | None = None) -> list[Path]:
    """Return the numbered notebooks in order.

    Args:
        numbers: those of a profile, such as ``("00", "01")``; None for all.

    Raises:
        FileNotFoundError: when there are none, as outside a checkout.
    """
    found = sorted(paths.notebooks().glob("[0-9][0-9]_*.ipynb"))
    if not found:
        raise FileNotFoundError(
            f"no numbered notebooks in {paths.notebooks()}: run from a checkout of the project, or "
            "set IFR_HOME to one"
        )
    return [path for path in found if numbers is None or path.name[:2] in numbers]


def check_parameters(notebook: Path, parameters: dict) -> None:
    """Refuse parameters the notebook does not have; papermill by itself only warns.

    Raises:
        ValueError: naming the unknown parameters and the known ones.
    """
    known = set(papermill.inspect_notebook(str(notebook)))
    unknown = sorted(set(parameters) - known)
    if unknown:
        raise ValueError(
            f"{notebook.name} has no parameter {', '.join(unknown)}: it takes "
            f"{', '.join(sorted(known)) or 'none'}"
        )


def notebook_key(notebook: Path, run: Run, parameters: dict) -> str:
    """Return the content hash of one execution: notebook, library, parameters and data."""
    digest = hashlib.sha256(notebook.read_bytes())
    for source in sorted(paths.PACKAGE.rglob("*.py")):
        digest.update(source.read_bytes())
    digest.update(json.dumps([run.profile.as_dict(), parameters], sort_keys=True).encode())
    for fingerprint in run.fingerprints.values():
        digest.update(fingerprint.encode())
    return digest.hexdigest()


def execute(
    notebook: Path, run: Run, *, parameters: dict | None = None, force: bool = False
) -> bool:
    """Execute one notebook into the results folder; return False when its result was current.

    A notebook that fails leaves ``NN_name.failed.ipynb`` to read and its last good result in place.

    Raises:
        NotebookFailed: naming the notebook, the error and the copy to open.
        ValueError: for an unknown parameter.
    """
    parameters = dict(profile=run.profile.name, seed=run.seed) | (parameters or {})
    check_parameters(notebook, parameters)
    target = run.folder / notebook.name
    key = notebook_key(notebook, run, parameters)
    if target.exists() and not force and _key_of(target) == key:
        return False
    failed = run.folder / f"{notebook.stem}.failed.ipynb"
    os.environ.setdefault("JUPYTER_PREFER_ENV_PATH", "1")  # the kernel of this environment
    os.environ["IFR_PROGRESS"] = "0"  # bars belong in a terminal, not in a saved notebook
    try:
        papermill.execute_notebook(
            str(notebook),
            str(failed),
            parameters,
            kernel_name="python3",
            progress_bar=False,
            cwd=str(paths.home()),
            autosave_cell_every=0,
        )
    except papermill.PapermillExecutionError as error:
        raise NotebookFailed(
            f"{notebook.name} stopped in cell {error.exec_count} with {error.ename}: "
            f"{error.evalue}; open {failed} to see it"
        ) from error
    executed = nbformat.read(failed, as_version=4)
    executed.metadata["ifr"] = {"key": key}
    _forget_this_machine(executed)
    nbformat.write(executed, failed)
    os.replace(failed, target)
    return True


def reproduce(
    profile: str = "classroom",
    *,
    seed: int = 0,
    force: bool = False,
    max_minutes: float | None = None,
) -> Path:
    """Get the faces, train every variant, execute the profile's notebooks; return the results.

    What is already there and current is kept, so a run cut short continues where it stopped.

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
    stages = {}
    _ = run.sets
    stages["faces"] = time.monotonic() - began
    for variant in run.profile.variants:
        run.trained(variant)
    stages["training"] = time.monotonic() - began - stages["faces"]
    for notebook in numbered_notebooks(run.profile.notebooks):
        at = time.monotonic()
        if run.deadline is not None and at > run.deadline:
            raise OutOfTime(
                f"time is up before {notebook.name}: what is done is kept; run the same command "
                "again to go on"
            )
        done = "executed" if execute(notebook, run, force=force) else "kept, nothing changed"
        stages[notebook.stem] = time.monotonic() - at
        print(f"{notebook.name}: {done} ({stages[notebook.stem]:.0f} s)", flush=True)
    write_manifest(run, stages, time.monotonic() - began)
    write_index(run.folder, run.profile)
    print(f"done in {(time.monotonic() - began) / 60:.1f} min; open {run.folder / 'index.html'}")
    return run.folder


def write_manifest(run: Run, stages: dict[str, float], seconds: float) -> Path:
    """Write ``manifest.json``: what made these results, and the sha256 of every one of them."""
    files = sorted(
        path
        for pattern in ARTEFACTS
        for path in run.folder.glob(pattern)
        if not path.name.endswith(".failed.ipynb")
    )
    manifest = dict(
        code=code_version(),
        parameters=run.profile.as_dict(),
        seed=run.seed,
        packages={name: metadata.version(name) for name in PACKAGES},
        python=platform.python_version(),
        device=device_facts(),
        data=run.fingerprints,
        networks={name: trained.key for name, trained in sorted(run._trained.items())},
        training_seconds={name: round(t.seconds, 1) for name, t in sorted(run._trained.items())},
        seconds=round(seconds, 1),
        stages={name: round(value, 1) for name, value in stages.items()},
        peak_memory_bytes=peak_memory(),
        images_per_second=training_rate(run),
        artefacts={
            str(path.relative_to(run.folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
        },
    )
    target = run.folder / "manifest.json"
    temporary = target.with_suffix(".partial")
    temporary.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, target)
    return target


def training_rate(run: Run) -> dict[str, float]:
    """Return images a second in training for each variant, twins counted as images."""
    settings, rates = run.profile.optimisation, {}
    for name in run.profile.variants:
        trained = run.trained(name)
        images = settings.batch * settings.steps * (2 if get_variant(name).occlusion else 1)
        rates[name] = round(images / max(trained.seconds, 1e-9), 1)
    return rates


def code_version() -> str:
    """Return the package version with the commit it was run from, where git knows it."""
    command = ["git", "-C", str(paths.PACKAGE), "describe", "--always", "--dirty"]
    try:
        commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return __version__
    return f"{__version__}+{commit}"


def _key_of(executed: Path) -> str | None:
    return nbformat.read(executed, as_version=4).metadata.get("ifr", {}).get("key")


def _forget_this_machine(notebook) -> None:
    """Drop from an executed notebook what differs from one run to the next without meaning.

    So are widgets, which are dead without their kernel: what they show stands beside them as HTML.
    """
    record = notebook.metadata.get("papermill", {})
    notebook.metadata["papermill"] = {"parameters": record.get("parameters", {})}
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        cell.metadata.pop("papermill", None)
        for output in cell.get("outputs", ()):
            if "text/html" in output.get("data", {}):
                output.data.pop(WIDGET, None)
