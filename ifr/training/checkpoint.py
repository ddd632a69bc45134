"""Checkpoints of unfinished training: plain tensors, written whole or not at all."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
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
    """The file of an unfinished run."""

    path: Path | None  # None keeps nothing
    state: dict[str, Any]  # what is saved and loaded, by name: network, optimiser, schedule
    config: dict  # all that decides the weights; compared when training goes on
    every: float = 60.0  # seconds between two savings

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
        """Load the state, if there is one, unless it is of other settings, data or code."""
        path = self.path
        if path is None or not path.exists():
            return TrainingLog()
        try:
            saved = torch.load(path, map_location=device, weights_only=True)
            there = saved["config"] | dict(version=saved["version"])
        except Exception as error:  # a broken file raises many kinds
            words = f"{path} is no checkpoint ({error}); delete it to begin anew"
            raise UserError(words) from error
        configs = (there, self.config | dict(version=VERSION))
        there, here = (pd.json_normalize(one).to_dict("records")[0] for one in configs)
        pairs = {name: (there.get(name), here.get(name)) for name in sorted(there | here)}
        different = (f"{n} was {a!r:.80} and is {b!r:.80}" for n, (a, b) in pairs.items() if a != b)
        if words := "; ".join(different):
            remedy = "delete it to begin anew, or go back to what it was made for"
            raise UserError(f"{path} was made for another run: {words}; {remedy}")
        for name, part in self.state.items():
            part.load_state_dict(saved[name])
        return TrainingLog(saved["step"], saved["seconds"], saved["history"])
