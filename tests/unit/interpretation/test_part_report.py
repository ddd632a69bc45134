"""Measures of how filters keep to parts, each against values counted by hand."""

import numpy as np
import pytest
import torch

from ifr.common.errors import UserError
from ifr.datasets import FaceSet
from ifr.faces import PARTS
from ifr.interpretation.part_report import (
    CENTRES,
    dissection,
    landmark_error,
    location_instability,
    part_consistency,
    part_hits,
    part_report,
    part_stability,
    purity,
    share_on,
)
from ifr.interpretation.peaks import largest_peaks
from ifr.landmarks import FACE_SIZE
from ifr.mesh import FaceMesh
from ifr.models import build_model

rng = np.random.default_rng(13)
NOWHERE = np.zeros(len(CENTRES), bool)


def once(count: int) -> np.ndarray:
    """Every image counts once, in one draw, (1, N)."""
    return np.ones((1, count))


def on(*names: str) -> np.ndarray:
    """Which parts, by name, (P,) bool."""
    return np.isin(CENTRES, names)


def test_a_peak_is_the_centre_of_the_cell_of_largest_magnitude() -> None:
    maps = np.zeros((1, 2, 3, 4), np.float32)
    maps[0, 0, 2, 1], maps[0, 0, 0, 0], maps[0, 1, 0, 3] = -5, 4, 1
    places, strengths = largest_peaks(maps, 24)
    assert places.tolist() == [[[9, 20], [21, 4]]] and strengths.tolist() == [[5, 1]]


def test_a_part_is_hit_inside_the_box_if_it_is_visible() -> None:
    places, centres = np.array([[[10.0, 10]]]), np.array([[[14.0, 6], [15, 10], [10, 10]]])
    hits = part_hits(places, centres, np.array([[True, True, False]]), reach=4)
    assert hits.tolist() == [[[True, False, False]]]


def test_a_filter_is_consistent_with_a_part_in_four_of_five_images_that_show_it() -> None:
    visible = np.ones((10, 6), bool)
    visible[8:, 0] = False  # the first part is seen in eight images, the others in ten
    hits = np.zeros((10, 3, 6), bool)
    hits[:7, 0, 0] = True  # 7 of 8
    hits[:7, 1, 1] = True  # 7 of 10
    hits[:4, 2, 2], hits[4:8, 2, 3] = True, True  # two parts, 4 of 10 each
    assert part_consistency(hits, visible, once(10)).tolist() == pytest.approx([1 / 3])
    counts = np.stack([np.ones(10), np.arange(10) < 7])  # everyone, and the first seven alone
    assert part_consistency(hits, visible, counts).tolist() == pytest.approx([1 / 3, 2 / 3])


def test_stability_is_the_share_of_images_with_the_same_parts() -> None:
    hits = np.zeros((4, 2, 6), bool)
    hits[:, 0, :2] = True
    noisy = hits.copy()
    noisy[0, 0, 1] = False  # a part is lost
    noisy[1, 1, 5] = True  # and another won
    assert part_stability(hits, noisy, once(4)).tolist() == [6 / 8]
    assert part_stability(hits, noisy, np.array([[2, 1, 0, 1]])).tolist() == [5 / 8]


def test_purity_merges_sides_and_looks_at_the_strongest_images() -> None:
    visible = np.ones((6, 6), bool)
    hits = np.zeros((6, 2, 6), bool)
    strengths = np.tile(np.arange(6.0)[::-1, None], 2)  # the first images are the strongest
    hits[[0, 2], 0] = on("left_eye")
    hits[1, 0] = on("right_eye", "nose")
    hits[4:, 1] = on("mouth")  # only where it hardly answers
    found = purity(hits, visible, strengths, once(6), top=4)
    assert found.tolist() == [[0.75, 0]]
    counts = np.array([[0, 1, 1, 2, 0, 9]])  # what is not among the strongest never counts
    assert purity(hits, visible, strengths, counts, top=4).tolist() == [[0.5, 0]]
    visible[3] = False  # now the eyes are seen in three of the four
    assert purity(hits, visible, strengths, once(6), top=4)[0, 0] == 1
    visible[:] = False
    assert purity(hits, visible, strengths, once(6), top=4).tolist() == [[0, 0]]


def test_instability_is_the_deviation_of_distances_over_the_diagonal() -> None:
    landmarks = np.zeros((4, 1, 2))
    places = np.array([[[3.0, 4]], [[0, 5]], [[0, 9]], [[90, 90]]])
    strengths = np.array([[4.0], [3], [2], [1]])
    diagonal = 96 * np.sqrt(2)
    assert location_instability(places, strengths, landmarks, 96, once(4), top=2) == [0]  # 5 and 5
    counts = np.array([[1, 1, 1, 1], [0, 2, 1, 7]])
    expected = [np.std([5, 5, 9]) / diagonal, np.std([5, 5, 9]) / diagonal]
    found = location_instability(places, strengths, landmarks, 96, counts, top=3)
    np.testing.assert_allclose(found, expected)


def test_dissection_compares_the_strongest_responses_with_each_label() -> None:
    maps = np.zeros((2, 1, 4, 4), np.float32)
    maps[0, 0, :2, :2] = -3  # four of 32 cells: the top eighth
    maps[1, 0, 3, 3] = 1
    labels = np.zeros((2, 4, 4), np.uint8)
    labels[0, :2] = 1
    labels[1, 0, 0] = 2
    counts = np.array([[1, 1], [1, 0], [1, 3]])
    found = [dissection(maps, labels, [kind], counts, top=1 / 8)[:, 0] for kind in (0, 1, 2)]
    # The level lies between 1 and 3 by interpolation of the quantile, so the four cells remain.
    np.testing.assert_allclose(found, [[0, 0, 0], [4 / 8] * 3, [0, 0, 0]])
    np.testing.assert_allclose(dissection(maps, labels, [0, 1], counts, top=1 / 8), [[0.5]] * 3)


def test_landmarks_that_follow_peaks_are_found_without_error_and_others_are_not() -> None:
    places = rng.uniform(0, 96, (40, 3, 2))
    landmarks = np.zeros((40, 68, 2))
    landmarks[:] = places[:, :1]
    landmarks[:, 45] = places[:, 1] + places[:, 2]
    fitted = np.arange(40) < 20
    assert landmark_error(places, landmarks, fitted, once(40)) == pytest.approx(0, abs=1e-9)
    landmarks[~fitted, 7] += 17  # one landmark of 68, in units of the distance of the eyes
    eyes = np.linalg.norm(landmarks[~fitted, 36] - landmarks[~fitted, 45], axis=-1)
    expected = np.mean(17 * np.sqrt(2) / 68 / eyes)
    assert landmark_error(places, landmarks, fitted, once(40)) == pytest.approx(expected)
    last = np.arange(40)[None] == 39
    found = landmark_error(places, landmarks, fitted, last.astype(float))
    assert found == pytest.approx(17 * np.sqrt(2) / 68 / eyes[-1])


def test_peaks_are_counted_on_the_pixels_of_chosen_labels() -> None:
    labels = np.zeros((1, 4, 4), np.uint8)
    labels[0, 1, 2] = 5
    places = np.array([[[60.0, 36], [36, 60], [95.9, 0], [48, 47.9]]])
    assert share_on(places, labels, [5], 96).tolist() == [2 / 4]


@pytest.mark.parametrize("rendered", [True, False])
def test_the_whole_report_by_rendered_parts_or_the_mesh(rendered) -> None:
    images = rng.integers(0, 256, (12, FACE_SIZE, FACE_SIZE, 3), dtype=np.uint8)
    landmarks = np.stack([FaceMesh.frontal().landmarks] * 12) + rng.normal(0, 1, (12, 68, 2))
    known = dict(visible=np.ones((12, 68), bool))
    known["parts"] = np.full((12, FACE_SIZE, FACE_SIZE), PARTS.index("hair"), np.uint8)
    faces = FaceSet("test", images, np.arange(12), landmarks, known if rendered else {})
    torch.manual_seed(0)
    model = build_model(num_filters=5, width=0.125, rate=0.9).eval()
    found, again = (part_report(model, faces, size=48, resamples=n) for n in (0, 30))
    assert all(np.isfinite(value).all() for value in found.values())
    for name, values in found.items():
        assert values.shape == (1,) and again[name].shape == (31,)
        assert again[name][0] == values[0], "a seed gives the same noise"
    moving = "landmark_error_share", "d_bar_pixels", "stability_percent"
    assert all(np.ptp(again[name]) > 0 for name in moving)
    assert found["off_face_percent"] == 100 if rendered else 0 < found["off_face_percent"] < 100
    with pytest.raises(UserError, match="fewer than two people"):
        part_report(model, faces[[0]], size=48)
    shuffled = part_report(model, faces, size=48, shuffled=True)
    assert shuffled.keys() == found.keys()
    assert shuffled["landmark_error_share"] != found["landmark_error_share"]
