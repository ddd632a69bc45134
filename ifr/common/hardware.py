"""What this machine has: cores, memory, arithmetic."""

import os
import platform
import sys

import joblib
import psutil


def usable_cores() -> int:
    """Return how many cores this process may use: what OMP_NUM_THREADS or the system allows."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()  # "2,1" is legal
    return int(asked) if asked.isdecimal() and int(asked) else joblib.cpu_count()


def computes_in_bfloat16() -> bool:
    """Return whether the processor, or the GPU when there is one, has bf16 arithmetic."""
    import torch  # late: the workers that render faces do without it

    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)


def peak_memory() -> int | None:
    """Return the largest resident set of this process or one of its children, in bytes."""
    if sys.platform == "win32":
        return None
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(one).ru_maxrss for one in who) * unit


def device_facts() -> dict[str, object]:
    """Return the facts of this machine that timings depend on."""
    import torch

    return dict(
        cores=usable_cores(),
        memory_bytes=psutil.virtual_memory().total,
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        processor=platform.machine(),
        computes_in_bfloat16=computes_in_bfloat16(),
        system=platform.system(),
    )
