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
from ifr.interpretation.locations import (
    average_locations,
    bootstrap_peaks,
    centre_distance,
    consistency,
    peak_statistics,
    pick_filters,
    resampled_consistency,
    spreadness,
    steady_filters,
    strongest_locations,
)
from ifr.interpretation.parts import (
    part_filters,
    part_retrieval,
    random_filters_rate,
    retrieval_pairs,
    retrieval_rate,
)
from ifr.interpretation.peaks import (
    SIGNS,
    Peaks,
    map_scatter,
    network_peaks,
    peak_locations,
    peak_share,
)
