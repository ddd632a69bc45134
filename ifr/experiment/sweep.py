"""A sweep over loss weights and t: every setting with several seeds, one table.

Settings are compared on the validation people, who are met neither in training nor in any test, so
that a choice made here does not touch what it is judged by.
"""

import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pandas as pd

from ifr.common import paths
from ifr.evaluation import equal_error_rate, rank_accuracy
from ifr.experiment.analysis import clean_faces, network_peaks
from ifr.experiment.run import Run, start
from ifr.interpretation import peak_statistics
from ifr.profiles import PAPER_FILTERS, LossWeights, Variant, get_variant

WEIGHTS = tuple(field.name for field in fields(LossWeights) if field.type is float)
MEASURES = (
    "rank_1_percent",
    "rank_1_occluded_percent",
    "eer_percent",
    "eer_occluded_percent",
    "dbar_px",
    "peak_spread_px",
)


def parse_axes(texts: Sequence[str]) -> dict[str, list[float]]:
    """Read axes such as ``"features=0,0.1,1"`` or ``"t=130,260"``.

    Args:
        texts: each a loss weight, or ``t`` (of 320; smaller networks keep the share), with values.

    Raises:
        ValueError: for an unknown name, a name twice, or values that are not numbers in range.
    """
    axes: dict[str, list[float]] = {}
    for text in texts:
        name, _, listed = text.partition("=")
        if name not in (*WEIGHTS, "t"):
            raise ValueError(
                f"cannot sweep {text!r}: expected NAME=VALUE,VALUE with NAME one of "
                f"{', '.join((*WEIGHTS, 't'))}"
            )
        if name in axes:
            raise ValueError(f"{name} is given twice: put all its values into one list")
        try:
            values = [float(value) for value in listed.split(",")]
        except ValueError:
            raise ValueError(f"the values of {text!r} are not numbers") from None
        if not all(np.isfinite(value) and value >= 0 for value in values):
            raise ValueError(f"the values of {text!r} must be finite and not negative")
        if name == "t" and not all(1 <= value <= PAPER_FILTERS for value in values):
            raise ValueError(f"t must be between 1 and K = {PAPER_FILTERS}, got {listed}")
        axes[name] = list(dict.fromkeys(values))
    return axes


def settings_of(variant: Variant, axes: Mapping[str, list[float]]) -> list[tuple[dict, Variant]]:
    """Return every combination of the axes' values with the variant that has them."""
    found = []
    for values in itertools.product(*axes.values()):
        chosen = dict(zip(axes, values, strict=True))
        weights = {name: value for name, value in chosen.items() if name != "t"}
        share = chosen["t"] / PAPER_FILTERS if "t" in chosen else variant.keep_share
        name = "_".join([variant.name, *(f"{k}={v:g}" for k, v in chosen.items())])
        changed = replace(
            variant, name=name, keep_share=share, weights=replace(variant.weights, **weights)
        )
        found.append((chosen, changed))
    return found


def sweep(
    axes: Mapping[str, list[float]],
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
        ValueError: for an unknown profile or variant, no seeds, or a profile without validation
            people.
        Stopped: on Ctrl-C; OutOfTime when the time is up.
    """
    combinations = settings_of(get_variant(variant), axes)
    if not seeds:
        raise ValueError("a sweep needs at least one seed")
    folder = paths.require_writable(paths.results(profile) / name)
    rows, deadline = [], None
    for seed in seeds:
        run = start("sweep", profile=profile, seed=seed, max_minutes=max_minutes)
        deadline = deadline or run.deadline
        run.deadline = deadline
        if "validation" not in run.sets:
            raise ValueError(
                f"profile {profile!r} has no validation people to compare settings on: take one "
                "on procedural faces"
            )
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
    clean = _unit(run.features(variant, faces))
    found = {}
    for suffix, occlusion in (("", None), ("_occluded", "synthetic")):
        probes = (
            clean if occlusion is None else _unit(run.features(variant, faces, occlusion=occlusion))
        )
        similarity = probes @ clean.T
        np.fill_diagonal(similarity, -np.inf)
        accuracy = rank_accuracy(similarity, faces.identity, faces.identity, 1)
        found[f"rank_1{suffix}_percent"] = 100 * accuracy
        others = ~np.eye(len(faces), dtype=bool)
        same = faces.identity[:, None] == faces.identity[None, :]
        rate = equal_error_rate(similarity[others], same[others])
        found[f"eer{suffix}_percent"] = 100 * float(rate)
    looked_at = clean_faces(run, name="validation")
    peaks = peak_statistics(network_peaks(run.trained(variant).model, run, looked_at))
    return found | dict(dbar_px=peaks["dbar"], peak_spread_px=peaks["mean_spread"])


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


def _unit(features: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.maximum(length, 1e-12)


def _write(table: pd.DataFrame, path: Path) -> None:
    temporary = path.with_suffix(".partial")
    table.to_csv(temporary, index=False, float_format="%.6g")
    os.replace(temporary, path)
