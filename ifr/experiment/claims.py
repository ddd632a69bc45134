"""The paper's claims, and what a run measured of each."""

from pathlib import Path

import pandas as pd

from ifr.common import paths
from ifr.common.errors import UserError

PHOTOGRAPHS = "photographs"  # the profile whose verdicts stand beside those of other runs
HOLDS, FAILS, UNTESTED = "holds", "does not hold", "not tested here"


def paper_claims() -> pd.DataFrame:
    """Return the claims, columns id, place, claim and paper: the figures quoted for it."""
    return pd.read_csv(paths.ASSETS / "claims.csv")


def collect(tables: Path) -> pd.DataFrame:
    """Return a row for each claim: it holds when every figure recorded by a notebook says so."""
    evidence, claims = evidence_rows(tables), paper_claims()
    unknown = set(evidence["claim"]) - set(claims["id"])
    if unknown:
        raise UserError(f"evidence for unknown claims {sorted(unknown)} in {tables}")
    judged = [_judge(evidence[evidence["claim"] == claim]) for claim in claims["id"]]
    return claims.join(pd.DataFrame(judged))


def evidence_files(tables: Path) -> list[Path]:
    """Return the evidence that the notebooks of a run left, one file each."""
    return sorted(tables.glob("evidence_[0-9][0-9].csv"))


def evidence_rows(tables: Path) -> pd.DataFrame:
    """Return every figure recorded for a claim, one row each, ordered by claim."""
    files = evidence_files(tables)
    if not files:
        advice = "run the notebooks 03 to 11 of this profile first"
        raise UserError(f"no evidence_NN.csv in {tables}: {advice}")
    rows = pd.concat([pd.read_csv(path) for path in files], ignore_index=True)
    return rows.sort_values("claim", kind="stable")


def photographs_file(seed: int) -> Path | None:
    """Return the claims of the run on photographs made here, else of the committed one, if any."""
    for folder in (paths.results(PHOTOGRAPHS, seed), paths.reference(PHOTOGRAPHS)):
        if (folder / "manifest.json").exists() and (folder / "claims.csv").exists():
            return folder / "claims.csv"
    return None


def on_photographs(verdicts: pd.DataFrame, seed: int = 0) -> pd.DataFrame | None:
    """Return the verdicts of :func:`collect` beside those on photographs, for the claims there."""
    file = photographs_file(seed)
    if file is None:
        return None
    there = pd.read_csv(file)
    there = there[there["verdict"] != UNTESTED]
    columns = ["id", "photographs", "measured_on_photographs", "spread_on_photographs"]
    there = there[["id", "verdict", "measured", "spread"]].set_axis(columns, axis=1)
    here = verdicts[["id", "claim", "verdict"]].rename(columns={"verdict": "here"})
    return here.merge(there, on="id")


def _judge(rows: pd.DataFrame) -> dict[str, str]:
    verdict = (HOLDS if rows["holds"].all() else FAILS) if len(rows) else UNTESTED
    measured = "; ".join(f"{row.quantity}: {row.value:.3g}" for row in rows.itertuples())
    spread = "; ".join(f"[{row.low:.3g}, {row.high:.3g}]" for row in rows.itertuples())
    note = " ".join(str(note) for note in rows["note"].dropna().unique() if note)
    return dict(measured=measured, spread=spread, verdict=verdict, note=note)
