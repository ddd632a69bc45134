"""Ctrl-C and the system's wish to end a process, heard between two steps of a long job."""

import signal
import threading
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """While it is open, the first Ctrl-C or SIGTERM only sets a flag; a second Ctrl-C interrupts.

    So a job ends between two steps, never inside one. Call it to ask. In a thread other than the
    main one nothing changes, as Python handles signals in the main thread.
    """

    def __init__(self):
        self.asked = False
        self.before: dict = {}

    def __call__(self) -> bool:
        """Return whether the job was asked to end."""
        return self.asked

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            self.before = {number: signal.signal(number, self._hear) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _hear(self, number: int, _: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True
