"""Recognition metrics and protocols: verification, identification, equal error rate, spread.

Scores are similarities: higher means more alike.
"""

from ifr.evaluation.ar import ar_protocol, bootstrap_eer, draw_pairs, eer_over_draws
from ifr.evaluation.features import extract_features
from ifr.evaluation.ijba import ijba_protocol
from ifr.evaluation.ijbc import ijbc_protocol
from ifr.evaluation.lfw import best_threshold, lfw_protocol, lfw_summary
from ifr.evaluation.metrics import (
    FARS,
    INTERPOLATIONS,
    MEASURES,
    RANKS,
    equal_error_rate,
    normalised,
    rank_accuracy,
    rank_hits,
    roc,
    tar_at_far,
    tars_at_fars,
)
from ifr.evaluation.pairs_at_scale import ijbc_benchmark, score_pairs
from ifr.evaluation.procedural import (
    CONDITIONS,
    bootstrap_templates,
    evaluate_templates,
    template_similarity,
    verification_scores,
)
from ifr.evaluation.spread import bootstrap_mean, fold_interval, interval, resampled_counts
from ifr.evaluation.templates import (
    compared,
    occluded_only,
    pooled_templates,
    searched,
)

__all__ = [
    "CONDITIONS",
    "FARS",
    "INTERPOLATIONS",
    "MEASURES",
    "RANKS",
    "ar_protocol",
    "best_threshold",
    "bootstrap_eer",
    "bootstrap_mean",
    "bootstrap_templates",
    "compared",
    "draw_pairs",
    "eer_over_draws",
    "equal_error_rate",
    "evaluate_templates",
    "extract_features",
    "fold_interval",
    "ijba_protocol",
    "ijbc_benchmark",
    "ijbc_protocol",
    "interval",
    "lfw_protocol",
    "lfw_summary",
    "normalised",
    "occluded_only",
    "pooled_templates",
    "rank_accuracy",
    "rank_hits",
    "resampled_counts",
    "roc",
    "score_pairs",
    "searched",
    "tar_at_far",
    "tars_at_fars",
    "template_similarity",
    "verification_scores",
]
