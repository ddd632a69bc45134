"""Recognition metrics and protocols: verification, identification, equal error rate, spread.

Scores are similarities: higher means more alike.
"""

from ifr.evaluation.features import extract_features
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
from ifr.evaluation.pair_scores import ijbc_benchmark, score_pairs
from ifr.evaluation.protocols.ar import ar_protocol, bootstrap_eer, draw_pairs, eer_over_draws
from ifr.evaluation.protocols.ijba import ijba_protocol
from ifr.evaluation.protocols.ijbc import ijbc_protocol
from ifr.evaluation.protocols.lfw import best_threshold, lfw_protocol, lfw_summary
from ifr.evaluation.protocols.rendered import (
    CONDITIONS,
    bootstrap_templates,
    evaluate_templates,
    split_scores,
    template_similarity,
)
from ifr.evaluation.resampling import bootstrap_counts, bootstrap_mean, fold_interval, interval
from ifr.evaluation.templates import (
    identification_scores,
    occluded_only,
    pooled_templates,
    verification_scores,
)

__all__ = [
    "CONDITIONS",
    "FARS",
    "INTERPOLATIONS",
    "MEASURES",
    "RANKS",
    "ar_protocol",
    "best_threshold",
    "bootstrap_counts",
    "bootstrap_eer",
    "bootstrap_mean",
    "bootstrap_templates",
    "draw_pairs",
    "eer_over_draws",
    "equal_error_rate",
    "evaluate_templates",
    "extract_features",
    "fold_interval",
    "identification_scores",
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
    "roc",
    "score_pairs",
    "split_scores",
    "tar_at_far",
    "tars_at_fars",
    "template_similarity",
    "verification_scores",
]
