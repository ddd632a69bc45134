"""What a protocol lists, uses and loses, beside what it measured: in words and as JSON."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from ifr.datasets.index import PairList
from ifr.evaluation.metrics import LEAST_ERRORS

SAME, DIFFERENT = "same pairs", "different pairs"
MATES, STRANGERS, ENTRIES = "probes with a mate", "probes without a mate", "gallery entries"
# The name of a measure: of which gallery or shots, what in percent, at which rate or rank.
NAME = re.compile(
    r"^(?:((?:gallery|session)_\d)_)?(?:(sunglasses|scarf)_)?([a-z]+)(?:_(\d+))?_percent$"
)
MEANINGS = {  # what is measured, and the kinds it is measured on, the one that sets the rate last
    "accuracy": ("accuracy", (SAME, DIFFERENT)),
    "eer": ("equal error rate", ("sunglasses", "scarf")),
    "tar": ("TAR at FAR {rate}", (SAME, DIFFERENT)),
    "rank": ("closed-set rank {at}", (MATES,)),
    "tpir": ("open-set TPIR at FPIR {rate}", (MATES, STRANGERS)),
}


@dataclass(frozen=True, eq=False)
class Test:
    """A protocol on the faces that are there."""

    rows: np.ndarray  # of all faces that are compared
    counts: pd.DataFrame  # part, kind, listed, used, lost
    measure: Callable[[np.ndarray], pd.DataFrame | pd.Series]  # from features; one test a row
    over: str  # what the tests are
    total: int  # how many of them there should be


@dataclass(frozen=True, eq=False)
class Report:
    """What one embedding reaches by a protocol, and how much of the protocol was lost."""

    measures: pd.DataFrame  # measure, meaning, value and std in percent, over, used, lost, note
    counts: pd.DataFrame  # part, kind, listed, used, lost
    gaps: tuple[str, ...]  # what keeps the figures from being comparable with published ones
    about: dict[str, Any]  # what was tested, and how

    def verdict(self) -> str:
        """Return whether anything was lost, and what it means, in one line."""
        if not self.gaps:
            return "nothing that the protocol lists is lost"
        return f"not comparable with published figures: {'; '.join(self.gaps)}"

    def in_words(self) -> str:
        """Return measures, counts by part and kind, and notes, to be printed."""
        measures = self.measures.drop(columns="note")
        table = measures.to_string(index=False, na_rep="", float_format="{:.2f}".format)
        total = self.counts.groupby("kind", sort=False, as_index=False).sum(numeric_only=True)
        counts = pd.concat([self.counts, total.assign(part="all")])
        used, of = counts["used"].map("{:,}".format), counts["listed"].map(" of {:,}".format)
        counts["cell"] = used + of.where(counts["lost"] > 0, "")
        cells = counts.pivot(index="part", columns="kind", values="cell")
        cells = cells.loc[counts["part"].unique(), counts["kind"].unique()].fillna("")
        used = cells.rename_axis(index=None, columns="used").to_string()
        compared, prepared = (self.about[f"images_{what}"] for what in ("compared", "prepared"))
        notes = [f"{compared:,} of {prepared:,} prepared images are compared"]
        notes += [f"the network takes {taken}"] if (taken := self.about["input"]) else []
        notes += [f"{row.measure}: {row.note}" for row in self.measures.itertuples() if row.note]
        return "\n".join([table, "", used, "", *notes, self.verdict()])

    def as_json(self) -> str:
        """Return all of it as JSON."""
        tables = dict(measures=self.measures, counts=self.counts)
        rows = {name: json.loads(table.to_json(orient="records")) for name, table in tables.items()}
        found = dict(complete=not self.gaps, verdict=self.verdict())
        return json.dumps(self.about | found | rows, indent=1) + "\n"


def tally(part: ArrayLike, kind: ArrayLike, used: ArrayLike) -> pd.DataFrame:
    """Count what is listed, and of it what is used, by part of a protocol and kind."""
    table = pd.DataFrame(dict(part=part, kind=kind, used=used))
    kinds = table.groupby(["part", "kind"], sort=False)["used"]
    return kinds.agg(listed="size", used="sum").eval("lost = listed - used").reset_index()


def pair_counts(pairs: PairList) -> pd.DataFrame:
    """Return how many pairs of each fold and kind are listed, and how many are used."""
    folds = [f"fold {fold + 1}" for fold in pairs.folds.tolist()]
    return tally(folds, np.where(pairs.same, SAME, DIFFERENT), pairs.formed)


def report_of(
    tests: Sequence[Test], features: np.ndarray, about: dict[str, Any], more: list[str]
) -> Report:
    """Return what tests measure, how much of them is lost, and more that bars a comparison."""
    counts = pd.concat([test.counts for test in tests], ignore_index=True)
    kinds = counts.groupby("kind", sort=False)[["listed", "lost"]].sum().query("lost > 0")
    gaps = [f"{row.lost:,} of {row.listed:,} {row.Index} lost" for row in kinds.itertuples()]
    rows = []
    for test in tests:
        found = test.measure(features)
        found = found.to_frame().T if isinstance(found, pd.Series) else found
        found = found.filter(regex=NAME.pattern)
        rows += [_row(str(name), values, test) for name, values in found.items()]
        if (filled := int(found.notna().any(axis=1).sum())) < test.total:
            gaps.append(f"{filled} of {test.total} {test.over}")
    columns = ["measure", "meaning", "value", "std", "over", "used", "lost", "note"]
    return Report(pd.DataFrame(rows, columns=columns), counts, (*gaps, *more), about)


def _row(name: str, values: pd.Series, test: Test) -> tuple[Any, ...]:
    """Return a measure's mean and deviation over tests, what it rests on, and if that is little."""
    [(part, shown, what, at)] = NAME.findall(name)
    words, kinds = MEANINGS[what]
    part, rate = part.replace("_", " "), float(f"0.{at or 0}")
    meaning = words.format(at=at, rate=f"{rate:g}")
    meaning = ", ".join(word for word in (meaning, shown, part) if word)
    kinds = (f"{shown} probes",) if shown else kinds
    own = test.counts[test.counts["kind"].isin(kinds)]
    own = own[own["part"] == part] if part else own
    least, note = own[own["kind"] == kinds[-1]]["used"].min(), ""
    if values.isna().all():
        note = "nothing to measure it on"
    elif "{rate}" in words and rate * least < LEAST_ERRORS:
        few = f"{rate:g} of {least:,} {kinds[-1]} is {rate * least:.1f}"
        note = f"unsupported: {few}, fewer than {LEAST_ERRORS} errors"
    done = f"{values.notna().sum()} of {test.total} {test.over}".removeprefix(f"{test.total} of ")
    return name, meaning, values.mean(), values.std(), done, *own[["used", "lost"]].sum(), note
