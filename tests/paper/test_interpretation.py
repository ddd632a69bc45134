"""Peaks, spreadness, feature difference and retrieval on cases whose answer is known."""

import numpy as np
import pytest

from ifr import interpretation as it
from ifr.evaluation import bootstrap_counts
from ifr.interpretation.change import distance_to_box
from ifr.landmarks import CROP_SIZE
from ifr.mesh import FaceMesh

MESH = FaceMesh.frontal(CROP_SIZE)
FRONT = MESH.landmarks


def spikes(cells, size=24, value=1.0):
    """Return maps (1, K, size, size) with one response each at (row, column)."""
    maps = np.zeros((1, len(cells), size, size), np.float32)
    for k, (row, column) in enumerate(cells):
        maps[0, k, row, column] = value
    return maps


def random_peaks(people=4, shots=5, filters=6, seed=0):
    rng = np.random.default_rng(seed)
    shape = (people * shots, filters)
    places = [rng.uniform(10, 90, (*shape, 2)) for _ in range(2)]
    weights = [rng.uniform(0.1, 1, shape) for _ in range(2)]
    places[0][0, 0] = np.nan
    weights[0][0, 0] = 0
    return it.Peaks(np.stack(places), np.stack(weights)), np.repeat(np.arange(people), shots)


@pytest.mark.parametrize("size", [24, 12])
def test_on_the_frontal_face_a_peak_is_the_centre_of_its_cell(size):
    cells = [(5, 7), (size - 3, 2), (size // 2, size // 2)]
    peaks = it.peak_locations(spikes(cells, size), FRONT[None], MESH)
    stride = CROP_SIZE / size
    expected = [[(column + 0.5) * stride, (row + 0.5) * stride] for row, column in cells]
    np.testing.assert_allclose(peaks.of("positive")[0][0], expected, atol=1e-9)
    np.testing.assert_allclose(peaks.of("positive")[1], 1)
    assert (peaks.of("negative")[1] == 0).all()  # no map has a negative response
    corner = it.peak_locations(spikes(cells, size), FRONT[None], MESH, place="corner")
    np.testing.assert_allclose(corner.places[0, 0] + stride / 2, expected, atol=1e-9)


def test_a_negative_spike_is_a_negative_peak():
    peaks = it.peak_locations(spikes([(5, 7)], value=-2.0), FRONT[None], MESH)
    np.testing.assert_allclose(peaks.of("negative")[0][0, 0], [30, 22], atol=1e-9)
    assert peaks.weights[:, 0, 0].tolist() == [0, 2]
    with pytest.raises(ValueError, match="'both'"):
        peaks.of("both")


def test_a_peak_on_the_nose_of_a_moved_face_is_on_the_nose_of_the_frontal_one():
    moved = (FRONT - 48) * 0.9 + 48 + [6, -4]
    column, row = (moved[30] // 4).astype(int)  # the cell that holds the nose tip
    found = it.peak_locations(spikes([(row, column)]), moved[None], MESH).places[0, 0, 0]
    assert np.linalg.norm(found - FRONT[30]) < 4  # half a cell, enlarged by 1 / 0.9


def test_responses_that_cannot_be_placed_are_refused():
    with pytest.raises(ValueError, match="same N faces"):
        it.peak_locations(spikes([(1, 1)]), np.stack([FRONT, FRONT]), MESH)
    with pytest.raises(ValueError, match="not finite"):
        it.peak_locations(spikes([(1, 1)], value=np.nan), FRONT[None], MESH)
    with pytest.raises(ValueError, match="'middle'"):
        it.peak_locations(spikes([(1, 1)]), FRONT[None], MESH, place="middle")


@pytest.mark.parametrize("kind", ["deviation", "distance"])
def test_average_location_and_scatter_equal_a_plain_loop(kind):
    peaks, _ = random_peaks()
    places, weights = peaks.of("positive")
    mean, scatter = it.average_locations(places, weights, scatter=kind)
    for k in range(places.shape[1]):
        rows = [n for n in range(len(places)) if not np.isnan(places[n, k]).any()]
        total = sum(weights[n, k] for n in rows)
        centre = sum(weights[n, k] * places[n, k] for n in rows) / total
        away = [np.hypot(*(places[n, k] - centre)) for n in rows]
        power = 2 if kind == "deviation" else 1
        value = sum(weights[n, k] * d**power for n, d in zip(rows, away, strict=True)) / total
        np.testing.assert_allclose(mean[k], centre)
        assert scatter[k] == pytest.approx(value ** (1 / power))


def test_a_silent_filter_has_no_location_and_does_not_count():
    places = np.full((3, 2, 2), 20.0)
    mean, scatter = it.average_locations(places, np.array([[1.0, 0], [1, 0], [1, 0]]))
    assert np.isnan(mean[1]).all() and np.isnan(scatter[1]) and scatter[0] == 0
    assert it.spreadness(mean) == 0


def test_spreadness_of_points_on_a_circle_is_its_radius():
    angle = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    circle = 48 + 17.1 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    assert it.spreadness(circle) == pytest.approx(17.1)
    assert it.centre_distance(circle) == pytest.approx(17.1)
    with pytest.raises(ValueError, match=r"\(K, 2\)"):
        it.spreadness(np.zeros(4))
    with pytest.raises(ValueError, match="no filter"):
        it.spreadness(np.full((3, 2), np.nan))


def test_the_bootstrap_is_the_statistic_of_people_drawn_as_often_as_they_are():
    peaks, identity = random_peaks()
    draws = it.bootstrap_peaks(peaks, identity, resamples=5, seed=0)
    for index, counts in enumerate(bootstrap_counts(4, 5, 0)):
        rows = np.repeat(np.arange(len(identity)), counts[identity])
        again = it.peak_statistics(it.Peaks(peaks.places[:, rows], peaks.weights[:, rows]))
        np.testing.assert_allclose(draws["dbar"][index], again["dbar"])
        np.testing.assert_allclose(draws["mean_scatter"][index], again["mean_scatter"])
        centre = [it.centre_distance(again[f"{sign}_location"]) for sign in it.SIGNS]
        np.testing.assert_allclose(draws["centre_distance"][index], np.mean(centre))


def test_positive_peaks_stand_beside_negative_ones():
    peaks, _ = random_peaks()
    for joined, sign in zip(peaks.both(), zip(*map(peaks.of, it.SIGNS), strict=True), strict=True):
        np.testing.assert_array_equal(joined[:, :6], sign[0])
        np.testing.assert_array_equal(joined[:, 6:], sign[1])


def test_feature_difference_with_and_without_scaling():
    clean, occluded = np.array([[3.0, 4.0]]), np.array([[3.0, 0.0]])
    np.testing.assert_allclose(it.feature_difference(clean, occluded, normalise=False), [[0, 4]])
    np.testing.assert_allclose(it.feature_difference(clean, occluded), [[0.4, 0.8]])
    with pytest.raises(ValueError, match=r"\(1, 2\) and \(1, 3\)"):
        it.feature_difference(clean, np.zeros((1, 3)))


def test_gini_from_all_alike_to_a_single_one():
    assert it.gini(np.ones(50)) == pytest.approx(0)
    assert it.gini(np.eye(1, 50)[0]) == pytest.approx(49 / 50)
    assert it.gini([1, 3]) == pytest.approx(0.25)
    assert it.gini(np.zeros(3)) == 0
    with pytest.raises(ValueError, match="below 0"):
        it.gini([-1.0, 1.0])


def test_share_of_changed_filters():
    assert it.changed_share(np.array([1.0, 0.2, 0.05, 0.0])) == 0.5


def test_distance_to_a_box():
    points = np.array([[15.0, 15.0], [5, 15], [13, 24]])
    found = distance_to_box(points, (10, 10, 10, 10))
    np.testing.assert_allclose(found, [0, 5, 4])


def test_change_that_follows_the_place_and_change_that_avoids_it():
    places = np.stack([np.linspace(0, 95, 40), np.full(40, 48.0)], axis=1)
    box = (0, 40, 1, 12)
    near = -distance_to_box(places, box)
    value, p_value = it.occluder_proximity_correlation(near, places, box, permutations=200)
    assert value == pytest.approx(1) and p_value == pytest.approx(1 / 201)
    value, p_value = it.occluder_proximity_correlation(-near, places, box, permutations=200)
    assert value == pytest.approx(-1) and p_value > 0.9
    assert it.occluder_proximity_correlation(np.ones(40), places, box) == (0.0, 1.0)


def test_share_of_the_largest_responses():
    maps = np.zeros((1, 2, 2, 2))
    maps[0, 0] = [[4, -3], [2, 1]]
    share = it.peak_share(maps, keep=2)
    assert share[0, 0] == pytest.approx(0.7) and np.isnan(share[0, 1])


def test_consistency_of_a_filter_that_stays_and_one_that_moves():
    groups = np.repeat([0, 1], 5)
    places = np.full((10, 2, 2), 50.0)
    places[5:, 1, 0] = 70.0  # the second filter moves by 20 pixels with the group
    between, within = it.consistency(places, np.ones((10, 2)), groups)
    assert between == pytest.approx((0 + 10) / 2) and within == 0


def test_filters_of_a_part_look_at_it():
    places = np.stack(
        [
            FRONT[36:42].mean(axis=0),
            FRONT[48:68].mean(axis=0),
            FRONT[30],
            [2.0, 2.0],
            [np.nan, np.nan],
        ]
    )
    found = it.part_filters(places, MESH)
    assert {part: own.tolist() for part, own in found.items()} == {
        "eyes": [0],
        "mouth": [1],
        "nose": [2],
    }


def test_retrieval_by_the_right_elements_is_perfect_and_by_noise_is_not():
    rng = np.random.default_rng(0)
    identity = np.tile(np.arange(40), 2)
    features = np.concatenate([rng.normal(size=(40, 8))[identity], rng.normal(size=(80, 8))], 1)
    hits, order = it.part_retrieval(features, identity, np.arange(8))
    assert hits.all() and order.shape == (80, 79)
    assert not (order == np.arange(80)[:, None]).any()  # the query itself is never found
    assert it.part_retrieval(features, identity, np.arange(8, 16))[0].mean() < 0.15
    with pytest.raises(ValueError, match="no filter"):
        it.part_retrieval(features, identity, np.array([], int))


def test_two_images_of_each_person_are_drawn():
    identity = np.array([0, 0, 0, 1, 2, 2])
    pairs = it.retrieval_pairs(identity, 9, np.random.default_rng(0))
    assert sorted(identity[pairs].tolist()) == [0, 0, 2, 2] and len(set(pairs.tolist())) == 4
