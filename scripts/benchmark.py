"""Speeds of this machine, each beside what one would use instead: python scripts/benchmark.py

Ours and the other run in turns within one process, so that a machine that slows down slows both;
the ratio is the median over the turns. Memory is the rise of the resident set during a call.

    python scripts/benchmark.py mesh step --profile classroom --json speeds.json
"""

import argparse
import json
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import torch
from benchmark_cases import CASES, Case, Settings

from ifr.common.errors import UserError
from ifr.common.files import write_text
from ifr.common.hardware import device_facts, usable_cores
from ifr.profiles import get_profile


@dataclass(frozen=True)
class Row:
    """One line of the table: a call of ours and the same work done another way.

    Attributes:
        case: name of the case.
        what: the work.
        ours_ms: median time of our call.
        other: how else it is done; empty where nothing else does it.
        other_ms: median time of the other.
        ratio: other / ours, median over turns: above 1 ours is faster.
        ours_mb: rise of the resident set in one call of ours.
        other_mb: the same of the other.
        rate: units of work a second, such as faces.
        unit: of the rate.
    """

    case: str
    what: str
    ours_ms: float
    other: str
    other_ms: float | None
    ratio: float | None
    ours_mb: float
    other_mb: float | None
    rate: float
    unit: str

    def __str__(self) -> str:
        """Return the line as text."""
        line = f"{self.case:10} {self.what}: {self.ours_ms:.4g} ms, {self.rate:.4g} {self.unit}/s"
        line += f", {self.ours_mb:.0f} MB"
        if self.other_ms is None:
            return line
        return (
            f"{line} | {self.other}: {self.other_ms:.4g} ms, {self.other_mb:.0f} MB"
            f" | {self.ratio:.2f} x"
        )


@dataclass
class Peak:
    """The largest rise of the resident set while it is watched, bytes."""

    rise: int = 0


@contextmanager
def memory_watched() -> Iterable[Peak]:
    """Watch the resident set of this process from a thread."""
    peak, process, ended = Peak(), psutil.Process(), threading.Event()
    before = process.memory_info().rss

    def sample() -> None:
        while not ended.wait(0.002):
            peak.rise = max(peak.rise, process.memory_info().rss - before)

    watcher = threading.Thread(target=sample)
    watcher.start()
    try:
        yield peak
    finally:
        ended.set()
        watcher.join()


def seconds(call: Callable[[], object]) -> float:
    """Return how long a call takes."""
    began = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def megabytes(call: Callable[[], object]) -> float:
    """Return by how much the resident set rises during a call."""
    with memory_watched() as peak:
        call()
    return peak.rise / 2**20


def measured(case: Case) -> list[Row]:
    """Run a case and its rivals in turns; a row for each rival, or one where there is none."""
    calls = [case.ours, *case.others.values()]
    memory = [megabytes(call) for call in calls]  # the first call, which also warms up
    turns = [[seconds(call) for call in calls] for _ in range(case.turns)]
    columns = list(zip(*turns, strict=True))
    ours = statistics.median(columns[0])
    common = dict(case=case.name, what=case.what, ours_ms=1000 * ours, ours_mb=memory[0])
    common |= dict(rate=case.count / ours, unit=case.unit)
    if not case.others:
        return [Row(**common, other="", other_ms=None, ratio=None, other_mb=None)]
    return [
        Row(
            **common,
            other=name,
            other_ms=1000 * statistics.median(times),
            ratio=statistics.median(b / a for a, b in zip(columns[0], times, strict=True)),
            other_mb=memory[index],
        )
        for index, (name, times) in enumerate(zip(case.others, columns[1:], strict=True), start=1)
    ]


def options_of(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="ifr benchmark", description="Speeds of this machine beside what one would use instead"
    )
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(CASES)}; default: all")
    parser.add_argument("--profile", default="classroom", help="whose network and batch")
    parser.add_argument("--batch", type=int, help="pairs a training step; the profile's")
    parser.add_argument("--identities", type=int, default=150, help="of the classifier")
    parser.add_argument("--images", type=int, default=400, help="to render, align and embed")
    parser.add_argument("--json", type=Path, help="also write the rows there")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.cases) - set(CASES))
    if unknown:
        raise UserError(
            f"nothing to measure is called {', '.join(unknown)}: choose of {', '.join(CASES)}"
        )
    return options


def main() -> None:
    """Measure the cases asked for and print a line for each comparison."""
    options = options_of()
    torch.set_num_threads(usable_cores())
    settings = Settings(
        get_profile(options.profile), options.batch, options.identities, options.images
    )
    rows = []
    for name in options.cases or CASES:
        for case in CASES[name](settings):
            for row in measured(case):
                print(row, flush=True)
                rows.append(asdict(row))
            for note in case.notes():
                print(f"{'':10} {note}", flush=True)
            case.close()
    if options.json is not None:
        write_text(options.json, json.dumps(dict(machine=device_facts(), rows=rows), indent=1))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"ifr: {error}")
