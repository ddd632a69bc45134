"""The results of a run: what a notebook writes, and the record of it that the batch goes by."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ifr import figures
from ifr.common.files import file_hash, written_whole
from ifr.experiment import claims
from ifr.figures.style import SCREEN, show_picture

JOURNAL = "IFR_JOURNAL"  # names the file in which a kernel notes what it writes and which networks
FAILED = ".failed.ipynb"  # how the copy of a notebook that stopped with an error ends
EVIDENCE_COLUMNS = ("claim", "quantity", "value", "low", "high")


@dataclass(kw_only=True)
class Results:
    """The folder that a notebook writes into, and the evidence it has given so far."""

    name: str  # of the notebook, such as "06_ablations"
    folder: Path
    _evidence: dict[tuple[str, str], tuple] = field(default_factory=dict)
    _found: list[str] = field(default_factory=list)
    _head: Any = None  # what heads the notebook, to be written anew

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

    def evidence(self, claim: str, *, quantity: str, value: float, low: float, high: float) -> None:
        """Record what these networks measure for a claim, with its 95 % interval over people.

        Given again, it is recorded anew. What would support the claim is in ``criteria``.
        """
        claims.require_criterion(claim, quantity)
        if not np.isfinite(value):
            advice = "leave out what cannot be measured"
            raise ValueError(f"{claim}, {quantity}: {value} is no evidence; {advice}")
        self._evidence.pop((claim, quantity), None)
        self._evidence[claim, quantity] = (claim, quantity, float(value), float(low), float(high))
        table = pd.DataFrame(self._evidence.values(), columns=EVIDENCE_COLUMNS)
        self.save_table(table, f"evidence_{self.name[:2]}")

    def pooled(self, notebook: str = "") -> pd.DataFrame:
        """Return what the seeds that are there measured, in all notebooks or one, and verdicts."""
        file = claims.reference_file(self.folder.parent.name.removesuffix("-reference-weights"))
        known = pd.read_csv(file) if file.exists() else None
        return claims.pooled(claims.evidence_by_seed(self.folder, notebook), known)

    def report(self, *names: str) -> None:
        """Say what the seeds that are there measured for claims that this notebook has asked."""
        known = claims.in_words(self.pooled(self.name[:2])) if self._evidence else {}
        self._say([known[name] for name in names if name in known])

    def found(self, *sentences: str) -> None:
        """Say a result where it stands, and again in the first output of the notebook."""
        self._found = list(dict.fromkeys([*self._found, *sentences]))
        self._say(sentences)
        self.head()

    def conclude(self) -> None:
        """Draw what the seeds measured for the claims of this notebook, and head it with them."""
        number = self.name[:2]
        if not claims.evidence_files(self.folder, number):
            return  # a profile without the networks that are compared
        rows = self.pooled(number)
        said = claims.in_words(rows).values()
        drawn = figures.figure_evidence(rows, claims.evidence_by_seed(self.folder, number))
        self.save_figure(drawn, f"evidence_{number}", alt=" ".join(said).replace("**", ""))
        self._found = list(dict.fromkeys([*self._found, *said]))
        self.head()

    def head(self) -> None:
        """Write what was found so far into the first output of the notebook, if it is one."""
        from IPython import get_ipython  # late: only notebooks have it at hand
        from IPython.display import Markdown, display

        if get_ipython() is None:
            return
        bullets = [f"* {sentence}" for sentence in self._found] or ["*appears here at the end*"]
        shown = Markdown("\n".join(["**What was found**", "", *bullets]))
        if self._head is None:
            self._head = display(shown, display_id=True)
        else:
            self._head.update(shown)

    def _say(self, sentences: Sequence[str]) -> None:
        from IPython.display import Markdown, display

        if sentences:
            display(Markdown("\n\n".join(sentences)))


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
