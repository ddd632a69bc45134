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

import torch
from lightning_fabric import Fabric

from ifr.common.errors import OutOfTime, Stopped, UserError
from ifr.common.progress import Progress, progress_bar
from ifr.training.checkpoint import Checkpoint, TrainingLog

LOG_EVERY = 10  # steps between two rows of the history; several processes agree to stop as often
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Session:
    """Where and how long a run trains, and who watches.

    Attributes:
        fabric: launched already; one device if None.
        progress: show how far it is, the loss terms, images/s and the time left.
        deadline: on the monotonic clock, when to stop cleanly; with several processes the first
            one's clock counts.
        stop_after: stop cleanly after this step, as Ctrl-C would (for tests).
        stop_file: stop cleanly once it exists: how a process asks those it started.
        line: of the terminal that shows the progress, where several runs share it.
    """

    fabric: Fabric | None = None
    progress: bool = True
    deadline: float | None = None
    stop_after: int | None = None
    stop_file: Path | None = None
    line: int = 0


class Interrupts:
    """While it is open, the first Ctrl-C or SIGTERM only sets a flag; a second Ctrl-C interrupts.

    So a job ends between two steps, never inside one. Call it to ask; ``then`` is called once, when
    the flag is set. Outside the main thread, where Python hears no signals, nothing changes.
    """

    def __init__(self, then: Callable[[], object] | None = None) -> None:
        self.stop, self.then = False, then
        self.before: dict = {}

    def __call__(self) -> bool:
        """Return whether the job is to end."""
        return self.stop

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            self.before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.stop:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        self.stop = True
        if self.then is not None:
            self.then()


class Watch:
    """Looks after a run between its steps: counts, logs, shows, saves and stops it."""

    def __init__(
        self,
        name: str,
        steps: int,
        checkpoint: Checkpoint,
        every: float,
        fabric: Fabric,
        session: Session,
    ) -> None:
        self.name, self.steps, self.every = name, steps, every
        self.checkpoint, self.fabric, self.session = checkpoint, fabric, session
        self.log = checkpoint.resume(fabric.device)
        self.first, self.opened = self.log.step, time.monotonic()
        self.saved, self.began = self.opened, self.opened - self.log.seconds
        self.bar: Progress
        self.interrupts = Interrupts()

    @contextmanager
    def open(self) -> Iterator["Watch"]:
        """Show the progress and hear signals within a block."""
        shown = self.session.progress and self.fabric.is_global_zero
        line, first = self.session.line, self.first
        bar = progress_bar(self.steps, self.name, "step", shown, initial=first, position=line)
        with bar as self.bar, self.interrupts:
            yield self

    def after_step(self, values: dict[str, torch.Tensor], images: int) -> None:
        """Count a step of so many images, do what is due, and raise Stopped if it is the last."""
        self.log.step += 1
        if self.log.step % LOG_EVERY == 0 or self.log.step == self.steps:
            self._log(values, images)
        self.bar.update()
        if time.monotonic() - self.saved > self.every:
            self.save()
        reason = self._reason_to_stop()
        if reason is not None:
            self.save()
            why = "time is up in" if reason is OutOfTime else "stopped"
            raise reason(
                f"{why} training {self.name!r}: step {self.log.step} of {self.steps} is saved; run "
                "the same command again to go on"
            )

    def save(self) -> None:
        """Write the checkpoint, in the first process."""
        self.log.seconds = time.monotonic() - self.began
        if self.fabric.is_global_zero:
            self.checkpoint.save(self.log)
        self.saved = time.monotonic()

    def finished(self) -> TrainingLog:
        """Return the log of a run that took all its steps."""
        self.log.seconds = time.monotonic() - self.began
        return self.log

    def _log(self, values: dict[str, torch.Tensor], images: int) -> None:
        """Add the values of the whole batch to the history and show them."""
        stacked = torch.stack([value.detach().double() for value in values.values()])
        means = self.fabric.all_reduce(stacked)
        row = dict(zip(values, means.tolist(), strict=True))
        broken = [name for name, value in row.items() if not math.isfinite(value)]
        if broken:
            raise UserError(
                f"loss part {', '.join(broken)} of {self.name!r} is not finite at step "
                f"{self.log.step}; lower the learning rate or the weight of that part"
            )
        self.log.history.append(dict(step=self.log.step) | row)
        seconds = max(time.monotonic() - self.opened, 1e-9)
        rate = images * self.fabric.world_size * (self.log.step - self.first) / seconds
        shown = {name: f"{value:.2f}" for name, value in row.items()}
        self.bar.set_postfix(shown | {"img/s": f"{rate:.0f}"})

    def _reason_to_stop(self) -> type[Stopped] | None:
        """Return why the run is to end after this step: the same in every process."""
        step, session = self.log.step, self.session
        stopped = self.interrupts() or step == session.stop_after
        stopped |= session.stop_file is not None and session.stop_file.exists()
        late = session.deadline is not None and time.monotonic() > session.deadline
        late &= self.fabric.is_global_zero and step < self.steps  # a finished run is not late
        wish = 2 if stopped else int(late)
        if self.fabric.world_size > 1:
            if step % LOG_EVERY:
                return None
            wishes = torch.tensor(float(wish), device=self.fabric.device)
            wish = int(self.fabric.all_reduce(wishes, reduce_op="max"))
        return (None, OutOfTime, Stopped)[wish]
