"""Recognition measured, by similarities: features, metrics, resampling, templates, protocols."""

from ifr.evaluation.features import random_rectangles, set_features
from ifr.evaluation.metrics import (
    MEASURES,
    equal_error_rate,
    mate_ranks,
    normalised,
    rank_accuracy,
    roc,
    tar_at_far,
    tars_at_fars,
)
from ifr.evaluation.protocols.ijb import ijba_protocol, ijbc_protocol
from ifr.evaluation.protocols.pairs import ar_protocol, bootstrap_eer, draw_pairs, lfw_protocol
from ifr.evaluation.protocols.rendered import CONDITIONS, bootstrap_templates, evaluate_templates
from ifr.evaluation.resampling import (
    bootstrap_counts,
    bootstrap_mean,
    fold_interval,
    interval,
    shifted_bootstrap_interval,
)
from ifr.evaluation.templates import score_pairs
