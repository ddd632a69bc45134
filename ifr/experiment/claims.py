"""The paper's claims, and what a run measured of each."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ifr.common import paths

REAL = "photographs"  # the profile on photographs
HOLDS, FAILS, UNTESTED = "holds", "does not hold", "not tested here"


@dataclass(frozen=True)
class Claim:
    """One claim of the paper: where it stands, what it says, and the figures quoted for it."""

    id: str
    place: str
    text: str
    paper: str


CLAIMS = tuple(
    Claim(*row)
    for row in (
        (
            "C01",
            "Fig. 5, Sec. 4.2",
            "SAD spreads the average peak locations: d̄ of SAD only above base",
            "6.9 to 17.1",
        ),
        (
            "C02",
            "Fig. 5, Sec. 4.2",
            "FAD spreads them further: d̄ of the full model above SAD only",
            "17.1 to 18.7",
        ),
        (
            "C03",
            "Fig. 5a, Sec. 4.2",
            "Without the losses the average locations sit near the image centre",
            "picture only",
        ),
        (
            "C04",
            "Table 3",
            "The spread of a filter's peaks falls as the LMF rate rises",
            "25.7/25.7, 14.7/14.4, 13.5/14.0, 12.9/13.4 at 0, 75, 87.5, 95.83 %",
        ),
        (
            "C05",
            "Sec. 3.1",
            "Plain average pooling does not give peaky maps; LMF does",
            "words only",
        ),
        (
            "C06",
            "Sec. 3.1",
            "Dropping the small responses hardly changes the pooled feature",
            "words only",
        ),
        (
            "C07",
            "Table 2",
            "Forcing all elements alike (t = K) hurts on all three sets",
            "TAR at FAR .01: 79.2 to 74.6, 76.1 to 71.8, 66.5 to 61.0",
        ),
        (
            "C08",
            "Table 2",
            "t = 130 and t = 260 do about the same",
            "TAR at FAR .01: 79.0 and 79.2",
        ),
        (
            "C09",
            "Table 2",
            "Gaussian noise of dynamic size is slightly better than the black window",
            "TAR 79.2 to 79.3, rank-1 89.4 to 89.9",
        ),
        (
            "C10",
            "Table 2",
            "SAD alone is fair on clean faces and suffers under occlusion",
            "TAR 78.1 clean, 66.6 and 64.2 occluded",
        ),
        (
            "C11",
            "Table 2",
            "FAD alone does better than SAD alone on both occluded sets",
            "TAR 75.2 against 66.6, 66.5 against 64.2",
        ),
        ("C12", "Table 2", "Both losses together beat either one", "TAR 79.2 / 76.1 / 66.5"),
        (
            "C13",
            "Tables 4, 5",
            "The gain over the base is larger under occlusion than on clean faces",
            "TAR 61.8 to 76.2 occluded, 74.3 to 79.3 clean",
        ),
        (
            "C14",
            "Table 5",
            "The full model beats the base and the base trained on the same occluded faces",
            "TAR 74.3, 78.9 to 79.3 at FAR .01; 49.0, 56.6 to 60.2 at .001",
        ),
        (
            "C15",
            "Tables 5, 6",
            "With ResNet-50 clean accuracy stays as it was",
            "94.8 to 94.6; 95.9 to 95.8",
        ),
        (
            "C16",
            "Table 4",
            "With ResNet-50 occluded accuracy rises at strict FAR",
            "TAR at FAR .001: 80.9 to 87.5 synthetic, 64.3 to 72.6 natural",
        ),
        (
            "C17",
            "Sec. 4.3",
            "The equal error rate on glasses and scarves falls",
            "21.6 to 16.2 %; 4.2 to 3.9 %",
        ),
        (
            "C18",
            "Fig. 6",
            "Mean feature difference under eye and nose occlusion: full below SAD below base",
            "curves only",
        ),
        (
            "C19",
            "Sec. 4.2",
            "SAD reduces the feature change without minimising it directly",
            "words only",
        ),
        (
            "C20",
            "Sec. 4.2",
            "With FAD an occlusion changes only a small part of the representation",
            "curves only",
        ),
        (
            "C21",
            "Fig. 7",
            "The filters that change most sit around the occluded place",
            "picture only",
        ),
        (
            "C22",
            "Fig. 7",
            "The largest change depends on the place: large for eyes and mouth, small for "
            "the forehead",
            "0.6 against 0.15",
        ),
        (
            "C23",
            "Fig. 8",
            "A filter answers at the same semantic place across identities and poses",
            "picture only",
        ),
        (
            "C24",
            "Fig. 1",
            "An occluder alters and scatters the responses of the filters it covers",
            "picture only",
        ),
        (
            "C25",
            "Sec. 4.4, Fig. 9",
            "One part's filters alone retrieve the other image of the same person "
            "at rank 1, far above chance",
            "71 / 58 / 69 % for eyes / mouth / nose of 300 images",
        ),
        ("C26", "Sec. 3.3, 4.3", "The losses are model-agnostic", "two backbones"),
    )
)


def collect(tables: Path) -> pd.DataFrame:
    """Return one row for each claim, judged by the evidence the notebooks of a run left.

    A claim holds when every figure recorded for it says so, and does not hold when any says not.

    Args:
        tables: the folder with the run's ``evidence_NN.csv`` files.

    Returns:
        Columns id, place, claim, paper, measured, spread, verdict, note.

    Raises:
        FileNotFoundError: if no notebook has left evidence there.
        ValueError: if the evidence names a claim that is not in the list.
    """
    found = sorted(tables.glob("evidence_[0-9][0-9].csv"))
    if not found:
        raise FileNotFoundError(
            f"no evidence_NN.csv in {tables}: run the notebooks 03 to 11 of this profile first"
        )
    evidence = pd.concat([pd.read_csv(path) for path in found], ignore_index=True)
    unknown = set(evidence["claim"]) - {claim.id for claim in CLAIMS}
    if unknown:
        raise ValueError(f"evidence for unknown claims {sorted(unknown)} in {tables}")
    return pd.DataFrame(
        [_judge(claim, evidence[evidence["claim"] == claim.id]) for claim in CLAIMS]
    )


def on_photographs(verdicts: pd.DataFrame) -> pd.DataFrame | None:
    """Return a run's verdicts beside those of the run on photographs.

    Args:
        verdicts: of :func:`collect`.

    Returns:
        Columns id, claim, here, photographs, measured_on_photographs, spread_on_photographs, for
        the claims tested there; None when neither ``results/photographs/`` nor the committed reference
        holds a run on photographs.
    """
    folders = (paths.results(REAL), paths.reference(REAL))
    found = next((folder / "claims.csv" for folder in folders if _finished(folder)), None)
    if found is None:
        return None
    real = pd.read_csv(found)
    real = real[real["verdict"] != UNTESTED].rename(
        columns={
            "verdict": "photographs",
            "measured": "measured_on_photographs",
            "spread": "spread_on_photographs",
        }
    )
    columns = ["id", "photographs", "measured_on_photographs", "spread_on_photographs"]
    here = verdicts[["id", "claim", "verdict"]].rename(columns={"verdict": "here"})
    return here.merge(real[columns], on="id")


def _finished(folder: Path) -> bool:
    return (folder / "manifest.json").exists() and (folder / "claims.csv").exists()


def evidence_rows(tables: Path) -> pd.DataFrame:
    """Return every figure recorded for a claim, one row each, ordered by claim."""
    parts = [pd.read_csv(path) for path in sorted(tables.glob("evidence_[0-9][0-9].csv"))]
    return pd.concat(parts, ignore_index=True).sort_values("claim", kind="stable")


def _judge(claim: Claim, rows: pd.DataFrame) -> dict:
    verdict = UNTESTED
    if len(rows):
        verdict = HOLDS if rows["holds"].all() else FAILS
    lines = [f"{row.quantity}: {row.value:.3g}" for row in rows.itertuples()]
    spread = [f"[{row.low:.3g}, {row.high:.3g}]" for row in rows.itertuples()]
    notes = [str(note) for note in rows["note"].dropna().unique() if str(note)]
    return dict(
        id=claim.id,
        place=claim.place,
        claim=claim.text,
        paper=claim.paper,
        measured="; ".join(lines),
        spread="; ".join(spread),
        verdict=verdict,
        note=" ".join(notes),
    )
