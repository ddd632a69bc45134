"""What a network looks at: peaks, spreadness, feature change, retrieval by parts (Sec. 4.2-4.4)."""

from ifr.interpretation.change import (
    changed_share,
    covered_filters,
    feature_difference,
    gini,
    occluder_proximity_correlation,
    peak_moves,
    resampled_proximity_correlation,
)
from ifr.interpretation.explain import (
    PairExplanation,
    Threshold,
    explain_pair,
    explain_responses,
    in_words,
    resample,
    score_maps,
    sums_by_part,
)
from ifr.interpretation.face_parts import (
    FACE_PARTS,
    OFF_FACE,
    frontal_face,
    part_filters,
    part_labels,
    part_retrieval,
    random_filters_rate,
    retrieval_pairs,
    retrieval_rate,
)
from ifr.interpretation.part_report import part_report
from ifr.interpretation.peaks import (
    SIGNS,
    Peaks,
    average_locations,
    bootstrap_peaks,
    centre_distance,
    consistency,
    filters_at,
    map_scatter,
    network_peaks,
    peak_locations,
    peak_share,
    peak_statistics,
    peaks_on_face,
    resampled_consistency,
    spreadness,
    steady_columns,
    strongest_locations,
)
