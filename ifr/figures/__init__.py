"""One function a figure: numbers in, a Matplotlib figure out."""

from ifr.figures.faces import (
    figure_3,
    figure_4,
    figure_contact_sheet,
    figure_face_mesh,
    figure_folded_triangles,
    figure_landmarks,
    figure_mask_coverage,
)
from ifr.figures.filters import (
    figure_1,
    figure_5,
    figure_5_weight_sweep,
    figure_6,
    figure_7,
    figure_8,
    figure_9,
    figure_explanation,
    figure_explorer,
    figure_kept_magnitude,
    figure_maps,
    figure_peak_overlap,
    figure_selected_features,
    figure_similarity,
)
from ifr.figures.results import (
    figure_evidence,
    figure_lfw,
    figure_measures,
    figure_quality_baselines,
    figure_roc,
    figure_table2,
    figure_training_curves,
)
from ifr.figures.style import as_pictures, save_figure, show_figure
