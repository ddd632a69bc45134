"""Filters on faces: which are picked, where a network's peaks lie, what an occluder covers."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from ifr import interpretation as it
from ifr.common.errors import UserError
from ifr.datasets import FaceSet
from ifr.datasets.rendered import OccludedPairs
from ifr.interpretation.change import distance_to_box
from ifr.landmarks import CROP_OFFSET, CROP_SIZE, FACE_SIZE
from ifr.mesh import FaceMesh

rng = np.random.default_rng(5)
MESH = FaceMesh.frontal(CROP_SIZE)


def _peaks(positive: np.ndarray, weight: float | np.ndarray = 1.0) -> it.Peaks:
    size = np.broadcast_to(weight, positive.shape[:2]).astype(float)
    return it.Peaks(np.stack([positive] * 2), np.stack([size] * 2))


def _frontal_faces(count: int) -> FaceSet:
    landmarks = np.tile(MESH.landmarks + CROP_OFFSET, (count, 1, 1)).astype(np.float32)
    images = np.zeros((count, FACE_SIZE, FACE_SIZE, 3), np.uint8)
    return FaceSet("test", images, np.arange(count), landmarks)


class _OneFilter(torch.nn.Module):
    """Answers with the image itself, averaged to a map of cells of four pixels of the input."""

    rate = 0.0
    filters = torch.zeros(1, 1, 3, 3)

    def response(self, images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(images.mean(dim=1, keepdim=True) + 1, 4)


@pytest.mark.parametrize("size", [48, 96, 112])
def test_a_bright_spot_of_a_frontal_face_is_its_peak_for_every_input_size(size: int) -> None:
    faces = _frontal_faces(2)
    column, row = 60, 44  # a corner of cells of 4 and of 8 pixels, in the stored and cropped face
    faces.images[:, row + 2 : row + 6, column + 2 : column + 6] = 255
    peaks = it.network_peaks(_OneFilter(), faces, size=size)
    expected = np.array([column, row]) + 4 - CROP_OFFSET
    assert np.abs(peaks.places[0, :, 0] - expected).max() <= 4 + 1e-9
    assert (peaks.weights[0] > 0).all()


def test_peaks_need_landmarks() -> None:
    faces = _frontal_faces(1)
    bare = FaceSet("bare", faces.images, faces.identity, None)
    with pytest.raises(UserError, match="bare has no landmarks"):
        it.network_peaks(_OneFilter(), bare, size=CROP_SIZE)


def test_filters_are_steady_on_the_face_and_nearest_to_the_boxes_middles() -> None:
    places = np.tile([[20.0, 44], [22, 44], [70, 44], [45, 62], [45, 60], [2, 2]], (40, 1, 1))
    places[:, 0] += rng.uniform(-15, 15, (40, 2))  # wild, though nearest on average
    places[:, 4] += rng.uniform(-15, 15, (40, 2))
    strong, weak = np.full((40, 6), 2.0), np.full((40, 6), 1.0)
    peaks = it.Peaks(np.stack([places, places[:, ::-1]]), np.stack([strong, weak]))
    eye, nose, corner = (15, 38, 10, 12), (40, 55, 10, 12), (0, 0, 4, 4)
    assert it.filters_at(peaks, [eye, nose]).tolist() == [1, 3]
    assert it.filters_at(peaks, [nose, eye]).tolist() == [3, 1]
    # Filter 5 looks off the face; of two boxes at one place the second gets another filter.
    assert it.filters_at(peaks, [corner, eye, eye]).tolist().count(5) == 0
    assert len(set(it.filters_at(peaks, [eye, eye, nose]).tolist())) == 3


def test_strongest_locations_take_the_sign_with_the_larger_weight() -> None:
    here, there = np.full((3, 2, 2), 10.0), np.full((3, 2, 2), 60.0)
    one, two = np.tile([5.0, 1.0], (3, 1)), np.tile([2.0, 2.0], (3, 1))
    locations = it.strongest_locations(it.Peaks(np.stack([here, there]), np.stack([one, two])))
    assert locations.tolist() == [[10, 10], [60, 60]]


def test_a_filter_that_is_steady_only_in_its_weaker_sign_is_not_steady() -> None:
    """Place and scatter come from one sign, the stronger."""
    fixed = np.tile([[20.0, 20], [70, 70], [40, 60]], (40, 1, 1))
    wild = rng.uniform(0, CROP_SIZE, fixed.shape)
    strong, weak = np.full((40, 3), 2.0), np.full((40, 3), 1.0)
    strong[:, 0], weak[:, 0] = weak[:, 0].copy(), strong[:, 0].copy()
    # Filter 0 answers more strongly where it is wild, filters 1 and 2 where they are fixed.
    peaks = it.Peaks(np.stack([fixed, wild]), np.stack([strong, weak]))
    assert it.steady_columns(peaks)[0].tolist() == [1, 2]


def test_map_scatter_equals_the_plain_sum() -> None:
    response = rng.normal(size=(2, 3, 4, 6)).astype(np.float32)
    response[1, 2] = 0
    scatter = it.map_scatter(response)
    assert np.isnan(scatter[1, 2])
    points = [((x + 0.5) * 16, (y + 0.5) * 24) for y in range(4) for x in range(6)]
    for n, k in ((0, 0), (0, 2), (1, 1)):
        weights = np.abs(response[n, k]).ravel().astype(float)
        middle = np.average(points, axis=0, weights=weights)
        away = ((np.array(points) - middle) ** 2).sum(axis=1)
        assert scatter[n, k] == pytest.approx(np.sqrt(np.average(away, weights=weights)), rel=1e-4)


def test_proximity_correlation_is_spearman_of_each_resample() -> None:
    locations, box = CROP_SIZE * rng.random((30, 2)), (30, 55, 32, 12)
    locations[4] = np.nan
    differences = rng.random((5, 30)).round(1)  # with ties
    values = it.resampled_proximity_correlation(differences, locations, box)
    known = ~np.isnan(locations[:, 0])
    near = -distance_to_box(locations[known], box)
    expected = [spearmanr(row[known], near).statistic for row in differences]
    np.testing.assert_allclose(values, expected)
    one, _ = it.occluder_proximity_correlation(differences[0], locations, box, permutations=50)
    assert one == pytest.approx(expected[0])
    flat = it.resampled_proximity_correlation(np.ones((1, 30)), locations, box)
    assert flat.tolist() == [0]


def test_the_null_averages_ties_as_the_statistic_does() -> None:
    """With a single changed filter there are K equally likely rankings: p is a share of them."""
    places = np.stack([np.linspace(0, 90, 10), np.full(10, 48.0)], axis=1)
    change = np.zeros(10)
    change[2] = 1.0  # the third nearest of ten
    box = (0, 40, 1, 12)
    _, p_value = it.occluder_proximity_correlation(change, places, box, permutations=4000)
    assert p_value == pytest.approx(0.3, abs=0.03)


def test_peak_moves_are_distances_and_need_a_peak_on_both_sides() -> None:
    before, after = np.zeros((1, 3, 2)), np.zeros((1, 3, 2))
    after[0, 0] = (3, 4)
    after[0, 1] = np.nan
    moves = it.peak_moves(_peaks(before), _peaks(after, np.array([[1, 1, 0]])))
    assert moves[0, 0] == 5 and moves[0, 3] == 5
    assert np.isnan(moves[0, [1, 2, 4, 5]]).all()


def test_covered_filters_are_those_under_the_mask() -> None:
    places = np.array([[[20.5, 30.5], [70.5, 30.5], [20.5, 30.5]]])
    places[0, 2] = np.nan
    masks = np.zeros((1, CROP_SIZE, CROP_SIZE), bool)
    masks[0, 25:40, 10:40] = True
    pairs = OccludedPairs(_frontal_faces(1), _frontal_faces(1), masks)
    covered, uncovered = it.covered_filters(_peaks(places), pairs)
    assert covered.tolist() == [[True, False, False] * 2]
    assert uncovered.tolist() == [[False, True, False] * 2]


def test_consistency_between_groups_is_zero_for_a_fixed_place() -> None:
    identity, groups = np.repeat(np.arange(5), 4), np.tile([0, 1], 10)
    fixed = np.tile(CROP_SIZE * rng.random((1, 6, 2)), (20, 1, 1))
    value, draws = it.resampled_consistency(_peaks(fixed), groups, identity, resamples=4, seed=0)
    assert value == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(draws, 0, atol=1e-9)
    moved = fixed + 10 * groups[:, None, None] * np.array([1, 0])
    value, _ = it.resampled_consistency(_peaks(moved), groups, identity, resamples=2, seed=0)
    assert value == pytest.approx(5)


def test_retrieval_rate_of_perfect_and_of_no_filters() -> None:
    identity = np.repeat(np.arange(6), 2)
    features = np.repeat(rng.normal(size=(6, 8)), 2, axis=0)
    settings = dict(resamples=20, seed=0)
    assert it.retrieval_rate(features, identity, np.arange(4), **settings) == (100, 100, 100)
    none = it.retrieval_rate(features, identity, np.array([], int), **settings)
    assert np.isnan(none).all()
    assert it.random_filters_rate(features, identity, 4, rng) == 100
    assert np.isnan(it.random_filters_rate(features, identity, 0, rng))
