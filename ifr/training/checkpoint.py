"""Checkpoints of unfinished training: plain tensors, written whole or not at all."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ifr.common.errors import UserError
from ifr.common.files import written_whole

VERSION = 1  # of the layout below


@dataclass
class TrainingLog:
    """How far training has come: what is kept besides the states of network and optimiser."""

    step: int = 0
    seconds: float = 0.0  # spent in the loop, over all pieces
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Checkpoint:
    """The file of an unfinished run.

    Attributes:
        path: of the file; None keeps nothing.
        state: what is saved and loaded, by name: network, optimiser, schedule.
        config: all that decides the weights; compared when training goes on.
    """

    path: Path | None
    state: dict[str, Any]
    config: dict

    def save(self, log: TrainingLog) -> None:
        """Write the state in place of what was saved before."""
        if self.path is None:
            return
        saved = {name: part.state_dict() for name, part in self.state.items()}
        saved |= dict(version=VERSION, config=self.config) | vars(log)
        with written_whole(self.path) as temporary, open(temporary, "wb") as file:
            torch.save(saved, file)
            file.flush()
            os.fsync(file.fileno())

    def resume(self, device: torch.device) -> TrainingLog:
        """Load the state, with tensors on the device, if there is one.

        Raises:
            UserError: if the file is no checkpoint, or one of other settings, data or code, which
                the message names.
        """
        path = self.path
        if path is None or not path.exists():
            return TrainingLog()
        try:
            saved = torch.load(path, map_location=device, weights_only=True)
            known = saved["version"] == VERSION
        except Exception as error:  # a broken file raises many kinds
            message = f"{path} is no checkpoint ({error}); delete it to begin anew"
            raise UserError(message) from error
        if not known:
            raise UserError(f"{path} is of another version of ifr; delete it to begin anew")
        different = differences(saved["config"], self.config)
        if different:
            raise UserError(
                f"{path} was made for another run: {'; '.join(different)}; delete it to begin "
                "anew, or go back to what it was made for"
            )
        for name, part in self.state.items():
            part.load_state_dict(saved[name])
        return TrainingLog(saved["step"], saved["seconds"], saved["history"])


def differences(there: dict, here: dict, prefix: str = "") -> list[str]:
    """Return in words how two nested dicts of plain values differ."""
    words = []
    for name in sorted(there.keys() | here.keys()):
        old, new = there.get(name), here.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            words += differences(old, new, f"{prefix}{name}.")
        elif old != new:
            words.append(f"{prefix}{name} was {_shortened(old)} and is {_shortened(new)}")
    return words


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
