"""Compare a fresh run with the committed reference, table by table, within tolerances."""

from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pandas as pd

# How far a figure may lie from the reference on another machine. Networks trained on another
# processor differ in the last bits and so end up elsewhere, which moves accuracies by points and
# peak locations by pixels; a broken method moves them by far more.
TOLERANCES = {
    "percent": 12.0,  # TAR, rank-k, accuracy, EER: points
    "pixels": 4.0,  # d-bar, peak spread, distances: pixels of the 96-pixel frame
    "share": 0.2,  # cosines, Gini coefficients, correlations
}
RELATIVE = 0.5  # for quantities without a stated unit, with a floor of one
# What depends on the machine or on chance alone, and is shown but not judged.
UNJUDGED_COLUMNS = (
    "seconds",
    "images_per_second",
    "milliseconds",
    "low",
    "high",
    "std",
    "p_value",
    "ms",
    "loss",
    "memory",
)
# Costs, and tables with a row for each filter: filter 7 of one training is not filter 7 of another.
UNJUDGED_TABLES = ("figure_training*", "loss_costs", "*_filters")


@dataclass(frozen=True)
class Comparison:
    """One number-bearing column of one table against the reference."""

    table: str
    column: str
    worst: float  # largest absolute difference met
    allowed: float  # tolerance at that place
    ok: bool
    note: str = ""


def verify(fresh: Path, reference: Path) -> list[Comparison]:
    """Compare every table and figure of a run with the reference.

    Args:
        fresh: results folder of the run to judge.
        reference: the committed results folder of the same profile.

    Returns:
        One comparison for each numeric column, and one for each missing table or figure.

    Raises:
        FileNotFoundError: if either folder holds no results.
    """
    for folder, what in ((fresh, "run"), (reference, "reference run")):
        if not (folder / "manifest.json").exists():
            raise FileNotFoundError(
                f"{folder} holds no finished {what} (no manifest.json); run ifr reproduce first"
            )
    rows = []
    for path in sorted((reference / "figures").glob("*.png")):
        there = (fresh / "figures" / path.name).exists()
        if not there:
            rows.append(Comparison(path.name, "", np.nan, np.nan, False, "figure is missing"))
    for path in sorted((reference / "tables").glob("*.csv")):
        rows += compare_table(fresh / "tables" / path.name, path)
    return rows


def compare_table(fresh: Path, reference: Path) -> list[Comparison]:
    """Compare two CSV files column by column."""
    name = reference.stem
    if not fresh.exists():
        return [Comparison(name, "", np.nan, np.nan, False, "table is missing")]
    new, old = pd.read_csv(fresh), pd.read_csv(reference)
    if list(new.columns) != list(old.columns):
        return [Comparison(name, "", np.nan, np.nan, False, "columns differ")]
    if len(new) != len(old):
        note = f"{len(new)} rows, the reference has {len(old)}"
        return [Comparison(name, "", np.nan, np.nan, False, note)]
    judged = not any(fnmatch(name, pattern) for pattern in UNJUDGED_TABLES)
    columns = [
        c for c in old.columns if pd.api.types.is_numeric_dtype(old[c]) and old[c].dtype != bool
    ]
    return [_compare_column(name, c, new, old, judged and not _unjudged(c)) for c in columns]


def _unjudged(column: str) -> bool:
    return any(word in column.lower().split("_") for word in UNJUDGED_COLUMNS)


def _compare_column(name: str, column: str, new: pd.DataFrame, old: pd.DataFrame, judged: bool):
    a, b = new[column].to_numpy(float), old[column].to_numpy(float)
    gaps = int((np.isnan(a) != np.isnan(b)).sum())
    difference = np.nan_to_num(np.abs(a - b))
    allowed = np.array([_tolerance(old.iloc[i], column, b[i]) for i in range(len(old))])
    place = int((difference - allowed).argmax()) if len(old) else 0
    ok = not judged or bool(gaps == 0 and (difference <= allowed).all())
    note = "" if judged else "shown, not judged"
    if gaps and judged:
        note = f"{gaps} values missing on one side"
    worst = float(difference[place]) if len(old) else 0.0
    return Comparison(name, column, worst, float(allowed[place]) if len(old) else 0.0, ok, note)


def _tolerance(row: pd.Series, column: str, value: float) -> float:
    """Return the tolerance of one cell, by the table's ``unit`` column or the column's name."""
    unit = str(row.get("unit", ""))
    for known, tolerance in TOLERANCES.items():
        if unit == known or column.endswith(f"_{known}"):
            return tolerance
    return RELATIVE * max(abs(np.nan_to_num(value)), 1.0)
