"""A sweep over loss weights and t, compared on people met neither in training nor in any test."""

import itertools
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pandas as pd

from ifr.common import paths
from ifr.common.errors import UserError
from ifr.evaluation import equal_error_rate, normalised, rank_accuracy
from ifr.experiment.results import write_csv
from ifr.experiment.run import Run, clean_faces, start
from ifr.interpretation import network_peaks, peak_statistics
from ifr.profiles import PAPER_FILTERS, LossWeights, Variant, get_profile, get_variant

FORMS = ("filter_form", "response_form")
NAMES = (*asdict(LossWeights()), "t")
Axes = Mapping[str, Sequence[float | str]]
MEASURES = [f"{name}{suffix}_percent" for name in ("rank_1", "eer") for suffix in ("", "_occluded")]
MEASURES += ["dbar_px", "peak_spread_px"]


def parse_axes(texts: Sequence[str]) -> dict[str, list[float | str]]:
    """Read ``"features=0,0.1,1"``, a loss's form, or ``"t=130"`` of 320, kept as a share."""
    axes: dict[str, list[float | str]] = {}
    for text in texts:
        name, _, listed = text.partition("=")
        if name not in NAMES:
            expected = f"NAME=VALUE,VALUE with NAME one of {', '.join(NAMES)}"
            raise UserError(f"cannot sweep {text!r}: expected {expected}")
        if name in axes:
            raise UserError(f"{name} is given twice: put all its values into one list")
        values = listed.split(",")
        if name in FORMS and not set(values) <= {"paper", "released"}:
            raise UserError(f"{name} must be paper or released, got {listed!r}")
        axes[name] = list(dict.fromkeys(values if name in FORMS else _numbers(name, values)))
    return axes


def _numbers(name: str, values: list[str]) -> list[float]:
    low, high, what = 0.0, sys.float_info.max, "numbers, finite and not negative"
    if name == "t":
        low, high, what = 1, PAPER_FILTERS, f"numbers between 1 and K = {PAPER_FILTERS}"
    with suppress(ValueError):
        numbers = [float(value) for value in values]
        if all(low <= number <= high for number in numbers):
            return numbers
    raise UserError(f"{name} must be {what}, got {','.join(values)}")


def settings_of(variant: Variant, axes: Axes) -> list[tuple[dict, Variant]]:
    """Return every combination of the axes' values with the variant that has them."""
    settings = []
    for values in itertools.product(*axes.values()):
        chosen: dict[str, Any] = dict(zip(axes, values, strict=True))
        weights = {name: value for name, value in chosen.items() if name != "t"}
        share = chosen["t"] / PAPER_FILTERS if "t" in chosen else variant.keep_share
        words = [f"{k}={str(v).removesuffix('.0')}" for k, v in chosen.items()]
        name, losses = "_".join([variant.name, *words]), replace(variant.weights, **weights)
        changed = replace(variant, name=name, keep_share=share, weights=losses)
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
    """Train and measure every setting with every seed; return one row a setting, mean and std."""
    combinations = settings_of(get_variant(variant), axes)
    if not seeds:
        raise UserError("a sweep needs at least one seed")
    if get_profile(profile).faces is None:
        lack = f"profile {profile!r} has no validation people to compare settings on"
        raise UserError(f"{lack}: take one on procedural faces")
    if name.startswith("seed-"):
        raise UserError(f"a sweep cannot be called {name!r}: so are the folders of runs")
    folder = paths.require_writable(paths.results(profile) / name)
    rows, deadline = [], None
    for seed in seeds:  # each pretrains a base of its own
        run = start("sweep", profile=profile, seed=seed, limit=max_minutes)
        run.deadline = deadline = deadline or run.deadline
        run.train_together([changed for _, changed in combinations])
        for chosen, changed in combinations:
            trained = run.trained(changed)
            facts = dict(variant=variant, seed=seed, network=trained.key)
            rows.append(chosen | facts | measure(run, changed))
            table = summary(pd.DataFrame(rows), list(axes))
            write_csv(pd.DataFrame(rows), folder / "runs.csv")  # both whole after each
            write_csv(table, folder / "table.csv")
    return table


def measure(run: Run, variant: Variant) -> dict[str, float]:
    """Return rank-1, EER and the statistics of Figure 5 of a network on the validation people."""
    faces = run.data("validation")
    clean = normalised(run.features(variant, faces))
    others = ~np.eye(len(faces), dtype=bool)
    same = faces.identity[:, None] == faces.identity[None, :]
    measures: dict[str, float] = {}
    for suffix, occlusion in (("", None), ("_occluded", "synthetic")):
        probes = normalised(run.features(variant, faces, occlusion=occlusion))  # cached if clean
        similarity = probes @ clean.T  # each face among all others as they are
        np.fill_diagonal(similarity, -np.inf)
        accuracy = rank_accuracy(similarity, faces.identity, faces.identity, 1)
        rate = float(equal_error_rate(similarity[others], same[others]))
        measures |= {f"rank_1{suffix}_percent": 100 * accuracy, f"eer{suffix}_percent": 100 * rate}
    unmasked = clean_faces(run, name="validation")
    peaks = peak_statistics(network_peaks(run.model(variant), unmasked, size=run.size))
    return measures | dict(dbar_px=peaks["dbar"], peak_spread_px=peaks["mean_scatter"])


def summary(runs: pd.DataFrame, axes: Sequence[str]) -> pd.DataFrame:
    """Return a row for each setting: its values, the number of seeds, mean and std of measures."""
    if not axes:
        runs, axes = runs.assign(setting="as it is"), ["setting"]
    groups = runs.groupby(list(axes), sort=False)
    table = groups.size().rename("seeds").to_frame()
    for name in MEASURES:
        table[name] = groups[name].mean()
        table[f"{name}_std"] = groups[name].std(ddof=1)  # empty for one seed
    return table.reset_index()


def in_words(table: pd.DataFrame) -> str:
    """Return the table as text, each measure as mean ± standard deviation."""
    shown = table[[c for c in table if c not in MEASURES and not c.endswith("_std")]].copy()
    for name in MEASURES:
        pairs = zip(table[name], table[f"{name}_std"], strict=True)
        shown[name] = [f"{m:.1f}" if np.isnan(s) else f"{m:.1f} ± {s:.1f}" for m, s in pairs]
    return shown.to_string(index=False)
