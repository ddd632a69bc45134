"""Progress of long jobs: a bar where someone watches, a line now and then where a file listens."""

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm.auto import tqdm

LINE_EVERY = 30.0  # seconds between two lines in a log
LINE = "{desc}: {n} of {total}{unit}, {elapsed_s:.0f} s, {rate_noinv_fmt}, {remaining_s:.0f} s left"


class _Log:
    """Standard error as tqdm writes to it, a line each time."""

    def write(self, text: str) -> None:
        if text.strip():
            print(text.strip(), file=sys.stderr)

    def flush(self) -> None:
        sys.stderr.flush()


@contextmanager
def progress_bar(
    total: int, desc: str, unit: str, enabled: bool = True, *, initial: int = 0, position: int = 0
) -> Iterator[tqdm]:
    """Show on stderr how far a job of ``total`` steps is, the first ``initial`` done before."""
    kernel = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    look: dict[str, Any] = dict(mininterval=1.0, position=position or None)
    if not hasattr(kernel, "kernel") and not sys.stderr.isatty():
        look = dict(file=_Log(), bar_format=LINE + "{postfix}", position=0, delay=1e-9, miniters=1)
        look |= dict(mininterval=LINE_EVERY, maxinterval=math.inf, smoothing=0)
    job: dict[str, Any] = dict(total=total, desc=desc, unit=f" {unit}", initial=initial)
    with tqdm(**job, **look, disable=not enabled) as bar:
        yield bar
