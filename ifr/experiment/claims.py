"""The paper's claims and ours, what the seeds of a run measured of each, and the verdict."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm
from scipy.stats import t as student

from ifr.common import paths
from ifr.common.errors import UserError
from ifr.figures import style

SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "contradicted", "undecided"
UNTESTED = "not tested here"
EVIDENCE, BY_SEED = "evidence_[0-9][0-9].csv", "evidence_by_seed.csv"
KEY = ["claim", "quantity"]
CLAIMS = "12"  # the notebook that reads what all others recorded
NORMAL = norm.ppf(0.975)  # half of a 95 % interval, in standard errors
# Whose verdicts stand beside each other: the same questions on other faces and other networks.
OTHERS = ("classroom", "photographs", "second_backbone", "full_size")


@cache
def paper_claims() -> pd.DataFrame:
    """Return the claims, columns id, place, claim and paper: the figures quoted for it."""
    return pd.read_csv(paths.ASSETS / "claims.csv")


@cache
def criteria() -> pd.DataFrame:
    """Return what is asked of each quantity, stated beforehand; its claim and name are the index.

    The test is ``above`` or ``below`` the margin, or ``within`` it of 0. A row's role is ``claim``,
    or ``control`` where it asks what else could be the cause; ``paper`` is the paper's own figure,
    and ``paper_error`` its standard deviation, of two networks as if they were independent.
    """
    return pd.read_csv(paths.ASSETS / "criteria.csv").set_index(KEY)


def require_criterion(claim: str, quantity: str) -> None:
    """Refuse evidence of a quantity of which nobody said beforehand what would support a claim."""
    if (claim, quantity) not in criteria().index:
        raise UserError(f"{claim}, {quantity!r}: assets/criteria.csv has no criterion for it")


def seed_of(folder: Path) -> int:
    """Return the seed of a run's folder, ``seed-<n>``."""
    return int(folder.name.removeprefix("seed-"))


def seed_folders(folder: Path) -> list[Path]:
    """Return the runs that one shows: itself, and where its seed is the lowest all others."""
    there = {path.parent.parent for path in folder.parent.glob(f"seed-*/tables/{EVIDENCE}")}
    seeds = sorted(there | {folder}, key=seed_of)
    return seeds if seeds[0] == folder else [folder]


def evidence_files(folder: Path, notebook: str = "", *, alone: bool = False) -> list[Path]:
    """Return what the notebooks, or that of a number, of a run's seeds, or it alone, recorded."""
    pattern = f"tables/{EVIDENCE}" if not notebook else f"tables/evidence_{notebook}.csv"
    seeds = [folder] if alone else seed_folders(folder)
    return [path for seed in seeds for path in sorted(seed.glob(pattern))]


def inputs(folder: Path, profile: str, notebook: str) -> list[Path]:
    """Return the files besides the networks that decide what a notebook of a run shows."""
    others = [path for path in (reference_file(profile),) if path.exists()]
    if notebook == CLAIMS:
        return [*evidence_files(folder), *others, *other_verdicts(profile).values()]
    seeds = evidence_files(folder, notebook)  # its own, it makes
    return [*(path for path in seeds if path.parents[1] != folder), *others]


def reference_file(profile: str) -> Path:
    """Return where the evidence of every seed of the committed run lies."""
    return paths.reference(profile) / "tables" / BY_SEED


def evidence_by_seed(folder: Path, notebook: str = "", *, alone: bool = False) -> pd.DataFrame:
    """Return every figure in :func:`evidence_files`, one a row, ordered by claim."""
    files = evidence_files(folder, notebook, alone=alone)
    if not files:
        advice = "run the notebooks 03 to 11 of this profile first"
        raise UserError(f"no evidence_NN.csv in {folder / 'tables'}: {advice}")
    tables = [pd.read_csv(path).assign(seed=seed_of(path.parents[1])) for path in files]
    return pd.concat(tables, ignore_index=True).sort_values("claim", kind="stable")


def pooled(evidence: pd.DataFrame, known: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return mean, interval, verdict and power of each quantity over seeds and people.

    The seeds differ in training alone, the people are the same. So the squares of two half
    intervals add up: Student's t of the S seeds, t · s / √S with their standard deviation s, and
    the mean of the half intervals over people. A single seed takes s from ``known``, the evidence
    of other seeds, such as the committed; without it, its interval is unknown: undecided.
    """
    rows = _over_seeds(evidence)
    if known is not None:
        spread = _over_seeds(known).reindex(rows.index)
        single = (rows["seeds"] == 1) & (spread["seeds"] > 1)
        rows["deviation"] = rows["deviation"].where(~single, spread["deviation"])
        degrees = (rows["seeds"] - 1).where(~single, spread["seeds"] - 1)
    else:
        degrees = rows["seeds"] - 1
    factor = student.ppf(0.975, degrees.clip(lower=1)) / np.sqrt(rows["seeds"])
    reach = np.hypot(factor * rows["deviation"], rows.pop("people"))
    rows = rows.assign(low=rows["value"] - reach, high=rows["value"] + reach)
    rows = rows.join(criteria(), how="left")
    ends = rows["low"], rows["high"]
    rows["verdict"] = [judge(*row) for row in zip(*ends, rows["test"], rows["margin"], strict=True)]
    rows["power"] = _power(rows["paper"], reach, rows["test"], rows["margin"])
    error = NORMAL * rows["paper_error"]
    quoted = rows["paper"] - error, rows["paper"] + error
    said = [judge(*row) for row in zip(*quoted, rows["test"], rows["margin"], strict=True)]
    rows["paper_decides"] = np.where(error.isna(), "not told", said)
    return rows.reset_index()


def judge(low: float, high: float, test: str, margin: float) -> str:
    """Return the verdict on an interval; NaN ends, of an unknown one, leave it undecided."""
    if test == "within":
        inside, outside = low > -margin and high < margin, low > margin or high < -margin
    elif test == "above":
        inside, outside = low > margin, high < margin
    else:
        inside, outside = high < margin, low > margin
    return SUPPORTED if inside else CONTRADICTED if outside else UNDECIDED


def verdicts(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a row a claim: supported when every quantity is, contradicted when one is."""
    own = rows[rows["role"] == "claim"]
    judged = [_judged(own[own["claim"] == claim]) for claim in paper_claims()["id"]]
    return paper_claims().join(pd.DataFrame(judged))


def in_words(rows: pd.DataFrame) -> dict[str, str]:
    """Return a sentence for each claim of :func:`pooled` rows: verdict, quantities, controls."""
    said = {}
    for claim, own in rows.groupby("claim", sort=False):
        asked, controls = (own[own["role"] == role] for role in ("claim", "control"))
        seeds = int(own["seeds"].max())
        verdict = f"**{claim} {_judged(asked)['verdict']}** (" if len(asked) else f"**{claim}** ("
        verdict += f"{seeds} seeds): " if seeds > 1 else "one seed): "
        said[claim] = verdict + "; ".join(_quantity(row) for row in asked.itertuples())
        if len(controls):
            told = "; ".join(f"{_quantity(row)}, {row.verdict}" for row in controls.itertuples())
            said[claim] += f"{'. ' * bool(len(asked))}Controls: {told}"
        said[claim] += "."
    return said


def _quantity(row: Any) -> str:
    """Return the quantity, value and interval of a row of :func:`pooled`."""
    what, _, unit = style.titled(row.quantity).partition(" (")
    unit = unit.rstrip(")")
    number = f"{what} {style.measured(row.value, row.low, row.high, unit)} {unit}".rstrip()
    return number if np.isfinite(row.low) else f"{number} (interval unknown)"


def other_verdicts(own: str) -> dict[str, Path]:
    """Return the claims of other profiles judged over seeds, made here or committed, by profile."""
    folders = {n: [paths.results(n, 0), paths.reference(n)] for n in OTHERS if n != own}
    found = {
        name: [folder / "claims.csv" for folder in places if (folder / "tables" / BY_SEED).exists()]
        for name, places in folders.items()
    }
    there = {name: [path for path in files if path.exists()] for name, files in found.items()}
    return {name: files[0] for name, files in there.items() if files}


def beside_others(here: pd.DataFrame, own: str) -> pd.DataFrame:
    """Return the verdicts of each claim here, of a profile's own run, and in those of others."""
    table = here.set_index("id")[["claim", "verdict"]].rename(columns={"verdict": "here"})
    for name, path in other_verdicts(own).items():
        table[name] = pd.read_csv(path).set_index("id")["verdict"].reindex(table.index)
    return table.fillna(UNTESTED).reset_index()


def _over_seeds(evidence: pd.DataFrame) -> pd.DataFrame:
    """Return seeds, mean, deviation, and mean half interval over people, by claim and quantity."""
    half = evidence.assign(people=(evidence["high"] - evidence["low"]) / 2)
    groups = half.groupby(KEY, sort=False)
    named = dict(seeds=("value", "size"), value=("value", "mean"), deviation=("value", "std"))
    return groups.agg(**named, people=("people", "mean"))


def _power(paper: pd.Series, reach: pd.Series, test: pd.Series, margin: pd.Series) -> pd.Series:
    """Return the chance that evidence like this calls an effect of the paper's size supported."""
    error = reach / NORMAL
    above = norm.sf((margin + reach - paper) / error)
    below = norm.cdf((margin - reach - paper) / error)
    both = np.maximum(below - norm.cdf((reach - margin - paper) / error), 0)
    chosen = np.select([test == "above", test == "below"], [above, below], both)
    return pd.Series(chosen, paper.index)


def _judged(rows: pd.DataFrame) -> dict[str, str]:
    found = set(rows["verdict"])
    verdict = CONTRADICTED if CONTRADICTED in found else UNDECIDED
    verdict = UNTESTED if not found else SUPPORTED if found == {SUPPORTED} else verdict
    measured = "; ".join(f"{row.quantity}: {row.value:.3g}" for row in rows.itertuples())
    intervals = "; ".join(f"[{row.low:.3g}, {row.high:.3g}]" for row in rows.itertuples())
    each = "; ".join(rows["verdict"])
    return dict(verdict=verdict, measured=measured, interval=intervals, each=each)
