"""A sweep over loss weights and t: every setting with several seeds, one table.

Settings are compared on the validation people, who are met neither in training nor in any test, so
that a choice made here does not touch what it is judged by.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ifr.common import paths
from ifr.common.errors import UserError
from ifr.common.files import written_whole
from ifr.evaluation import equal_error_rate, normalised, rank_accuracy
from ifr.experiment.filters import clean_faces
from ifr.experiment.run import Run, start
from ifr.interpretation import network_peaks, peak_statistics
from ifr.profiles import PAPER_FILTERS, LossWeights, Variant, get_profile, get_variant

DEFAULTS = asdict(LossWeights())
WEIGHTS = tuple(name for name, value in DEFAULTS.items() if isinstance(value, float))
FORMS = tuple(name for name, value in DEFAULTS.items() if isinstance(value, str))
Axes = Mapping[str, Sequence[float | str]]
MEASURES = (
    "rank_1_percent",
    "rank_1_occluded_percent",
    "eer_percent",
    "eer_occluded_percent",
    "dbar_px",
    "peak_spread_px",
)


def parse_axes(texts: Sequence[str]) -> dict[str, list[float | str]]:
    """Read axes such as ``"features=0,0.1,1"``, ``"t=130,260"``, ``"filter_form=paper,released"``.

    Args:
        texts: each a loss weight, the form of a loss, or ``t`` (of 320; smaller networks keep the
            share), with values.

    Raises:
        UserError: for an unknown name, a name twice, or values that it cannot have.
    """
    axes: dict[str, list[float | str]] = {}
    for text in texts:
        name, _, listed = text.partition("=")
        if name not in (*WEIGHTS, *FORMS, "t"):
            raise UserError(
                f"cannot sweep {text!r}: expected NAME=VALUE,VALUE with NAME one of "
                f"{', '.join((*WEIGHTS, *FORMS, 't'))}"
            )
        if name in axes:
            raise UserError(f"{name} is given twice: put all its values into one list")
        values = listed.split(",")
        if name in FORMS and not set(values) <= {"paper", "released"}:
            raise UserError(f"{name} must be paper or released, got {listed!r}")
        axes[name] = list(dict.fromkeys(values if name in FORMS else _numbers(name, values)))
    return axes


def _numbers(name: str, values: list[str]) -> list[float]:
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        raise UserError(f"the values of {name} are not numbers: {','.join(values)!r}") from None
    if not all(np.isfinite(number) and number >= 0 for number in numbers):
        raise UserError(f"the values of {name} must be finite and not negative, got {values}")
    if name == "t" and not all(1 <= number <= PAPER_FILTERS for number in numbers):
        raise UserError(f"t must be between 1 and K = {PAPER_FILTERS}, got {','.join(values)}")
    return numbers


def settings_of(variant: Variant, axes: Axes) -> list[tuple[dict, Variant]]:
    """Return every combination of the axes' values with the variant that has them."""
    settings = []
    for values in itertools.product(*axes.values()):
        chosen: dict[str, Any] = dict(zip(axes, values, strict=True))
        weights = {name: value for name, value in chosen.items() if name != "t"}
        share = chosen["t"] / PAPER_FILTERS if "t" in chosen else variant.keep_share
        words = [f"{k}={v if isinstance(v, str) else format(v, 'g')}" for k, v in chosen.items()]
        changed = replace(
            variant,
            name="_".join([variant.name, *words]),
            keep_share=share,
            weights=replace(variant.weights, **weights),
        )
        settings.append((chosen, changed))
    return settings


def sweep(
    axes: Axes,
    *,
    profile: str,
    variant: str = "full",
    seeds: Sequence[int] = (0, 1, 2),
    name: str = "sweep",
    max_minutes: float | None = None,
) -> pd.DataFrame:
    """Train and measure every setting with every seed; return one row a setting, mean and std.

    Written to ``results/<profile>/<name>/``: ``runs.csv``, a row for each setting and seed, after
    each of them, and ``table.csv`` at the end. A sweep cut short goes on: what is trained is kept.

    Args:
        axes: values by name, as from :func:`parse_axes`.
        profile: the run size.
        variant: which the settings change.
        seeds: each pretrains a base of its own.
        name: of the folder.
        max_minutes: after which it stops cleanly.

    Raises:
        Stopped: on Ctrl-C; OutOfTime when the time is up.
    """
    combinations = settings_of(get_variant(variant), axes)
    if not seeds:
        raise UserError("a sweep needs at least one seed")
    if get_profile(profile).faces is None:
        raise UserError(
            f"profile {profile!r} has no validation people to compare settings on: take one on "
            "procedural faces"
        )
    folder = paths.require_writable(paths.results(profile) / name)
    rows, deadline = [], None
    for seed in seeds:
        run = start("sweep", profile=profile, seed=seed, max_minutes=max_minutes)
        deadline = deadline or run.deadline
        run.deadline = deadline
        run.train_together([changed for _, changed in combinations])
        for chosen, changed in combinations:
            trained = run.trained(changed)
            rows.append(chosen | dict(seed=seed, network=trained.key) | measure(run, changed))
            _write(pd.DataFrame(rows), folder / "runs.csv")
    table = summary(pd.DataFrame(rows), list(axes))
    _write(table, folder / "table.csv")
    return table


def measure(run: Run, variant: Variant) -> dict[str, float]:
    """Return the measures of a network on the validation people.

    Rank-1 looks for each face among all others of the set as they are, itself left out; EER is over
    all pairs; ``occluded`` means that the face looked for wears a random warped mask. d̄ and the
    peak spread are those of Figure 5, of faces without a mask.
    """
    faces = run.data("validation")
    clean = normalised(run.features(variant, faces))
    measures: dict[str, float] = {}
    for suffix, occlusion in (("", None), ("_occluded", "synthetic")):
        probes = normalised(run.features(variant, faces, occlusion=occlusion))  # cached if clean
        similarity = probes @ clean.T
        np.fill_diagonal(similarity, -np.inf)
        accuracy = rank_accuracy(similarity, faces.identity, faces.identity, 1)
        measures[f"rank_1{suffix}_percent"] = 100 * accuracy
        others = ~np.eye(len(faces), dtype=bool)
        same = faces.identity[:, None] == faces.identity[None, :]
        rate = equal_error_rate(similarity[others], same[others])
        measures[f"eer{suffix}_percent"] = 100 * float(rate)
    peaks = peak_statistics(
        network_peaks(run.model(variant), clean_faces(run, name="validation"), size=run.size)
    )
    return measures | dict(dbar_px=peaks["dbar"], peak_spread_px=peaks["mean_scatter"])


def summary(runs: pd.DataFrame, axes: Sequence[str]) -> pd.DataFrame:
    """Return a row for each setting: its values, the number of seeds, mean and std of measures.

    The standard deviation over seeds has n - 1 below it, and is empty for one seed.
    """
    if not axes:
        runs, axes = runs.assign(setting="as it is"), ["setting"]
    groups = runs.groupby(list(axes), sort=False)
    table = groups.size().rename("seeds").to_frame()
    for name in MEASURES:
        table[name] = groups[name].mean()
        table[f"{name}_std"] = groups[name].std(ddof=1)
    return table.reset_index()


def in_words(table: pd.DataFrame) -> str:
    """Return the table as text, each measure as mean ± standard deviation."""
    shown = table[[c for c in table if c not in MEASURES and not c.endswith("_std")]].copy()
    for name in MEASURES:
        pairs = zip(table[name], table[f"{name}_std"], strict=True)
        shown[name] = [f"{m:.1f}" if np.isnan(s) else f"{m:.1f} ± {s:.1f}" for m, s in pairs]
    return shown.to_string(index=False)


def _write(table: pd.DataFrame, path: Path) -> None:
    with written_whole(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")
