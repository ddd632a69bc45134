"""Checkpoints of unfinished training: plain tensors, written whole or not at all."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import torch

VERSION = 1  # of the layout below


@dataclass
class Progress:
    """How far training has come: what is kept besides the states of network and optimiser."""

    step: int = 0
    seconds: float = 0.0  # spent in the loop, over all pieces
    history: list[dict[str, float]] = field(default_factory=list)


def save(path: Path, state: dict, progress: Progress, config: dict) -> None:
    """Write a checkpoint under a temporary name, then rename it into place.

    Args:
        path: of the checkpoint.
        state: what has a ``state_dict``, by name.
        progress: so far.
        config: all that decides the weights; compared when training goes on.
    """
    saved = {name: part.state_dict() for name, part in state.items()}
    saved |= dict(
        version=VERSION,
        config=config,
        step=progress.step,
        seconds=progress.seconds,
        history=progress.history,
    )
    temporary = path.with_name(path.name + ".partial")
    with open(temporary, "wb") as file:
        torch.save(saved, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def resume(path: Path | None, state: dict, config: dict, device: torch.device) -> Progress:
    """Load a checkpoint, if there is one, into the parts of a state.

    Args:
        path: of the checkpoint, or None.
        state: what has a ``load_state_dict``, by name.
        config: what the checkpoint must have been made for.
        device: where tensors go.

    Raises:
        ValueError: if the file is no checkpoint, or one of other settings, data or code, which the
            message names.
    """
    if path is None or not path.exists():
        return Progress()
    try:
        saved = torch.load(path, map_location=device, weights_only=True)
        known = saved["version"] == VERSION
    except Exception as error:  # a broken file raises many kinds
        raise ValueError(f"{path} is no checkpoint ({error}); delete it to begin anew") from error
    if not known:
        raise ValueError(f"{path} is of another version of ifr; delete it to begin anew")
    different = differences(saved["config"], config)
    if different:
        raise ValueError(
            f"{path} was made for another run: {'; '.join(different)}; delete it to begin anew, or "
            "go back to what it was made for"
        )
    for name, part in state.items():
        part.load_state_dict(saved[name])
    return Progress(saved["step"], saved["seconds"], saved["history"])


def differences(there: dict, here: dict, prefix: str = "") -> list[str]:
    """Return in words how two nested dicts of plain values differ."""
    found = []
    for name in sorted(there.keys() | here.keys()):
        old, new = there.get(name), here.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            found += differences(old, new, f"{prefix}{name}.")
        elif old != new:
            found.append(f"{prefix}{name} was {_shown(old)} and is {_shown(new)}")
    return found


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
