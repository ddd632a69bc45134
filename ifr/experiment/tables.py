"""The paper's benchmarks on a run's networks: closed set, templates, AR (Sec. 4.3)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from ifr.datasets.template_splits import TemplateSplit, template_splits
from ifr.evaluation import (
    CONDITIONS,
    MEASURES,
    bootstrap_eer,
    bootstrap_templates,
    eer_over_draws,
    evaluate_templates,
    roc,
    split_scores,
)
from ifr.experiment.analysis import shifted_bootstrap_interval
from ifr.experiment.run import Run
from ifr.profiles import get_variant

AR_OCCLUDERS = ("sunglasses", "scarf")
PAPER_COLUMNS = tuple(f"paper_{measure}" for measure in MEASURES)
# Quoted: TAR at FAR .01 and .001, rank-1 and rank-5 on IJB-A, percent (Tables 2, 4 and 5). The
# paper gives two of the four for the ablations.
PAPER_IJBA: dict[tuple[str, str], tuple[float, float, float, float]] = {
    ("base", "clean"): (74.3, 49.0, 86.6, 94.2),
    ("augmented", "clean"): (78.9, 56.6, 88.5, 94.9),
    ("base", "synthetic"): (61.8, 39.1, 79.6, 91.4),
    ("base", "natural"): (64.4, 40.7, 71.3, 81.6),
    ("full_t130", "clean"): (79.0, np.nan, 89.5, np.nan),
    ("full_t130", "synthetic"): (76.1, np.nan, 88.0, np.nan),
    ("full_t130", "natural"): (66.2, np.nan, 73.0, np.nan),
    ("full", "clean"): (79.2, np.nan, 89.4, np.nan),
    ("full", "synthetic"): (76.1, np.nan, 88.0, np.nan),
    ("full", "natural"): (66.5, np.nan, 72.3, np.nan),
    ("full_t320", "clean"): (74.6, np.nan, 88.9, np.nan),
    ("full_t320", "synthetic"): (71.8, np.nan, 87.5, np.nan),
    ("full_t320", "natural"): (61.0, np.nan, 71.6, np.nan),
    ("full_gaud", "clean"): (79.3, 60.2, 89.9, 95.6),
    ("full_gaud", "synthetic"): (76.2, 55.5, 88.6, 95.0),
    ("full_gaud", "natural"): (66.8, 48.3, 73.2, 82.3),
    ("sad", "clean"): (78.1, np.nan, 88.1, np.nan),
    ("sad", "synthetic"): (66.6, np.nan, 81.2, np.nan),
    ("sad", "natural"): (64.2, np.nan, 71.0, np.nan),
    ("fad", "clean"): (76.7, np.nan, 88.1, np.nan),
    ("fad", "synthetic"): (75.2, np.nan, 85.1, np.nan),
    ("fad", "natural"): (66.5, np.nan, 72.3, np.nan),
}
# Quoted: IJB-C, all and naturally occluded (Tables 6 and 4). "Ours" is one model in the paper.
PAPER_IJBC: dict[tuple[str, str], tuple[float, float, float, float]] = {
    ("base", "clean"): (87.1, 72.9, 74.1, 83.5),
    ("full", "clean"): (89.2, 75.6, 77.6, 86.1),
    ("base", "natural"): (83.3, 67.0, 72.1, 83.3),
    ("full", "natural"): (83.8, 69.3, 74.5, 83.6),
}


def closed_set(run: Run, variants: Sequence[str]) -> pd.DataFrame:
    """Return closed-set top-1 on new pictures of the training identities, clean and occluded.

    Returns:
        Columns variant, title, clean_percent, occluded_percent, chance_percent.
    """
    faces = run.data("closed")
    rows = []
    for name in variants:
        row = dict(variant=name, title=get_variant(name).title)
        for column, occlusion in (("clean_percent", None), ("occluded_percent", "synthetic")):
            features = torch.from_numpy(run.features(name, faces, occlusion=occlusion))
            with torch.no_grad():
                guess = run.model(name).classify(features).argmax(dim=1).numpy()
            row[column] = 100 * float((guess == faces.identity).mean())
        row["chance_percent"] = 100 / len(np.unique(faces.identity))
        rows.append(row)
    return pd.DataFrame(rows)


def run_splits(run: Run) -> list[TemplateSplit]:
    """Return the ten template splits of a run's held-out identities."""
    return template_splits(run.data("templates"), seed=run.seed)


def condition_features(run: Run, variant: str, condition: str) -> tuple[np.ndarray, bool]:
    """Return held-out features under a condition, and whether to take natural-occlusion probes.

    Args:
        run: the run.
        variant: which network.
        condition: ``clean``; ``synthetic``, a random warped mask on every image; or ``natural``,
            the
            probes with a natural occluder.
    """
    if condition not in CONDITIONS:
        raise ValueError(f"condition must be one of {', '.join(CONDITIONS)}, got {condition!r}")
    occlusion = "synthetic" if condition == "synthetic" else None
    return run.features(variant, "templates", occlusion=occlusion), condition == "natural"


def template_table(
    run: Run, variants: Sequence[str], conditions: Sequence[str] = CONDITIONS
) -> pd.DataFrame:
    """Return mean and standard deviation over the ten splits for each variant and condition.

    Returns:
        Columns variant, title, condition, then each of ``MEASURES`` and its ``_std``, percent.
    """
    splits, rows = run_splits(run), []
    for name in variants:
        for condition in conditions:
            features, natural = condition_features(run, name, condition)
            found = evaluate_templates(features, splits, natural=natural)
            row = dict(variant=name, title=get_variant(name).title, condition=condition)
            for measure in MEASURES:
                row[measure] = found[measure].mean()
                row[f"{measure}_std"] = found[measure].std(ddof=1)
            rows.append(row)
    return pd.DataFrame(rows)


def with_paper(
    table: pd.DataFrame, quoted: dict[tuple[str, str], tuple[float, float, float, float]]
) -> pd.DataFrame:
    """Return a template table with the paper's figures beside ours, in columns ``paper_…``."""
    keys = zip(table["variant"], table["condition"], strict=True)
    rows = [quoted.get(key, (np.nan,) * len(MEASURES)) for key in keys]
    return table.assign(**dict(zip(PAPER_COLUMNS, np.array(rows).T, strict=True)))


def whole_table(run: Run, variants: Sequence[str], conditions: Sequence[str]) -> pd.DataFrame:
    """Return the four measures with all held-out identities in one split, as IJB-C is tested."""
    splits = template_splits(run.data("templates"), splits=1, share=1.0, seed=run.seed)
    rows = []
    for name in variants:
        for condition in conditions:
            features, natural = condition_features(run, name, condition)
            found = evaluate_templates(features, splits, natural=natural)
            row = dict(variant=name, title=get_variant(name).title, condition=condition)
            rows.append(row | found.iloc[0][list(MEASURES)].to_dict())
    return pd.DataFrame(rows)


def paired_difference(
    table: pd.DataFrame,
    samples: dict[tuple[str, str], pd.DataFrame],
    more: str,
    less: str,
    condition: str,
    measure: str = MEASURES[0],
) -> tuple[float, float, float]:
    """Return by how many points one variant is above another, with its 95 % interval.

    Args:
        table: of :func:`template_table`.
        samples: (variant, condition) -> :func:`template_samples`.
        more: variant expected to be above.
        less: the other.
        condition: of both.
        measure: a column.

    Returns:
        The difference of the means over splits, and both ends of the paired bootstrap interval.
    """
    rows = table.set_index(["variant", "condition"])[measure]
    value = float(rows[more, condition] - rows[less, condition])
    drawn = samples[more, condition][measure] - samples[less, condition][measure]
    return value, *shifted_bootstrap_interval(drawn.to_numpy(), value)


def difference_in_differences(
    table: pd.DataFrame,
    samples: dict[tuple[str, str], pd.DataFrame],
    more: str,
    less: str,
    condition: str,
    measure: str = MEASURES[0],
) -> tuple[float, float, float]:
    """Return how much larger a gain is under occlusion than on clean faces, with its interval.

    The arguments are those of :func:`paired_difference`; the result is the gain under ``condition`` less
    the gain on clean faces, in points.
    """
    under, clean = (
        paired_difference(table, samples, more, less, c, measure)[0] for c in (condition, "clean")
    )
    drawn = sum(
        sign * samples[name, c][measure]
        for sign, name, c in (
            (1, more, condition),
            (-1, less, condition),
            (-1, more, "clean"),
            (1, less, "clean"),
        )
    )
    return under - clean, *shifted_bootstrap_interval(drawn.to_numpy(), under - clean)


def verification_curve(run: Run, variant: str, condition: str) -> tuple[np.ndarray, np.ndarray]:
    """Return false and true accept rates with all held-out identities in one split."""
    split = template_splits(run.data("templates"), splits=1, share=1.0, seed=run.seed)[0]
    features, natural = condition_features(run, variant, condition)
    far, tar, _ = roc(*split_scores(features, split, natural=natural))
    return far, tar


def template_samples(run: Run, variant: str, condition: str) -> pd.DataFrame:
    """Return bootstrap samples of the four measures, (resamples, 4); rows pair across variants."""
    features, natural = condition_features(run, variant, condition)
    return bootstrap_templates(
        features, run_splits(run), natural=natural, resamples=run.profile.bootstrap, seed=run.seed
    )


def ar_features(run: Run, variant: str) -> tuple[np.ndarray, np.ndarray]:
    """Return features (N, K) and identities of the AR images with sunglasses or scarf."""
    faces = run.data("ar")
    worn = np.isin(faces.attributes["occluder"], AR_OCCLUDERS)
    return run.features(variant, "ar")[worn], faces.identity[worn]


def ar_table(run: Run, variants: Sequence[str]) -> pd.DataFrame:
    """Return mean and standard deviation of the AR equal error rate over ten draws, percent."""
    rows = []
    for name in variants:
        rates = eer_over_draws(
            *ar_features(run, name), pairs=run.profile.verification_pairs, seed=run.seed
        )
        rows.append(
            dict(
                variant=name,
                title=get_variant(name).title,
                eer_percent=rates.mean(),
                eer_percent_std=rates.std(ddof=1),
            )
        )
    return pd.DataFrame(rows)


def ar_samples(run: Run, variant: str) -> np.ndarray:
    """Return bootstrap samples of the AR equal error rate, percent; they pair across variants."""
    return bootstrap_eer(
        *ar_features(run, variant),
        pairs=run.profile.verification_pairs,
        resamples=run.profile.bootstrap,
        seed=run.seed,
    )
