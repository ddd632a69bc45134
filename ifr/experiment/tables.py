"""The paper's benchmarks on a run's networks: closed set, templates, AR (Sec. 4.3)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from ifr import evaluation
from ifr.common.paths import ASSETS
from ifr.evaluation import CONDITIONS, MEASURES, bootstrap_templates, evaluate_templates, normalised
from ifr.evaluation.protocols.rendered import Splits, split_scores, template_splits
from ifr.evaluation.resampling import shifted_bootstrap_interval
from ifr.experiment.run import Run
from ifr.profiles import get_variant

TAR = MEASURES[0]  # at FAR .01
WORDS = dict(zip(MEASURES, ("TAR at FAR .01", "TAR at FAR .001", "rank-1", "rank-5"), strict=True))
AR_OCCLUDERS = ("sunglasses", "scarf")
OCCLUDED = CONDITIONS[1:]
Samples = dict[tuple[str, str], pd.DataFrame]  # (variant, condition) -> a column for each of them


def quoted(test: str) -> pd.DataFrame:
    """Return the paper's figures on ``"ijba"`` (Tables 2, 4, 5) or ``"ijbc"`` (4, 6), percent."""
    return pd.read_csv(ASSETS / f"paper_{test}.csv").set_index(["variant", "condition"])


def closed_set(run: Run, variants: Sequence[str]) -> pd.DataFrame:
    """Return closed-set top-1 on new pictures of the training identities, clean and occluded."""
    faces, rows = run.data("closed"), []
    for name in variants:
        row: dict[str, object] = dict(variant=name, title=get_variant(name).title)
        for column, occlusion in (("clean_percent", None), ("occluded_percent", "synthetic")):
            features = torch.from_numpy(run.features(name, faces, occlusion=occlusion))
            with torch.no_grad():
                logits = run.model(name).classify(features)
            row[column] = 100 * float((logits.argmax(dim=1).numpy() == faces.identity).mean())
            row["chance_percent"] = 100 / logits.shape[1]  # among all training identities
        rows.append(row)
    return pd.DataFrame(rows)


def run_splits(run: Run) -> Splits:
    """Return the ten template splits of a run's held-out identities."""
    return template_splits(run.data("templates"), seed=run.protocol_seed)


def condition_features(run: Run, variant: str, condition: str) -> tuple[np.ndarray, bool]:
    """Return held-out features, and whether to take the probes with a natural occluder only."""
    if condition not in CONDITIONS:
        raise ValueError(f"condition must be one of {', '.join(CONDITIONS)}, got {condition!r}")
    how: dict[str, Any] = {}
    if condition == "synthetic":  # a mask on every image of who wears nothing, the only ones asked
        bare = run.data("templates").attributes["occluder"] == "none"
        how = dict(occlusion="synthetic", rows=np.flatnonzero(bare))
    return run.features(variant, "templates", **how), condition == "natural"


def _measured(
    run: Run, splits: Splits, variants: Sequence[str], conditions: Sequence[str]
) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Yield what each row of a template table is about, and the four measures of each split."""
    for name in variants:
        for condition in conditions:
            features, natural = condition_features(run, name, condition)
            about = dict(variant=name, title=get_variant(name).title, condition=condition)
            yield about, evaluate_templates(features, splits, natural=natural)[list(MEASURES)]


def template_table(
    run: Run, variants: Sequence[str], conditions: Sequence[str] = CONDITIONS
) -> pd.DataFrame:
    """Return mean and ``_std`` of the four measures over the ten splits, a row for each pair."""
    rows = []
    for row, measured in _measured(run, run_splits(run), variants, conditions):
        for measure in MEASURES:
            row |= {measure: measured[measure].mean(), f"{measure}_std": measured[measure].std()}
        rows.append(row)
    return pd.DataFrame(rows)


def with_paper(table: pd.DataFrame, figures: pd.DataFrame) -> pd.DataFrame:
    """Return a template table with the paper's figures beside ours, in columns ``paper_…``."""
    return table.join(figures[list(MEASURES)].add_prefix("paper_"), on=["variant", "condition"])


def whole_split(run: Run) -> Splits:
    """Return one split of all held-out identities, as IJB-C is tested."""
    return template_splits(run.data("templates"), splits=1, share=1.0, seed=run.protocol_seed)


def whole_table(run: Run, variants: Sequence[str], conditions: Sequence[str]) -> pd.DataFrame:
    """Return the four measures with all held-out identities in one split."""
    rows = _measured(run, whole_split(run), variants, conditions)
    return pd.DataFrame([row | measured.iloc[0].to_dict() for row, measured in rows])


def paired_difference(
    table: pd.DataFrame, samples: Samples, more: str, less: str, condition: str, measure: str = TAR
) -> tuple[float, float, float]:
    """Return by how many points one variant is above another, and its paired 95 % interval."""
    value, drawn = _gain(table, samples, more, less, condition, measure)
    return value, *shifted_bootstrap_interval(drawn, value)


def difference_in_differences(
    table: pd.DataFrame, samples: Samples, more: str, less: str, condition: str
) -> tuple[float, float, float]:
    """Return how much larger :func:`paired_difference` is than on clean faces, and its interval."""
    occluded, drawn = _gain(table, samples, more, less, condition, TAR)
    clean, drawn_clean = _gain(table, samples, more, less, "clean", TAR)
    value = occluded - clean
    return value, *shifted_bootstrap_interval(drawn - drawn_clean, value)


@dataclass(frozen=True)
class Differences:
    """Records differences between the variants of a template table as evidence."""

    run: Run
    table: pd.DataFrame  # of :func:`template_table`
    samples: Samples  # of :func:`template_samples`, for the intervals
    where: str = ""  # after the condition in each quantity, such as ", second backbone"

    def differences(
        self,
        claim: str,
        more: str,
        less: str,
        conditions: Sequence[str] = CONDITIONS,
        measure: str = TAR,
    ) -> None:
        """Record :func:`paired_difference` under each condition, where both were trained."""
        for condition in self._tested(conditions, more, less):
            found = paired_difference(self.table, self.samples, more, less, condition, measure)
            what = f"{WORDS[measure]}, {condition}{self.where}: {more} − {less} (points)"
            record(self.run, claim, what, found)

    def gains(
        self, claim: str, more: str, less: str, form: str, conditions: Sequence[str] = OCCLUDED
    ) -> None:
        """Record :func:`difference_in_differences`, its quantity named by ``form``."""
        for condition in self._tested(conditions, more, less):
            found = difference_in_differences(self.table, self.samples, more, less, condition)
            record(self.run, claim, form.format(measure=WORDS[TAR], condition=condition), found)

    def _tested(self, conditions: Sequence[str], *variants: str) -> Sequence[str]:
        """Return the conditions, none where a profile leaves one of the variants out."""
        return conditions if set(variants) <= set(self.table["variant"]) else ()


def record(run: Run, claim: str, quantity: str, found: tuple[float, float, float]) -> None:
    """Record a value with its interval as evidence."""
    value, low, high = found
    run.evidence(claim, quantity=quantity, value=value, low=low, high=high)


def record_lmf_effect(run: Run, variant: str) -> None:
    """Record how much better the feature after LMF is than the mean of the whole map (C06)."""
    how = dict(resamples=run.profile.bootstrap, seed=run.protocol_seed)
    means, draws, splits = [], [], run_splits(run)
    for method in ("forward", "mean_response"):
        features = run.features(variant, "templates", method=method)
        means.append(evaluate_templates(features, splits)[list(MEASURES)].mean())
        draws.append(bootstrap_templates(features, splits, **how))
    for measure in (TAR, "rank_1_percent"):
        value = means[0][measure] - means[1][measure]
        low, high = shifted_bootstrap_interval((draws[0] - draws[1])[measure].to_numpy(), value)
        quantity = f"{WORDS[measure]}, clean: {variant} with LMF − without (points)"
        record(run, "C06", quantity, (value, low, high))


def _gain(
    table: pd.DataFrame, samples: Samples, more: str, less: str, condition: str, measure: str
) -> tuple[float, np.ndarray]:
    rows = table.set_index(["variant", "condition"])[measure]
    drawn = samples[more, condition][measure] - samples[less, condition][measure]
    return float(rows[more, condition] - rows[less, condition]), drawn.to_numpy()


def verification_curve(run: Run, variant: str, condition: str) -> tuple[np.ndarray, np.ndarray]:
    """Return false and true accept rates with all held-out identities in one split."""
    features, natural = condition_features(run, variant, condition)
    far, tar, _ = evaluation.roc(*split_scores(features, whole_split(run)[0], natural=natural))
    return far, tar


def template_samples(run: Run, variant: str, condition: str) -> pd.DataFrame:
    """Return bootstrap samples of the four measures, (resamples, 4); rows pair across variants."""
    features, natural = condition_features(run, variant, condition)
    how = dict(natural=natural, resamples=run.profile.bootstrap, seed=run.protocol_seed)
    return bootstrap_templates(features, run_splits(run), **how)


def ar_features(run: Run, variant: str) -> tuple[np.ndarray, np.ndarray]:
    """Return features (N, K) and identities of the AR images with sunglasses or scarf."""
    faces = run.data("ar")
    occluded = np.isin(faces.attributes["occluder"], AR_OCCLUDERS)
    return run.features(variant, "ar")[occluded], faces.identity[occluded]


def ar_table(run: Run, variants: Sequence[str]) -> pd.DataFrame:
    """Return mean and standard deviation of the AR equal error rate over ten draws, percent."""
    rows = []
    for name in variants:
        pairs = run.profile.verification_pairs
        rates = evaluation.ar_protocol(*ar_features(run, name), pairs=pairs, seed=run.protocol_seed)
        rows.append((name, get_variant(name).title, rates.mean(), rates.std(ddof=1)))
    return pd.DataFrame(rows, columns=["variant", "title", "eer_percent", "eer_percent_std"])


def ar_samples(run: Run, variant: str) -> np.ndarray:
    """Return bootstrap samples of the AR equal error rate, percent; they pair across variants."""
    how: dict[str, int] = dict(resamples=run.profile.bootstrap, seed=run.protocol_seed)
    features, identity = ar_features(run, variant)
    return evaluation.bootstrap_eer(features, identity, pairs=run.profile.verification_pairs, **how)


def ar_breakdown(run: Run, variants: Sequence[str]) -> pd.DataFrame:
    """Return the equal error rate of all pairs of AR images by what both wear, percent."""
    faces, rows = run.data("ar"), []
    worn = np.asarray(faces.attributes["occluder"])
    glasses, scarf = AR_OCCLUDERS
    kinds = {"nothing": ("none", "none"), f"both {glasses}": (glasses, glasses)}
    kinds |= {f"both {scarf}": (scarf, scarf), f"{glasses} against {scarf}": (glasses, scarf)}
    for name in variants:
        unit = normalised(run.features(name, "ar"))
        for kind, (one, two) in kinds.items():
            a, b = np.flatnonzero(worn == one), np.flatnonzero(worn == two)
            pairs = np.ones((len(a), len(b)), bool) if one != two else ~np.tri(len(a), dtype=bool)
            same = (faces.identity[a][:, None] == faces.identity[b])[pairs]
            rate = 100 * evaluation.equal_error_rate((unit[a] @ unit[b].T)[pairs], same)
            rows.append((name, get_variant(name).title, kind, rate))
    return pd.DataFrame(rows, columns=["variant", "title", "kind", "eer_percent"])
