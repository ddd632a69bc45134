"""What this machine has: cores, memory, arithmetic."""

import ctypes
import multiprocessing
import os
import platform
import signal
import sys
import threading
import time

import joblib
import psutil


def usable_cores() -> int:
    """Return how many cores this process may use: what OMP_NUM_THREADS or the system allows."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()  # "2,1" is legal
    return int(asked) if asked.isdecimal() and int(asked) else joblib.cpu_count()


def begin_worker() -> None:
    """Let a worker process leave Ctrl-C to its parent, not outlive it, and keep freed memory."""
    keep_freed_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to every process
    started_by = multiprocessing.parent_process()
    parent = os.getppid() if started_by is None else started_by.pid

    def watch() -> None:
        while os.getppid() == parent and psutil.pid_exists(parent):
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def computes_in_bfloat16() -> bool:
    """Return whether the processor, or the GPU when there is one, has bf16 arithmetic."""
    import torch  # late: the workers that render faces do without it

    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)


def keep_freed_memory() -> None:
    """Let glibc keep what is freed: fetching it again costs a page fault per 4 KiB."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(-4, 0)  # M_MMAP_MAX: no block is mapped by itself, to be unmapped when freed
        mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD: bytes free at the end before any are given back


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

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    facts = dict(cores=usable_cores(), memory_bytes=psutil.virtual_memory().total, gpu=gpu)
    facts |= dict(processor=platform.machine(), computes_in_bfloat16=computes_in_bfloat16())
    return facts | dict(system=platform.system())
