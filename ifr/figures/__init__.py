"""One function for each kind of figure: numbers in, a Matplotlib figure out."""

from ifr.figures.faces import (
    figure_3,
    figure_face_mesh,
    figure_faces,
    figure_landmarks,
    figure_mask_coverage,
)
from ifr.figures.filters import (
    figure_5,
    figure_7,
    figure_9,
    figure_explanation,
    figure_explorer,
    figure_maps,
    figure_similarity,
)
from ifr.figures.method import figure_2
from ifr.figures.results import figure_claims, figure_curves, figure_evidence, figure_measures
from ifr.figures.style import as_pictures, save_figure, show_figure
