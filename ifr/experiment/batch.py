"""The batch: get the faces, train, execute every notebook, and write down what happened."""

import json
import platform
import re
import subprocess
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Any

from ifr import __version__
from ifr.common import paths
from ifr.common.errors import OutOfTime, UserError
from ifr.common.files import alone, file_hash, write_text
from ifr.common.hardware import device_facts, peak_memory
from ifr.experiment import claims, results
from ifr.experiment.notebook import (
    GO_ON,
    check_parameters,
    execute,
    is_current,
    notebook_key,
    parameter_names,
)
from ifr.experiment.page import write_index, write_notebooks
from ifr.experiment.run import Run, start
from ifr.profiles import PRETRAIN, PROFILES, Profile

RESULTS = ("*.ipynb", "figures/*.png", "figures/*.pdf", "tables/*.csv", "claims.csv")
LONGEST = ("06", "16", "08", "05", "09", "15")  # notebooks, which begin first
MANIFEST = "manifest.json"  # there once a run has been finished
PREPARED = "prepared.json"  # what came before the notebooks: the data, the networks, their seconds


def numbered_notebooks(numbers: Collection[str] | None = None) -> list[Path]:
    """Return the numbered notebooks in order: all, or those of some numbers such as ``"07"``."""
    folder = paths.notebooks()
    notebooks = {path.name[:2]: path for path in sorted(folder.glob("[0-9][0-9]_*.ipynb"))}
    if not notebooks:
        raise UserError(f"no numbered notebooks in {folder}: this installation is incomplete")
    unknown = ", ".join(sorted(set(numbers or ()) - set(notebooks)))
    if unknown:
        raise UserError(f"no notebook {unknown}: choose from {', '.join(notebooks)}")
    return [path for number, path in notebooks.items() if numbers is None or number in numbers]


def reproduce(
    profile: str,
    *,
    seeds: Sequence[int] = (0,),
    force: bool = False,
    max_minutes: float | None = None,
) -> Path:
    """Get the faces, train, execute the notebooks not current, or all (``force``).

    Of several seeds the lowest comes last: its notebooks show what all of them measured.
    """
    deadline = None if max_minutes is None else time.monotonic() + 60 * max_minutes
    for seed in sorted(set(seeds), reverse=True):
        run = start("00_reproduce", profile=profile, seed=seed)
        run.progress, run.deadline = True, deadline
        notebooks = numbered_notebooks(run.profile.notebooks)
        for notebook in notebooks:
            check_parameters(notebook, ("profile", "seed"))  # before hours of training
        with _followed(run):
            clear_leftovers(run, notebooks)
            prepare(run)
            _execute(notebooks, run, force=force)
    return run.folder


def redraw(
    profile: str, numbers: Collection[str] = (), *, seed: int = 0, weights: str = "trained"
) -> Path:
    """Execute notebooks again, of the profile or some numbers; return the folder of results."""
    run = start("figures", profile=profile, seed=seed, weights=weights)
    notebooks = numbered_notebooks(numbers or run.profile.notebooks)
    _refuse_foreign(run.profile, numbers)
    parameters = {} if weights == "trained" else dict(weights=weights)
    if parameters and not numbers:  # those that can do without training
        notebooks = [path for path in notebooks if "weights" in parameter_names(path)]
        for name in run.fingerprints:
            if name != "train":
                run.data(name)  # rendered here, by all cores
    with _followed(run):
        _execute(notebooks, run, parameters=parameters, force=True)
    return run.folder


def _execute(notebooks: Collection[Path], run: Run, **how: Any) -> None:
    """Execute notebooks, those that take longest first; the one that reads the others' last."""
    last = [notebook for notebook in notebooks if notebook.name[:2] == claims.CLAIMS]
    first = [notebook for notebook in notebooks if notebook not in last]
    first.sort(key=lambda path: [*LONGEST, path.name[:2]].index(path.name[:2]))
    for some in (first, last):
        execute(some, run, begin=lambda notebook: _check_time(run, notebook.name), **how)


def _refuse_foreign(profile: Profile, numbers: Collection[str]) -> None:
    """Refuse notebooks on photographs in a run on procedural faces, and the other way round."""
    others = [one for one in PROFILES.values() if (one.faces is None) != (profile.faces is None)]
    foreign = set(numbers) & set(chain.from_iterable(one.notebooks for one in others))
    if words := ", ".join(sorted(foreign)):
        takes = ", ".join(sorted({one.name for one in others if foreign & set(one.notebooks)}))
        raise UserError(f"profile {profile.name!r} has no notebook {words}: take --profile {takes}")


def _check_time(run: Run, what: str) -> None:
    if run.deadline is not None and time.monotonic() > run.deadline:
        raise OutOfTime(f"time is up before {what}: {GO_ON}")


@contextmanager
def _followed(run: Run) -> Iterator[None]:
    """Be the only one to change a run; manifest and page follow, at an error if there are any."""
    with alone(run.folder / ".lock", partial(_check_time, run, "the other is done")):
        try:
            yield
        except BaseException:
            if (run.folder / MANIFEST).exists():
                finish(run)
            raise
        finish(run)


def clear_leftovers(run: Run, notebooks: Collection[Path]) -> None:
    """Remove executed copies of other notebooks than these, and results that none of them wrote."""
    kept = {path.stem + ending for path in notebooks for ending in (".ipynb", results.FAILED)}
    for path in notebooks:
        kept |= set(results.record_of(run.folder / path.name).get("files", ()))
    for path in (path for pattern in RESULTS for path in sorted(run.folder.glob(pattern))):
        name = path.relative_to(run.folder).as_posix()
        if name not in kept:
            path.unlink()
            print(f"removed {name}: not of a notebook of profile {run.profile.name}")


def prepare(run: Run) -> None:
    """Get the faces and train every variant, and write down how long that took."""
    began, before = time.monotonic(), _prepared(run)
    _ = run.sets
    faces = dict(data=run.fingerprints, seconds=time.monotonic() - began)
    if before.get("data") == faces["data"]:  # kept: what it took to make them
        faces["seconds"] = max(faces["seconds"], before["seconds"])
    networks = before.get("networks", {})
    try:
        run.train_together((*run.profile.variants, PRETRAIN))
    finally:
        for variant, trained in run.networks.items():
            networks[variant.name] = dict(key=trained.key, seconds=trained.seconds)
        write_text(run.folder / PREPARED, json.dumps(faces | dict(networks=networks)))


def finish(run: Run) -> None:
    """Write the manifest, with the sha256 of every result, and the page."""
    before, records = _prepared(run), results.records(run.folder)
    old = outdated(run, records)
    current = [record for name, record in records.items() if name not in old]
    origins = [*(records[name] for name in old), before, *current]  # the last word is the newest's
    used = [record.get("networks", {}).items() for record in origins]
    networks = dict(sorted(dict(chain.from_iterable(used)).items()))
    training = {name: round(network["seconds"], 1) for name, network in networks.items()}
    stages = dict(faces=before.get("seconds", 0.0), training=sum(training.values()))
    stages |= {Path(name).stem: record.get("seconds", 0.0) for name, record in records.items()}
    peaks = [record.get("peak_memory_bytes") or 0 for record in records.values()]
    manifest = dict(
        code=code_version(),
        parameters=run.profile.as_dict(),
        seed=run.seed,
        weights=run.weights,
        packages={name: metadata.version(name) for name in required_packages()},
        python=platform.python_version(),
        device=device_facts(),
        data=run.fingerprints,
        networks={name: network["key"] for name, network in networks.items()},
        training_seconds=training,
        seconds=round(sum(stages.values()), 1),
        stages={name: round(seconds, 1) for name, seconds in stages.items()},
        peak_memory_bytes=max([peak_memory() or 0, *peaks]) or None,
        outdated=old,
        artefacts={name: file_hash(run.folder / name) for name in result_files(run.folder)},
    )
    write_text(run.folder / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    write_notebooks(run.folder)
    page = write_index(run.folder, run.profile)
    if old:
        print(f"of other code, settings or inputs than now: {', '.join(old)}; ifr reproduce helps")
    print(f"results: {manifest['seconds'] / 60:.1f} min with what was kept; open {page}")


def outdated(run: Run, records: dict[str, dict]) -> list[str]:
    """Return the executed notebooks whose code, settings or inputs are others by now."""
    parameters = dict(profile=run.profile.name, seed=run.seed)
    parameters |= {} if run.weights == "trained" else dict(weights=run.weights)
    sources = {name: paths.notebooks() / name for name in records}
    keys = {k: notebook_key(p, run, parameters) for k, p in sources.items() if p.exists()}
    return [name for name, one in records.items() if not is_current(one, keys.get(name), run)]


def code_version() -> str:
    """Return the package version with the commit it was run from, where git knows it."""
    command = ["git", "-C", str(paths.SOURCE), "describe", "--always", "--dirty"]
    if not (paths.SOURCE / ".git").exists():  # a wheel may lie in another project's repository
        return __version__
    try:
        commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return __version__
    return f"{__version__}+{commit}"


def result_files(folder: Path) -> list[str]:
    """Return the executed notebooks of a run and the files they wrote, relative to its folder."""
    names = [*results.records(folder), *sorted(results.recorded_files(folder))]
    return [name for name in names if (folder / name).exists()]


def required_packages() -> list[str]:
    """Return the packages that this one needs, where it is installed and so says which."""
    try:
        lines = metadata.requires("ifr") or []
    except metadata.PackageNotFoundError:
        return []
    return [re.split(r"[^\w-]", line)[0] for line in lines if "extra ==" not in line]


def _prepared(run: Run) -> dict:
    path = run.folder / PREPARED
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
