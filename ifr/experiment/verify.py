"""Compare a fresh run with the committed reference: verdicts, evidence, tables and figures."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ifr.common.errors import UserError

# How far a figure may lie from the reference on another machine. Networks trained on another
# processor differ in the last bits and so end up elsewhere, which moves accuracies by points and
# peak locations by pixels; a broken method moves them by far more.
TOLERANCES = {
    "percent": 12.0,  # TAR, rank-k, accuracy, EER: points
    "points": 12.0,
    "pixels": 4.0,  # d-bar, peak spread, distances: pixels of the 96-pixel frame
    "share": 0.2,  # Gini coefficients, correlations
}
KEYS = ("variant", "condition", "part", "claim", "quantity", "id")  # what a row is about
DBAR_ORDER = ("base", "sad", "full")  # Figure 5: what the paper's claims C01 and C02 compare
AGREES, DIFFERS, SHOWN = "agrees", "DIFFERS", "shown, not judged"


@dataclass(frozen=True)
class Comparison:
    """One comparison with the reference: what was compared, how it came out, and why."""

    what: str
    outcome: str
    note: str = ""


def verify(fresh: Path, reference: Path) -> list[Comparison]:
    """Compare verdicts, evidence, tables and figures of a run with those of the reference."""
    for folder, what in ((fresh, "run"), (reference, "reference run")):
        if not (folder / "manifest.json").exists():
            advice = "run ifr reproduce first"
            raise UserError(f"{folder} holds no finished {what} (no manifest.json); {advice}")
    manifest = json.loads((fresh / "manifest.json").read_text(encoding="utf-8"))
    mixed = "was executed with other code, settings or inputs: run ifr reproduce"
    rows = [Comparison(name, DIFFERS, mixed) for name in manifest.get("outdated", ())]
    figures = [path.name for path in sorted((reference / "figures").glob("*.png"))]
    missing = [name for name in figures if not (fresh / "figures" / name).exists()]
    rows += [Comparison(name, DIFFERS, "figure is missing") for name in missing]
    # claims_evidence.csv repeats the evidence of all notebooks.
    paths = [p for p in sorted((reference / "tables").glob("*.csv")) if p.stem != "claims_evidence"]
    if (reference / "claims.csv").exists():
        paths.insert(0, reference / "claims.csv")
    for path in paths:
        rows += compare_table(fresh / path.relative_to(reference), path)
    return rows


def compare_table(fresh: Path, reference: Path) -> list[Comparison]:
    """Compare two tables row by row; claims and evidence by what they say."""
    name = reference.stem
    if not fresh.exists():
        return [Comparison(name, DIFFERS, "table is missing")]
    new, old = pd.read_csv(fresh), pd.read_csv(reference)
    if name == "claims":
        return list(_verdicts(new, old))
    if name.startswith("evidence_"):
        return list(_evidence(name, new, old))
    if list(new.columns) != list(old.columns):
        return [Comparison(name, DIFFERS, "columns differ")]
    keys = [key for key in KEYS if key in old.columns]
    if len(new) != len(old) or not new[keys].equals(old[keys]):
        return [Comparison(name, DIFFERS, f"its {len(new)} rows are not the {len(old)} expected")]
    numbers = [c for c in old.select_dtypes("number") if not c.endswith("_std")]
    rows = [_column(f"{name} {column}", new[column], old[column]) for column in numbers]
    if {"variant", "d_bar_pixels"} <= set(old.columns):
        rows.append(_dbar_order(f"{name} order of d̄", new, old))
    return rows


def _verdicts(new: pd.DataFrame, old: pd.DataFrame) -> Iterator[Comparison]:
    now = new.set_index("id")["verdict"]
    for claim, verdict in old.set_index("id")["verdict"].items():
        same = now.get(claim) == verdict
        note = f"the reference says “{verdict}”, this run “{now.get(claim, 'nothing')}”"
        yield Comparison(f"claim {claim}", AGREES if same else DIFFERS, note)


def _evidence(name: str, new: pd.DataFrame, old: pd.DataFrame) -> Iterator[Comparison]:
    """Judge each quantity by both intervals, else by its sign, else by the unit it names."""
    rows = {(row.claim, row.quantity): row for row in new.itertuples()}
    for was in old.itertuples():
        what, now = f"{name} {was.claim}, {was.quantity}", rows.get((was.claim, was.quantity))
        if now is None:
            yield Comparison(what, DIFFERS, "quantity is missing")
            continue
        note = f"{now.value:.4g}, the reference {was.value:.4g} [{was.low:.4g}, {was.high:.4g}]"
        unit = re.search(rf"\(({'|'.join(TOLERANCES)})\)$", was.quantity)
        if was.low <= now.value <= was.high or now.low <= was.value <= now.high:
            outcome = AGREES
        elif was.low * was.high > 0 and np.sign(now.value) != np.sign(was.value):
            outcome, note = DIFFERS, f"{note}: the sign differs"
        elif unit is None:
            outcome = SHOWN
        else:
            outcome = AGREES if abs(now.value - was.value) <= TOLERANCES[unit[1]] else DIFFERS
        yield Comparison(what, outcome, note)


def _column(what: str, new: pd.Series, old: pd.Series) -> Comparison:
    if not pd.api.types.is_numeric_dtype(new):
        return Comparison(what, DIFFERS, "holds words where the reference has numbers")
    allowed = TOLERANCES.get(str(old.name).rpartition("_")[2])
    gaps, differences = int((new.isna() != old.isna()).sum()), (new - old).abs()
    worst = float(differences.max()) if differences.notna().any() else 0.0
    if allowed is None:
        return Comparison(what, SHOWN, f"differs by up to {worst:.4g}")
    if gaps:
        return Comparison(what, DIFFERS, f"{gaps} values missing on one side")
    note = f"differs by up to {worst:.4g}, allowed {allowed:g}"
    return Comparison(what, AGREES if worst <= allowed else DIFFERS, note)


def _dbar_order(what: str, new: pd.DataFrame, old: pd.DataFrame) -> Comparison:
    ranked = [table.sort_values("d_bar_pixels")["variant"] for table in (new, old)]
    now, was = (" < ".join(names[names.isin(DBAR_ORDER)]) for names in ranked)
    return Comparison(what, AGREES if now == was else DIFFERS, f"{now}, the reference {was}")
