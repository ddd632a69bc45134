"""What surrounds the steps of a training run: progress, clock, signals and checkpoints.

Nothing here decides the weights, so a change here retrains nothing.
"""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning_fabric import Fabric

from ifr.common.errors import OutOfTime, Stopped, UserError
from ifr.common.progress import Progress, progress_bar
from ifr.training.checkpoint import Checkpoint

LOG_EVERY = 10  # steps between two rows of the history; several processes agree to stop as often
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Session:
    """Where and how long a run trains, and who watches."""

    fabric: Fabric | None = None  # launched already; one device if None
    progress: bool = True  # show loss terms, images/s and the time left
    deadline: float | None = None  # on the first process's monotonic clock, when to stop cleanly
    stop_after: int | None = None  # stop cleanly after this step, as Ctrl-C would (for tests)
    stop_file: Path | None = None  # stop cleanly once it exists: how a process asks those it began
    line: int = 0  # of the terminal that shows the progress, where several runs share it

    def while_waiting(self) -> None:
        """End the wait for another process that trains this network, as training would end."""
        words = "while another process trains the same network: run the same command again to go on"
        if self.stop_file is not None and self.stop_file.exists():
            raise Stopped(f"stopped {words}")
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise OutOfTime(f"time is up {words}")


@contextmanager
def interrupts(then: Callable[[], object] | None = None) -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C or SIGTERM only set a flag, and give what tells it; a second interrupts.

    So a job ends between two steps, never inside one. ``then`` is called once, when the flag is
    set. Outside the main thread, where Python hears no signals, nothing changes.
    """
    stop = False

    def handle(number: int, _: FrameType | None) -> None:
        nonlocal stop
        if stop and number == signal.SIGINT:
            raise KeyboardInterrupt
        first, stop = not stop, True
        if first and then is not None:
            then()

    hears = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, handle) for number in SIGNALS if hears}
    try:
        yield lambda: stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Watch:
    """Looks after a run between its steps: counts, logs, shows, saves and stops it."""

    bar: Progress
    interrupted: Callable[[], bool]

    def __init__(
        self, name: str, steps: int, checkpoint: Checkpoint, fabric: Fabric, session: Session
    ) -> None:
        self.name, self.steps, self.checkpoint = name, steps, checkpoint
        self.fabric, self.session = fabric, session
        self.log = checkpoint.resume(fabric.device)
        self.first, self.opened = self.log.step, time.monotonic()
        self.saved, self.began = self.opened, self.opened - self.log.seconds

    @contextmanager
    def open(self) -> Iterator[None]:
        """Show the progress and hear signals within a block."""
        shown, line = self.session.progress and self.fabric.is_global_zero, self.session.line
        bar = progress_bar(self.steps, self.name, "step", shown, initial=self.first, position=line)
        with bar as self.bar, interrupts() as self.interrupted:
            yield

    def after_step(self, values: dict[str, torch.Tensor], images: int) -> None:
        """Count a step of so many images, do what is due, and raise Stopped if it is the last."""
        self.log.step += 1
        self.log.seconds = time.monotonic() - self.began
        if self.log.step % LOG_EVERY == 0 or self.log.step == self.steps:
            self._log(values, images)
        self.bar.update()
        reason = self._reason_to_stop()
        if reason is not None or time.monotonic() - self.saved > self.checkpoint.every:
            if self.fabric.is_global_zero:
                self.checkpoint.save(self.log)
            self.saved = time.monotonic()
        if reason is not None:
            why = "time is up in" if reason is OutOfTime else "stopped"
            done = f"step {self.log.step} of {self.steps} is saved"
            again = "run the same command again to go on"
            raise reason(f"{why} training {self.name!r}: {done}; {again}")

    def _log(self, values: dict[str, torch.Tensor], images: int) -> None:
        """Add the values of the whole batch to the history and show them."""
        stacked = torch.stack([value.detach().double() for value in values.values()])
        means: Any = self.fabric.all_reduce(stacked)
        row = dict(zip(values, means.tolist(), strict=True))
        if broken := [name for name, value in row.items() if not math.isfinite(value)]:
            part = f"loss part {', '.join(broken)} of {self.name!r}"
            remedy = "lower the learning rate or the weight of that part"
            raise UserError(f"{part} is not finite at step {self.log.step}; {remedy}")
        self.log.history.append(dict(step=self.log.step) | row)
        seconds = max(time.monotonic() - self.opened, 1e-9)
        rate = images * self.fabric.world_size * (self.log.step - self.first) / seconds
        shown = {name: f"{value:.2f}" for name, value in row.items()}
        self.bar.set_postfix(shown | {"img/s": f"{rate:.0f}"})

    def _reason_to_stop(self) -> type[Stopped] | None:
        """Return why the run is to end after this step: the same in every process."""
        step, session = self.log.step, self.session
        stopped = self.interrupted() or step == session.stop_after
        stopped |= session.stop_file is not None and session.stop_file.exists()
        late = session.deadline is not None and time.monotonic() > session.deadline
        late &= self.fabric.is_global_zero and step < self.steps  # a finished run is not late
        wish: Any = 2 if stopped else int(late)
        if self.fabric.world_size > 1:
            if step % LOG_EVERY:
                return None
            wish = torch.tensor(float(wish), device=self.fabric.device)
            wish = self.fabric.all_reduce(wish, reduce_op="max")
        return (None, OutOfTime, Stopped)[int(wish)]
