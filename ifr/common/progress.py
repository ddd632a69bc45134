"""Progress of long jobs: a bar where someone watches, a line now and then where a file listens."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from tqdm.auto import tqdm

LINE_EVERY = 30.0  # seconds between two lines in a log


class Progress(Protocol):
    """What :func:`progress_bar` gives: count steps, and show values beside them."""

    def update(self, n: int = 1) -> object: ...

    def set_postfix(self, values: Mapping[str, object]) -> None: ...


@contextmanager
def progress_bar(
    total: int, desc: str, unit: str, enabled: bool = True, *, initial: int = 0, position: int = 0
) -> Iterator[Progress]:
    """Show on stderr how far a job of ``total`` steps is, the first ``initial`` done before."""
    if enabled and not _watched():
        lines = _Lines(total, desc, unit, initial)
        try:
            yield lines
        finally:
            lines.show()
        return
    job = dict(total=total, desc=desc, unit=unit, initial=initial)
    with tqdm(**job, disable=not enabled, mininterval=1.0, position=position or None) as bar:
        yield bar


def _watched() -> bool:
    kernel = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(kernel, "kernel") or sys.stderr.isatty()


class _Lines:
    def __init__(self, total: int, desc: str, unit: str, initial: int) -> None:
        self.total, self.desc, self.unit = total, desc, unit
        self.initial = self.count = initial
        self.values: Mapping[str, object] = {}
        self.began = self.shown = time.monotonic()

    def update(self, n: int = 1) -> None:
        self.count += n
        if time.monotonic() - self.shown >= LINE_EVERY:
            self.show()

    def set_postfix(self, values: Mapping[str, object]) -> None:
        self.values = values

    def show(self) -> None:
        self.shown = time.monotonic()
        seconds = self.shown - self.began
        rate = (self.count - self.initial) / max(seconds, 1e-9)
        words = [f"{self.count} of {self.total} {self.unit}", f"{seconds:.0f} s"]
        if rate:
            words += [f"{rate:.1f} {self.unit}/s", f"{(self.total - self.count) / rate:.0f} s left"]
        words += [f"{name} {value}" for name, value in self.values.items()]
        print(f"{self.desc}: {', '.join(words)}", file=sys.stderr, flush=True)
