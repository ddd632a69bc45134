"""What the filter notebooks share: choices of filters, occluded twins, and statistics of peaks."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from ifr.datasets import FaceSet
from ifr.experiment import analysis
from ifr.interpretation import Peaks, distance_to_box
from ifr.mesh import FaceMesh

rng = np.random.default_rng(5)
MESH = FaceMesh.frontal(112).crop(offset=8, size=96)
RUN = SimpleNamespace(mesh96=MESH, crop_landmarks=lambda faces: faces.landmarks - 8)


def _peaks(positive: np.ndarray, weight: float | np.ndarray = 1.0) -> Peaks:
    size = np.broadcast_to(weight, positive.shape[:2]).astype(float)
    return Peaks(positive, positive.copy(), size, size.copy())


def _face_set(count: int) -> FaceSet:
    landmarks = np.tile(MESH.landmarks + 8, (count, 1, 1))
    images = np.zeros((count, 112, 112, 3), np.uint8)
    return FaceSet("test", images, np.arange(count), landmarks)


def test_picked_filters_are_steady_and_far_apart() -> None:
    locations = np.array(
        [[10, 10], [11, 10], [80, 80], [10, 80], [50, 50], [0, 0], [90, 5], [1, 1]]
    )
    spread = np.array([1, 2, 3, 4, 50, np.nan, 60, 70], float)
    # The median of the known spreads is 4; filter 1 is beside filter 0, so it comes last.
    assert analysis.pick_filters(locations, spread, 3).tolist() == [0, 2, 3]
    assert len(analysis.pick_filters(locations, spread, 99)) == 4


def test_strongest_locations_take_the_sign_with_the_larger_weight() -> None:
    here, there = np.full((3, 2, 2), 10.0), np.full((3, 2, 2), 60.0)
    one, two = np.tile([5.0, 1.0], (3, 1)), np.tile([2.0, 2.0], (3, 1))
    found = analysis.strongest_locations(Peaks(here, there, one, two))
    assert found.tolist() == [[10, 10], [60, 60]]


def test_map_scatter_equals_the_plain_sum() -> None:
    response = rng.normal(size=(2, 3, 4, 6)).astype(np.float32)
    response[1, 2] = 0
    found = analysis.map_scatter(response)
    assert np.isnan(found[1, 2])
    points = [((x + 0.5) * 16, (y + 0.5) * 24) for y in range(4) for x in range(6)]
    for n, k in ((0, 0), (0, 2), (1, 1)):
        weights = np.abs(response[n, k]).ravel().astype(float)
        middle = np.average(points, axis=0, weights=weights)
        away = ((np.array(points) - middle) ** 2).sum(axis=1)
        assert found[n, k] == pytest.approx(np.sqrt(np.average(away, weights=weights)), rel=1e-4)


def test_nearness_correlation_is_spearman_of_each_resample() -> None:
    locations, box = 96 * rng.random((30, 2)), (30, 55, 32, 12)
    locations[4] = np.nan
    differences = rng.random((5, 30))
    found = analysis.resampled_proximity_correlation(differences, locations, box)
    known = ~np.isnan(locations[:, 0])
    near = -distance_to_box(locations[known], box)
    assert np.allclose(found, [spearmanr(row[known], near).statistic for row in differences])
    assert analysis.resampled_proximity_correlation(np.ones((1, 30)), locations, box).tolist() == [
        0
    ]


def test_centred_interval_holds_the_value_and_keeps_the_width() -> None:
    samples = rng.normal(3, 1, 4000)
    low, high = analysis.shifted_bootstrap_interval(samples, 1.0)
    assert (low, high) == pytest.approx((1 - 1.96, 1 + 1.96), abs=0.15)


def test_peak_moves_are_distances_and_need_a_peak_on_both_sides() -> None:
    before, after = np.zeros((1, 3, 2)), np.zeros((1, 3, 2))
    after[0, 0] = (3, 4)
    after[0, 1] = np.nan
    moves = analysis.peak_moves(_peaks(before), _peaks(after, np.array([[1, 1, 0]])))
    assert moves[0, 0] == 5 and moves[0, 3] == 5
    assert np.isnan(moves[0, [1, 2, 4, 5]]).all()


def test_covered_filters_are_those_under_the_mask() -> None:
    places = np.array([[[20.5, 30.5], [70.5, 30.5], [20.5, 30.5]]])
    places[0, 2] = np.nan
    masks = np.zeros((1, 96, 96), bool)
    masks[0, 25:40, 10:40] = True
    twins = analysis.OccludedPairs(_face_set(1), _face_set(1), masks)
    covered, uncovered = analysis.covered_filters(RUN, _peaks(places), twins)
    assert covered.tolist() == [[True, False, False] * 2]
    assert uncovered.tolist() == [[False, True, False] * 2]


def test_consistency_between_groups_is_zero_for_a_fixed_place() -> None:
    identity, groups = np.repeat(np.arange(5), 4), np.tile([0, 1], 10)
    fixed = np.tile(96 * rng.random((1, 6, 2)), (20, 1, 1))
    value, draws = analysis.resampled_consistency(
        _peaks(fixed), groups, identity, resamples=4, seed=0
    )
    assert value == pytest.approx(0, abs=1e-9) and np.allclose(draws, 0)
    moved = fixed + 10 * groups[:, None, None] * np.array([1, 0])
    value, _ = analysis.resampled_consistency(_peaks(moved), groups, identity, resamples=2, seed=0)
    assert value == pytest.approx(5)


def test_twins_differ_only_where_the_occluder_or_its_shadow_is() -> None:
    twins = analysis.render_occluded_pairs(np.array([30_000_000]), "scarf")
    clean, occluded = (
        np.array(x.images[0, 8:104, 8:104], int) for x in (twins.clean, twins.occluded)
    )
    changed = np.abs(clean - occluded).max(axis=-1)
    assert twins.masks[0].mean() > 0.1
    assert changed[twins.masks[0]].mean() > 20
    assert changed[:30].max() < 30, "the brow of a face with a scarf should stay as it was"
    assert np.array_equal(twins.clean.landmarks, twins.occluded.landmarks)


def test_pictures_undo_the_network_range() -> None:
    images = torch.tensor([-1.0, 0.0, 1.0]).reshape(1, 3, 1, 1)
    assert analysis.as_pictures(images).ravel().tolist() == [0, 128, 255]


def test_retrieval_rate_of_perfect_and_of_no_filters() -> None:
    identity = np.repeat(np.arange(6), 2)
    features = np.repeat(rng.normal(size=(6, 8)), 2, axis=0)
    settings = dict(resamples=20, seed=0)
    assert analysis.retrieval_rate(features, identity, np.arange(4), **settings) == (100, 100, 100)
    assert np.isnan(
        analysis.retrieval_rate(features, identity, np.array([], int), **settings)
    ).all()
    assert analysis.random_filters_rate(features, identity, 4, rng) == 100
    assert np.isnan(analysis.random_filters_rate(features, identity, 0, rng))
