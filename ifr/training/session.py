"""What surrounds the steps of a training run: device, progress, clock, signals and checkpoints.

Nothing here decides the weights, so a change here retrains nothing.
"""

import atexit
import logging
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
import torch

from ifr.common.errors import OutOfTime, Stopped, UserError
from ifr.common.files import written_whole
from ifr.common.hardware import computes_in_bfloat16, keep_freed_memory
from ifr.common.progress import progress_bar

if TYPE_CHECKING:  # it takes a second to import, and kept networks and most commands need none
    from lightning_fabric import Fabric

LOG_EVERY = 10  # steps between two rows of the history; several processes agree to stop as often
SIGNALS = (signal.SIGINT, signal.SIGTERM)
VERSION = 2  # of what a checkpoint holds


def make_fabric(
    precision: str = "auto", *, accelerator: str = "auto", devices: int | None = None
) -> "Fabric":
    """Return Lightning Fabric for so many devices, each with a process that Fabric starts.

    As many as torchrun started, else one, if None; the accelerator is "auto", "cpu" or "cuda", the
    precision "auto", "fp64", "fp32" or "bf16".
    """
    from lightning_fabric import Fabric

    known: dict[str, Literal["64-true", "32-true", "bf16-mixed"]] = {}  # as Fabric names them
    known |= {"fp64": "64-true", "fp32": "32-true", "bf16": "bf16-mixed"}
    if precision not in (*known, "auto"):
        raise UserError(f"unknown precision {precision!r}: choose one of {', '.join(known)}, auto")
    if precision == "auto":
        precision = "bf16" if computes_in_bfloat16() else "fp32"
    keep_freed_memory()
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces bf16 each time
    nodes, given = 1, os.environ.get("LOCAL_WORLD_SIZE")
    if given is not None:  # torchrun
        if devices not in (None, int(given)):
            raise UserError(f"torchrun started {given} processes here, {devices} are asked for")
        devices, nodes = int(given), int(os.environ["WORLD_SIZE"]) // int(given)
    devices, cards = devices or 1, torch.cuda.device_count()
    if accelerator != "cpu" and cards and devices > cards:
        raise UserError(f"{devices} devices are asked for, this machine has {cards} GPUs")
    options: Any = dict(accelerator=accelerator, devices=devices, num_nodes=nodes)
    options["strategy"] = "auto"
    if devices * nodes > 1:
        options["strategy"] = "ddp"
        atexit.register(_leave_group)
    return Fabric(precision=known[precision], **options)


def _leave_group() -> None:
    """End the process group before Python ends: Gloo's threads abort a process that outlives it."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def hardware_of(fabric: "Fabric") -> dict[str, Any]:
    """Return what of the machine decides the weights: processes, their device, the precision."""
    precision = fabric.strategy.precision.precision
    return dict(processes=fabric.world_size, device=fabric.device.type, precision=precision)


@dataclass
class TrainingLog:
    """How far training has come: what is kept besides the states of network and optimiser."""

    step: int = 0
    seconds: float = 0.0  # spent in the loop, over all pieces
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Checkpoint:
    """The file of an unfinished run: plain tensors, written whole or not at all."""

    path: Path | None  # None keeps nothing
    state: dict[str, Any]  # what is saved and loaded, by name: network, optimiser, schedule
    config: dict  # all that decides the weights; compared when training goes on
    every: float = 60.0  # seconds between two savings

    def save(self, log: TrainingLog) -> None:
        """Write the state in place of what was saved before."""
        if self.path is None:
            return
        saved = {name: part.state_dict() for name, part in self.state.items()}
        saved |= dict(config=self.config | dict(version=VERSION)) | vars(log)
        with written_whole(self.path) as temporary, open(temporary, "wb") as file:
            torch.save(saved, file)
            file.flush()
            os.fsync(file.fileno())

    def resume(self, device: torch.device) -> TrainingLog:
        """Load the state, if there is one, unless it is of other settings, data or code."""
        path = self.path
        if path is None or not path.exists():
            return TrainingLog()
        try:
            saved = torch.load(path, map_location=device, weights_only=True)
            configs = saved["config"], self.config | dict(version=VERSION)
        except Exception as error:  # a broken file raises many kinds
            words = f"{path} is no checkpoint ({error}); delete it to begin anew"
            raise UserError(words) from error
        there, here = (pd.json_normalize(one).to_dict("records")[0] for one in configs)
        pairs = {name: (there.get(name), here.get(name)) for name in sorted(there | here)}
        different = (f"{n} was {a!r:.80} and is {b!r:.80}" for n, (a, b) in pairs.items() if a != b)
        if words := "; ".join(different):
            remedy = "delete it to begin anew, or go back to what it was made for"
            raise UserError(f"{path} was made for another run: {words}; {remedy}")
        for name, part in self.state.items():
            part.load_state_dict(saved[name])
        return TrainingLog(saved["step"], saved["seconds"], saved["history"])


@dataclass(frozen=True)
class Session:
    """Where and how long a run trains, and who watches."""

    fabric: "Fabric | None" = None  # launched already; one device if None
    progress: bool = True  # show loss terms, images/s and the time left
    deadline: float | None = None  # on the first process's monotonic clock, when to stop cleanly
    stop_file: Path | None = None  # stop cleanly once it exists: how a process asks those it began
    line: int = 0  # of the terminal that shows the progress, where several runs share it

    def reason_to_stop(self) -> type[Stopped] | None:
        """Return why to end now: the file that asks for it is there, or the time is up."""
        if self.stop_file is not None and self.stop_file.exists():
            return Stopped
        late = self.deadline is not None and time.monotonic() > self.deadline
        return OutOfTime if late else None

    def while_waiting(self) -> None:
        """End the wait for another process that trains this network, as training would end."""
        if (reason := self.reason_to_stop()) is not None:
            why = "time is up" if reason is OutOfTime else "stopped"
            again = "run the same command again to go on"
            raise reason(f"{why} while another process trains the same network: {again}")


@contextmanager
def interrupts(then: Callable[[], object] = lambda: None) -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C or SIGTERM only set a flag, and give what tells it; a second interrupts.

    So a job ends between two steps, never inside one. ``then`` is called once, when the flag is
    set. Outside the main thread, where Python hears no signals, nothing changes.
    """
    came: list[int] = []

    def handle(number: int, _: FrameType | None) -> None:
        came.append(number)
        if len(came) == 1:
            then()
        elif number == signal.SIGINT:
            raise KeyboardInterrupt

    hears = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, handle) for number in SIGNALS if hears}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Watch:
    """Looks after a run between its steps: counts, logs, shows, saves and stops it."""

    bar: Any  # as progress_bar gives it
    interrupted: Callable[[], bool]

    def __init__(
        self, name: str, steps: int, checkpoint: Checkpoint, fabric: "Fabric", session: Session
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
        self.bar.set_postfix(shown | {"img/s": f"{rate:.0f}"}, refresh=False)

    def _reason_to_stop(self) -> type[Stopped] | None:
        """Return why the run is to end after this step: the same in every process."""
        step, reason = self.log.step, self.session.reason_to_stop()
        if self.interrupted():
            reason = Stopped
        if reason is OutOfTime and (step == self.steps or not self.fabric.is_global_zero):
            reason = None  # a finished run is not late, and the first process watches the clock
        if self.fabric.world_size == 1:
            return reason
        if step % LOG_EVERY:
            return None
        reasons = (None, OutOfTime, Stopped)
        wish: Any = torch.tensor(float(reasons.index(reason)), device=self.fabric.device)
        wish = self.fabric.all_reduce(wish, reduce_op="max")
        return reasons[int(wish)]
