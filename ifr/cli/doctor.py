"""What this machine has and what is in place: the facts to look at before a run or a bug report."""

import platform
import shutil
from importlib import metadata

import psutil
import torch

from ifr import __version__
from ifr.common import paths
from ifr.common.errors import UserError
from ifr.common.hardware import computes_in_bfloat16, usable_cores
from ifr.datasets import load_set
from ifr.datasets.photographs import find_folders
from ifr.datasets.rendered import SetSpec, plan_sets, set_folder
from ifr.experiment.batch import required_packages
from ifr.profiles import PROFILES

GIB = 2**30


def report() -> list[tuple[str, str]]:
    """Return (what, state) lines on the machine, the packages, the data sets and the runs."""
    home = paths.home()  # may not be there yet: it is made on first use
    disk = shutil.disk_usage(next(one for one in (home, *home.parents) if one.exists()))
    memory = psutil.virtual_memory()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none (not needed)"
    bf16 = "yes" if computes_in_bfloat16() else "no, fp32 is used"
    free = f"{memory.available / GIB:.1f} GiB free of {memory.total / GIB:.1f} GiB"
    lines = [("ifr", __version__), ("Python", platform.python_version())]
    lines += [("system", f"{platform.system()} {platform.machine()}")]
    lines += [("cores", str(usable_cores())), ("bf16 arithmetic", bf16), ("GPU", gpu)]
    lines += [("memory", free), ("disk", f"{disk.free / GIB:.1f} GiB free at {home}")]
    lines += [("notebooks", str(paths.notebooks()))]
    lines += [(f"package {name}", _version(name)) for name in required_packages()]
    lines.append(("photographs", _photographs_state()))
    for name, profile in PROFILES.items():
        specs = plan_sets(profile.faces) if profile.faces else []
        lines += [(f"data {name}", _set_state(spec)) for spec in specs]
        done = sorted(run.parent.name for run in paths.results(name).glob("seed-*/manifest.json"))
        lines.append((f"run {name}", f"finished: {', '.join(done)}" if done else "not run yet"))
    return lines


def _photographs_state() -> str:
    try:
        lfw, training = find_folders(paths.real_faces())
    except (UserError, OSError) as error:
        return f"none (not needed): {error}"
    return f"LFW in {lfw}, training in {', '.join(training) or 'nothing'}"


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "MISSING: run make setup, or pip install -e ."


def _set_state(spec: SetSpec) -> str:
    folder = set_folder(spec, paths.data())
    try:
        if not folder.exists():
            return f"{spec.name}: not rendered yet (made on first use)"
        return f"{spec.name}: {len(load_set(folder))} images in place"
    except (OSError, ValueError) as error:
        return f"{spec.name}: BROKEN, {error}"
