"""The results of a run: what a notebook writes, and the record of it that the batch goes by."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ifr import figures
from ifr.common.files import file_hash, written_whole
from ifr.figures.style import SCREEN, show_picture

JOURNAL = "IFR_JOURNAL"  # names the file in which a kernel notes what it writes and which networks
FAILED = ".failed.ipynb"  # how the copy of a notebook that stopped with an error ends
EVIDENCE_COLUMNS = ("claim", "quantity", "value", "low", "high", "holds", "note")


@dataclass(kw_only=True)
class Results:
    """The folder that a notebook writes into, and the evidence it has given so far."""

    name: str  # of the notebook, such as "06_ablations"
    folder: Path
    _evidence: dict[tuple[str, str], tuple] = field(default_factory=dict)

    def save_table(self, table: pd.DataFrame, name: str) -> None:
        """Write a table as CSV into ``tables/``."""
        write_csv(table, self.folder / "tables" / f"{name}.csv")
        note(file=f"tables/{name}.csv")

    def save_claims(self, verdicts: pd.DataFrame) -> None:
        """Write the verdicts on the paper's claims as ``claims.csv``."""
        write_csv(verdicts, self.folder / "claims.csv")
        note(file="claims.csv")

    def save_figure(self, figure: Figure, name: str, *, alt: str) -> None:
        """Write a figure as PNG and PDF into ``figures/`` and show it in the notebook."""
        files = figures.save_figure(figure, self.folder / "figures", name, alt=alt)
        for path in files:
            note(file=f"figures/{path.name}")
        show_picture(files[0].read_bytes(), alt, width=min(SCREEN, int(figure.bbox.width)))

    # low and high are a 95 % bootstrap interval, unless the note says otherwise
    def evidence(
        self,
        claim: str,
        *,
        quantity: str,
        value: float,
        low: float,
        high: float,
        holds: bool,
        note: str = "",
    ) -> None:
        """Record what was measured for a claim, anew if given again; notebook 12 collects it."""
        if not np.isfinite(value):
            advice = "leave out what cannot be measured"
            raise ValueError(f"{claim}, {quantity}: {value} is no evidence; {advice}")
        row = (claim, quantity, float(value), float(low), float(high), bool(holds), note)
        self._evidence.pop((claim, quantity), None)
        self._evidence[claim, quantity] = row
        table = pd.DataFrame(self._evidence.values(), columns=EVIDENCE_COLUMNS)
        self.save_table(table, f"evidence_{self.name[:2]}")


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table with six digits of each number."""
    with written_whole(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")


def note(**entry: object) -> None:
    """Note one fact in the journal of this execution; a notebook run by hand keeps none."""
    if os.environ.get(JOURNAL):
        with open(os.environ[JOURNAL], "a", encoding="utf-8") as journal:
            journal.write(json.dumps(entry) + "\n")


def summarise(journal: Path, folder: Path) -> dict[str, Any]:
    """Return what a journal tells: the hash of each file written, and the networks used."""
    entries = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    files = {entry["file"] for entry in entries if "file" in entry}
    networks = {entry.pop("network"): entry for entry in entries if "network" in entry}
    return dict(files={name: file_hash(folder / name) for name in sorted(files)}, networks=networks)


def record_of(executed: Path) -> dict:
    """Return what is recorded in an executed notebook: key, seconds, files and networks."""
    if not executed.exists():
        return {}
    return json.loads(executed.read_text(encoding="utf-8"))["metadata"].get("ifr", {})


def records(folder: Path) -> dict[str, dict]:
    """Return the record of every executed notebook of a run, by file name, the failed left out."""
    executed = [path for path in sorted(folder.glob("*.ipynb")) if FAILED not in path.name]
    return {path.name: record_of(path) for path in executed}


def recorded_files(folder: Path) -> set[str]:
    """Return the files that the executed notebooks of a run wrote, relative to its folder."""
    return {name for record in records(folder).values() for name in record.get("files", ())}


def is_intact(folder: Path, record: dict) -> bool:
    """Return whether every file of a record is there and as it was written."""
    files = [(folder / name, written) for name, written in record["files"].items()]
    return all(path.exists() and file_hash(path) == written for path, written in files)
