"""Runs the cells of a student's notebook in a process of its own, with limits."""

import json
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import psutil
import run_cells

from ifr.common import paths
from ifr.common.errors import UserError

CELL_SECONDS, SECONDS = run_cells.SECONDS, 300  # a cell, and a whole notebook, may take
GRACE = 5  # seconds after which a cell that does not stop is ended with its process
START = 120  # seconds for the process to start
MEMORY = 4 << 30  # bytes that the process may take
LINE = 1 << 20  # bytes of an answer at most

# Of the environment a student's code gets what libraries need, and none of the teacher's secrets.
PASSED_ON = (
    *("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "MPLCONFIGDIR", "NUMBA_CACHE_DIR"),
    *("PATH", "PYTHONPATH", "TMPDIR", "VIRTUAL_ENV", "XDG_CACHE_HOME"),
)


@dataclass(frozen=True)
class Cell:
    """A cell to run: its name, its code, whether it is the course's own, and gives points."""

    name: str
    source: str
    course: bool
    points: float = 0


@dataclass(frozen=True)
class Outcome:
    """What came of a cell: ``why`` it failed, or ""; ``ended`` when it took its process along."""

    why: str
    ended: bool = False


class Process:
    """A process that runs cells of one notebook in an empty folder."""

    def __init__(self, folder: str, forbidden: Collection[Path], answers: Collection[str]) -> None:
        self.channel, theirs = socket.socketpair()
        settings = dict(
            channel=theirs.fileno(), memory=MEMORY, seconds=2 * SECONDS, cell=CELL_SECONDS,
            answers=sorted(answers), forbidden=[str(path) for path in forbidden],
        )  # fmt: skip
        given = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        given |= paths.named()
        quiet = dict(MPLBACKEND="agg", OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")
        with theirs, open(Path(folder) / "log", "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", run_cells.__file__, json.dumps(settings)],
                env=given | quiet | dict(IFR_PROGRESS="0", IPYTHONDIR=folder),
                cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log,
                pass_fds=[theirs.fileno()], start_new_session=True,
            )  # fmt: skip
        self.buffer = b""
        if self.read(START) != {}:
            self.__exit__(None, None, None)
            said = (Path(folder) / "log").read_text(errors="replace").strip().splitlines()
            raise UserError(f"grading does not start: {said[-1] if said else 'no answer'}")

    def __enter__(self) -> "Process":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process with all that it started."""
        self.channel.close()
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    child.kill()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def run(self, cell: Cell, seconds: float) -> Outcome:
        """Run a cell; an answer without this cell's key is none."""
        key = secrets.token_hex()
        request = dict(key=key, source=cell.source, course=cell.course)
        try:
            self.channel.sendall(json.dumps(request).encode() + b"\n")
        except OSError:
            return Outcome("the process ended", ended=True)
        answer = self.read(seconds)
        if isinstance(answer, str):
            return Outcome(answer, ended=True)
        why = answer.get("why")
        if answer.get("key") != key or not isinstance(why, str):
            return Outcome("it interfered with the grading", ended=True)
        return Outcome(why, ended=bool(why) and self.memory() > MEMORY // 2)

    def read(self, seconds: float) -> dict[str, object] | str:
        """Return the next answer, or why none comes."""
        end = time.monotonic() + seconds
        while b"\n" not in self.buffer:
            if time.monotonic() > end:
                return f"it ran for more than {CELL_SECONDS} s and did not stop"
            if self.memory() > MEMORY:
                return f"it took more than {MEMORY >> 30} GiB of memory"
            if select.select([self.channel], [], [], 0.2)[0]:
                with suppress(ConnectionResetError):
                    got = self.channel.recv(1 << 16)
                    self.buffer += got
                    if got and len(self.buffer) < LINE:
                        continue
                return self.last_words()
        line, _, self.buffer = self.buffer.partition(b"\n")
        try:
            answer = json.loads(line)
        except ValueError:
            return "it interfered with the grading"
        return answer if isinstance(answer, dict) else "it interfered with the grading"

    def last_words(self) -> str:
        """Say how the process ended."""
        with suppress(subprocess.TimeoutExpired):
            status = self.process.wait(GRACE)
            how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
            return f"it ended its process ({how})"
        return "it interfered with the grading"

    def memory(self) -> int:
        """Return the bytes that the process holds in memory."""
        with suppress(psutil.Error):
            return int(psutil.Process(self.process.pid).memory_info().rss)
        return 0


def run_apart(
    cells: Sequence[Cell], answers: Collection[str], forbidden: Collection[Path] = ()
) -> list[Outcome]:
    """Run the cells of one notebook; a cell that ends the process is left out in the next one.

    Every cell gets an outcome. The cells before a deadly one are run again, as those after it
    build on them; what they scored stands.
    """
    outcomes: dict[int, Outcome] = {}
    deadly: set[int] = set()
    end = time.monotonic() + SECONDS
    left = True
    while left and time.monotonic() < end:
        with (
            tempfile.TemporaryDirectory(prefix="ifr-grade-", ignore_cleanup_errors=True) as folder,
            Process(folder, forbidden, answers) as process,
        ):
            left = False
            for index in (i for i in range(len(cells)) if i not in deadly):
                seconds = min(CELL_SECONDS + GRACE, end - time.monotonic())
                if seconds <= 0:
                    break
                outcome = process.run(cells[index], seconds)
                outcomes.setdefault(index, outcome)
                if outcome.ended:
                    deadly.add(index)
                    left = True
                    break
    late = Outcome(f"not reached: the notebook ran for more than {SECONDS} s")
    return [outcomes.get(index, late) for index in range(len(cells))]
