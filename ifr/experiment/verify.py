"""Does a fresh run say what the committed reference says? Claims, evidence, tables, figures."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t as student

from ifr.common.errors import UserError
from ifr.experiment import claims
from ifr.experiment.claims import CONTRADICTED, KEY, SUPPORTED

# How far a figure of a table may lie from the reference, which is of one seed: training again moves
# accuracies by points and peak locations by pixels; a broken method moves them by far more.
TOLERANCES = {
    "percent": 15.0,  # TAR, rank-k, accuracy, EER: points
    "points": 15.0,
    "pixels": 6.0,  # d̄, peak scatter, distances: pixels of the 96-pixel frame
    "share": 0.25,  # Gini coefficients, correlations
}
# What no training decides, and so has to be the same to the digits written.
EXACT = ("data_counts", "profiles", "table_1", "figure_face_mesh", "figure_folded_triangles")
LOOSE = {"claims_evidence", "evidence_by_seed", "claims_beside"}  # judged as evidence
LOOSE |= {"explorer"}  # of one person: another training moves its peaks by 7 to 12 pixels
CHANCE = 0.05  # that a run of the same method fails on any of the quantities
LENT = 4  # degrees of freedom that the spread of all quantities of a unit lends to each
LIKE_FOR_LIKE = ("variant", "condition", "part", "claim", "quantity", "id")  # what a row is about
DBAR_ORDER = ("base", "sad", "full")  # Figure 5
AGREES, DIFFERS, SHOWN = "agrees", "DIFFERS", "shown, not judged"


@dataclass(frozen=True)
class Comparison:
    """One comparison with the reference: what was compared, how it came out, and why."""

    what: str
    outcome: str
    note: str = ""
    claim: str = ""


def verify(fresh: Path, reference: Path) -> list[Comparison]:
    """Compare a run of one seed with the reference: claims, evidence, tables and figures."""
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
    rows += compare_evidence(fresh, reference)
    for path in sorted((reference / "tables").glob("*.csv")):
        if path.stem not in LOOSE and not path.stem.startswith("evidence_"):
            rows += compare_table(fresh / "tables" / path.name, path)
    return rows


def conclusion(rows: list[Comparison]) -> str:
    """Return in one line whether a run reproduces the reference, or what does not."""
    failed = [row for row in rows if row.outcome == DIFFERS]
    if not failed:
        count = sum(row.outcome == AGREES for row in rows)
        return f"reproduced: {count} comparisons agree with the reference"
    names = dict.fromkeys(row.claim or row.what for row in failed)
    return f"not reproduced: {', '.join(names)}"


def compare_evidence(fresh: Path, reference: Path) -> Iterator[Comparison]:
    """Judge each quantity by the interval over the reference's seeds, and each claim's verdict.

    A value of the same method lies within t · s · √(1 + 1/S) of the mean of S seeds; s is their
    standard deviation, drawn to that of all quantities of the unit, as few seeds tell little of it;
    t leaves all quantities together a chance of 5 % to fail. A verdict may be less decided than
    that of all seeds, not the opposite.
    """
    file = reference / "tables" / claims.BY_SEED
    if not file.exists():
        return
    known = pd.read_csv(file)
    files = claims.evidence_files(fresh, alone=True)
    new = pd.concat([pd.read_csv(path) for path in files]) if files else known.iloc[:0]
    values = new.set_index(KEY)["value"]
    for (claim, quantity), was in expected(known).iterrows():
        what = f"{claim}, {quantity}"
        if (claim, quantity) not in values.index:
            some = was["size"] < known["seed"].nunique()  # such as of filters that none has there
            yield Comparison(what, SHOWN if some else DIFFERS, "quantity is missing", claim)
            continue
        now = float(values[claim, quantity])
        off = abs(now - was["mean"])
        note = f"{now:.4g}, the reference {was['mean']:.4g} ± {was['allowed']:.2g}"
        outcome = SHOWN if np.isnan(was["allowed"]) else AGREES
        order = claim in ("C01", "C02") and quantity.startswith("d̄, ")
        if order and was["lowest"] > 0 >= now:
            outcome, note = DIFFERS, f"{note}: the order of d̄ is turned round"
        yield Comparison(what, DIFFERS if off > was["allowed"] else outcome, note, claim)
    if not new.empty:
        yield from _verdicts(claims.pooled(new, known), claims.pooled(known))


def expected(known: pd.DataFrame) -> pd.DataFrame:
    """Return mean, lowest and allowed distance of each quantity, from the seeds of a reference."""
    rows = known.groupby(KEY, sort=False)["value"].agg(["mean", "min", "std", "size"])
    unit = rows.index.get_level_values("quantity").str.extract(r"\((\w+)\)$")[0].fillna("none")
    variance = rows["std"] ** 2
    typical = variance.groupby(unit.to_numpy()).transform("median")
    degrees = rows["size"] - 1
    drawn = (degrees * variance + LENT * typical) / (degrees + LENT)
    spread = np.sqrt(np.maximum(drawn, variance))  # never less than what was seen
    factor = student.isf(CHANCE / 2 / max(len(rows), 1), degrees + LENT)
    allowed = factor * spread * np.sqrt(1 + 1 / rows["size"])
    return rows.assign(lowest=rows["min"], allowed=allowed.where(rows["size"] > 1))


def _verdicts(new: pd.DataFrame, old: pd.DataFrame) -> Iterator[Comparison]:
    now = claims.verdicts(new).set_index("id")["verdict"]
    for claim, verdict in claims.verdicts(old).set_index("id")["verdict"].items():
        note = f"the reference says “{verdict}”, this run “{now[claim]}”"
        opposite = {now[claim], verdict} == {SUPPORTED, CONTRADICTED}
        yield Comparison(f"claim {claim}", DIFFERS if opposite else AGREES, note, claim)


def compare_table(fresh: Path, reference: Path) -> list[Comparison]:
    """Compare two tables row by row: exactly, or each column by the unit that its name ends in."""
    name = reference.stem
    if not fresh.exists():
        return [Comparison(name, DIFFERS, "table is missing")]
    new, old = pd.read_csv(fresh), pd.read_csv(reference)
    if list(new.columns) != list(old.columns):
        return [Comparison(name, DIFFERS, "columns differ")]
    words = old.columns.difference(old.select_dtypes("number").columns)  # a loss is called id, too
    keys = [key for key in LIKE_FOR_LIKE if key in words]
    if len(new) != len(old) or not new[keys].equals(old[keys]):
        return [Comparison(name, DIFFERS, f"its {len(new)} rows are not the {len(old)} expected")]
    if name in EXACT:
        same = new.equals(old)
        return [Comparison(name, AGREES if same else DIFFERS, "has to be the same to the digit")]
    numbers = [c for c in old.select_dtypes("number") if not c.endswith("_std")]
    rows = [_column(f"{name} {column}", new[column], old[column]) for column in numbers]
    if {"variant", "d_bar_pixels"} <= set(old.columns):
        rows.append(_dbar_order(f"{name} order of d̄", new, old))
    return rows


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
