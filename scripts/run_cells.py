"""Runs the cells of a notebook: the course's own, and those of a student, which may do anything.

As a program this is the process that ``run_apart`` starts and talks to, a line of JSON for a cell
and one for what came of it.
"""

import builtins
import contextlib
import json
import os
import re
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from types import FrameType, ModuleType
from typing import Any

from ifr.common.hardware import begin_worker

SECONDS = 20  # a cell may take; a longer one is stopped
BEGIN_HIDDEN = "### BEGIN HIDDEN TESTS"
COURSE, OWN = "<course>", "<student>"  # file names of cells in tracebacks
LONGEST = 400  # characters of a reason

# Libraries whose functions are put back before a cell of the course runs.
GUARDED = {
    "builtins",
    "ifr",
    "itertools",
    "math",
    "numpy",
    "random",
    "scipy",
    "statistics",
    "torch",
}
NOTHING = object()

# What no answer needs: other programs and processes, and the network.
DENIED = {
    *("os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "pty.spawn"),
    *("os.kill", "os.killpg", "subprocess.Popen", "socket.connect", "socket.getaddrinfo"),
}

Namespace = dict[str, Any]
Execute = Callable[[str, Namespace], None]


class OutOfTime(BaseException):
    """A cell took too long; an ``except Exception`` of a student does not catch it."""


def execute_python(source: str, names: Namespace) -> None:
    """Run a student's cell as plain Python."""
    exec(compile(source, OWN, "exec", dont_inherit=True), names)


class Session:
    """The cells of one notebook, run one after the other, in two namespaces.

    A cell of the course sees the names that the course's cells gave, whatever a student calls
    ``np`` or ``abs``; only ``answers`` are always the student's. A student's cell sees all names.
    """

    def __init__(
        self, answers: frozenset[str], execute: Execute = execute_python, seconds: int = SECONDS
    ) -> None:
        self.answers = answers
        self.seconds = seconds
        self.execute = execute
        self.own: Namespace = {"__name__": "__main__"}
        self.course: Namespace = {"__name__": "__main__"}
        self.given: set[str] = set()  # names that the course's cells bound
        self.modules: dict[str, ModuleType] = {}
        self.originals: dict[int, tuple[object, Namespace]] = {}

    def run(self, source: str, course: bool) -> str:
        """Run a cell, silently and for so many seconds at most; return why it failed, or ""."""
        run = self.run_course if course else self.run_own
        try:
            with (
                open(os.devnull, "w") as nowhere,
                contextlib.redirect_stdout(nowhere),
                contextlib.redirect_stderr(nowhere),
                time_limit(self.seconds),
            ):
                run(source)
        except (Exception, OutOfTime, SystemExit) as error:  # Ctrl-C ends the grading
            if os.environ.get("IFR_TRACEBACK"):
                traceback.print_exc()
            return reason(error, source if course else "")
        return ""

    def run_own(self, source: str) -> None:
        """Run a student's cell; what it could put something else in place of is kept before."""
        self.modules = guarded_modules() | self.modules
        for owner in guarded(self.modules):
            if id(owner) not in self.originals:
                self.originals[id(owner)] = (owner, functions_of(owner))
        self.execute(source, self.own)

    def run_course(self, source: str) -> None:
        """Run a cell of the course; the student has what it binds, but keeps names of their own."""
        sys.modules.update(self.modules)
        for owner, functions in self.originals.values():
            put_back(owner, functions)
        self.course["__builtins__"] = builtins
        for name, value in self.own.items():
            shadows = name in self.given or hasattr(builtins, name)
            if name in self.answers or not shadows:
                self.course[name] = value
        before = dict(self.course)
        try:  # asserts count, whatever PYTHONOPTIMIZE says
            exec(compile(source, COURSE, "exec", dont_inherit=True, optimize=0), self.course)
        finally:
            for name in self.course.keys() - self.answers:
                old = before.get(name, NOTHING)
                if self.course[name] is not old:
                    if name not in self.own or (name in self.given and self.own[name] is old):
                        self.own[name] = self.course[name]
                    self.given.add(name)


def guarded_modules() -> dict[str, ModuleType]:
    """Return the loaded modules that tests rely on."""
    return {
        name: module
        for name, module in sys.modules.items()
        if name.partition(".")[0] in GUARDED and isinstance(module, ModuleType)
    }


def guarded(modules: dict[str, ModuleType]) -> Iterator[object]:
    """Yield modules that tests rely on, and classes of theirs that can be changed."""
    for name, module in modules.items():
        yield module
        if name.startswith("ifr."):
            yield from (one for one in vars(module).values() if isinstance(one, type))
    if "torch" in modules:
        yield modules["torch"].Tensor


def functions_of(owner: object) -> Namespace:
    """Return the functions and classes that a module or class holds, by name."""
    return {
        name: value
        for name, value in vars(owner).items()
        if callable(value) or issubclass(type(value), (classmethod, property))
    }


def put_back(owner: object, functions: Namespace) -> None:
    """Give a module or class its functions again, and a class no others."""
    for name, value in functions.items():
        if vars(owner).get(name, NOTHING) is not value:
            setattr(owner, name, value)
    if isinstance(owner, type):
        for name in functions_of(owner).keys() - functions.keys():
            delattr(owner, name)


@contextlib.contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Stop what runs within after so many seconds."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise OutOfTime(f"it ran for more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def reason(error: BaseException, test: str) -> str:
    """Return in one line why a cell failed, without the code of hidden tests.

    What a student's code says while a test calls it is left out, as it can look at that test.
    """
    if isinstance(error, OutOfTime):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    lines = test.splitlines()
    at = next((f.lineno or 0 for f in frames if (f.filename, f.name) == (COURSE, "<module>")), 0)
    hidden = BEGIN_HIDDEN in lines[:at]
    theirs = [f for f in frames if f.filename == OWN or f.filename.startswith("<ipython-input")]
    if isinstance(error, NotImplementedError) and theirs:
        return "not answered"
    said = re.sub(r"\(<[^>]*>, line", "(line", " ".join(str(error).split()))
    if isinstance(error, AssertionError) and test and not theirs:
        failed = "a hidden test failed" if hidden else f"failed: {lines[at - 1].strip()}"
        return (said or failed)[:LONGEST]
    what = type(error).__name__
    if said and not (test and theirs):
        what = f"{what}: {said}"[:LONGEST]
    line = theirs[-1].line if theirs else ""
    return f"{what}, in your line: {line}" if line else what


def forbid(folders: list[str]) -> None:
    """Keep this process from other ones, from the network, and out of some folders."""
    real, decode, denied = os.path.realpath, os.fsdecode, frozenset(DENIED)
    roots = tuple(real(folder) for folder in folders)

    def check(event: str, arguments: tuple[Any, ...]) -> None:
        if event in denied:
            raise PermissionError(f"{event}: no other process and no network while grading")
        if event == "open" or event.startswith(("os.", "shutil.")):
            for one in arguments:
                if isinstance(one, (str, bytes, os.PathLike)):
                    path = real(decode(one)) + os.sep
                    if path.startswith(tuple(root + os.sep for root in roots)):
                        raise PermissionError(f"{decode(one)} is not for students' notebooks")

    sys.addaudithook(check)


def limit(memory: int, seconds: int) -> None:
    """Limit memory, processor time and the size of a file, as far as the system can."""
    import resource

    for what, most in (
        (resource.RLIMIT_DATA, memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, 100 << 20),
        (resource.RLIMIT_CORE, 0),
    ):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(what, (most, most))


def ipython(names: Namespace) -> Execute:
    """Return how a notebook runs a cell: IPython's magics and ``display`` are there."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    class Shell(InteractiveShell):
        def enable_gui(self, gui: object = None) -> None:
            """Need no window: ``%matplotlib inline`` calls this."""

        def showtraceback(self, *arguments: Any, **options: Any) -> None:
            """Print nothing: nobody reads it."""

        showsyntaxerror = ask_exit = showtraceback

    config = Config()
    config.HistoryManager.enabled = False
    shell = Shell.instance(user_ns=names, config=config)

    def execute(source: str, names: Namespace) -> None:
        result = shell.run_cell(source, silent=True)
        error = result.error_before_exec or result.error_in_exec
        if error is not None:
            raise error

    return execute


def serve(channel: socket.socket, settings: dict[str, Any]) -> None:
    """Run the cells that come through the channel, until it is closed."""
    import numpy  # noqa: F401  before a student can put functions in its place
    import torch  # noqa: F401

    send, loads, dumps = channel.sendall, json.loads, json.dumps
    session = Session(frozenset(settings["answers"]), seconds=settings["cell"])
    session.execute = ipython(session.own)
    forbid(settings["forbidden"])
    send(b"{}\n")
    for line in channel.makefile("rb"):
        request = loads(line)
        why = session.run(request["source"], request["course"])
        send(dumps({"key": request["key"], "why": why}).encode() + b"\n")


def main() -> None:
    """Set the limits of this process, then serve the one that started it."""
    begin_worker()
    settings = json.loads(sys.argv.pop())
    limit(settings["memory"], settings["seconds"])
    serve(socket.socket(fileno=settings["channel"]), settings)


if __name__ == "__main__":
    main()
