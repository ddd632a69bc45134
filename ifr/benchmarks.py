"""The paper's benchmarks on a run's networks: closed set, templates, AR (Sec. 4.3)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from ifr.datasets.protocols import TemplateSplit, template_splits
from ifr.evaluation import (
    CONDITIONS,
    MEASURES,
    bootstrap_eer,
    bootstrap_templates,
    eer_over_draws,
    evaluate_templates,
)
from ifr.profiles import get_variant
from ifr.run import Run

AR_OCCLUDERS = ("sunglasses", "scarf")


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
        rows.append(dict(variant=name, title=get_variant(name).title, eer_percent=rates.mean(),
                         eer_percent_std=rates.std(ddof=1)))  # fmt: skip
    return pd.DataFrame(rows)


def ar_samples(run: Run, variant: str) -> np.ndarray:
    """Return bootstrap samples of the AR equal error rate, percent; they pair across variants."""
    return bootstrap_eer(
        *ar_features(run, variant), pairs=run.profile.verification_pairs,
        resamples=run.profile.bootstrap, seed=run.seed,
    )  # fmt: skip
