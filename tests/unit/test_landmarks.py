"""Landmark groups, mirroring and alignment."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from ifr import landmarks as lm
from ifr.common.errors import UserError
from ifr.common.paths import ASSETS

RNG = np.random.default_rng(0)
FACE = RNG.uniform(10, 100, (68, 2))


def test_groups_cover_every_landmark_once():
    covered = [i for group in lm.GROUPS.values() for i in range(68)[group]]
    assert sorted(covered) == list(range(68))


def test_mirror_swaps_sides_and_undoes_itself():
    assert (lm.MIRROR[lm.MIRROR] == np.arange(68)).all()
    for name in ("eye", "brow"):
        right, left = lm.GROUPS[f"right_{name}"], lm.GROUPS[f"left_{name}"]
        assert set(lm.MIRROR[right]) == set(range(68)[left])
    np.testing.assert_allclose(lm.mirror(lm.mirror(FACE, 112), 112), FACE)
    assert lm.mirror(FACE, 112)[0, 0] == 112 - FACE[16, 0]


def test_five_points_by_hand():
    five = lm.five_points(np.stack([FACE, FACE + 1]))
    expected = [FACE[36:42].mean(0), FACE[42:48].mean(0), FACE[30], FACE[48], FACE[54]]
    np.testing.assert_allclose(five, [expected, np.add(expected, 1)])


def rotated(points: np.ndarray) -> np.ndarray:
    """Turn points by 0.4, enlarge them by 1.7 and move them."""
    rotation = np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
    return 1.7 * points @ rotation.T + [3.0, -5.0]


@pytest.mark.parametrize("count", [2, 5, 68])
def test_similarity_recovers_rotation_scale_and_shift(count):
    matrix = lm.similarity(FACE[:count], rotated(FACE[:count]))
    assert matrix.shape == (2, 3)
    np.testing.assert_allclose(lm.apply_similarity(matrix, FACE), rotated(FACE), atol=1e-9)
    batch = lm.apply_similarity(np.stack([matrix, 2 * matrix]), np.stack([FACE, FACE]))
    np.testing.assert_allclose(batch, [rotated(FACE), 2 * rotated(FACE)], atol=1e-9)


def test_similarity_is_the_least_squares_optimum():
    source, target = RNG.normal(size=(5, 2)), RNG.normal(size=(5, 2))
    # The same problem as an explicit linear system in (a, b, tx, ty).
    rows = np.concatenate(
        [
            np.stack([source[:, 0], -source[:, 1], np.ones(5), np.zeros(5)], axis=1),
            np.stack([source[:, 1], source[:, 0], np.zeros(5), np.ones(5)], axis=1),
        ]
    )
    a, b, tx, ty = np.linalg.lstsq(rows, target.T.reshape(-1), rcond=None)[0]
    expected = [[a, -b, tx], [b, a, ty]]
    np.testing.assert_allclose(lm.similarity(source, target), expected, atol=1e-12)


def test_similarity_refuses_what_it_cannot_solve():
    with pytest.raises(UserError, match="coincide"):
        lm.similarity(np.ones((5, 2)), FACE[:5])
    with pytest.raises(ValueError):
        lm.similarity(FACE[:4], FACE[:5])


def test_alignment_takes_a_moved_face_back():
    five = rotated(lm.ARCFACE_TEMPLATE)
    back = lm.apply_similarity(lm.five_point_alignment(five), five)
    np.testing.assert_allclose(back, lm.ARCFACE_TEMPLATE, atol=1e-9)
    frontal = np.load(ASSETS / "frontal68.npy").astype(np.float64)
    every = lm.apply_similarity(lm.alignment(rotated(frontal), "all"), rotated(frontal))
    np.testing.assert_allclose(every, frontal, atol=1e-6)
    by_five = lm.alignment(rotated(FACE))
    np.testing.assert_allclose(by_five, lm.five_point_alignment(lm.five_points(rotated(FACE))))
    with pytest.raises(UserError, match="five or all"):
        lm.alignment(FACE, "six")


def test_five_points_may_miss_some_but_not_all():
    five = rotated(lm.ARCFACE_TEMPLATE)
    unknown = np.where(np.arange(5)[:, None] < 3, five, np.nan)
    moved = lm.apply_similarity(lm.five_point_alignment(unknown), five)
    assert np.allclose(moved, lm.ARCFACE_TEMPLATE)
    with pytest.raises(UserError, match="two of the five points, 1 are known"):
        lm.five_point_alignment(np.where(np.arange(5)[:, None] < 1, five, np.nan))


def test_importing_landmarks_loads_neither_torch_nor_scikit_image():
    code = "import sys, ifr.landmarks; print('torch' in sys.modules, 'skimage' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_check_landmarks_accepts_what_it_should():
    assert lm.check_landmarks(FACE.astype(np.float32)).dtype == np.float64
    assert lm.check_landmarks(torch.zeros(2, 68, 2) + 5, size=96).shape == (2, 68, 2)
    assert lm.check_landmarks(np.zeros((0, 68, 2)), size=96).shape == (0, 68, 2)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (np.zeros((5, 2)), ValueError, r"\(\.\.\., 68, 2\)"),
        (np.zeros((2, 76, 2)), ValueError, r"got \(2, 76, 2\)"),
        (np.zeros((68, 3)), ValueError, "68, 2"),
        (np.where(np.arange(2) == 1, np.nan, FACE), ValueError, "NaN"),
        (np.full((68, 2), "a"), TypeError, "real numbers"),
        (FACE + 200, ValueError, "frame of the image"),
    ],
)
def test_check_landmarks_names_what_is_wrong(value, error, message):
    with pytest.raises(error, match=message):
        lm.check_landmarks(value, "probe landmarks", size=112)


FIVE = np.array(lm.ARCFACE_TEMPLATE)


def turned(points: np.ndarray, degrees: float) -> np.ndarray:
    """Turn points clockwise, as they are seen in an image."""
    angle = np.radians(degrees)
    return points @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


@pytest.mark.parametrize("degrees", [0, 30, 90, 180, -90])
def test_misfit_is_blind_to_place_and_size_and_tells_the_roll(degrees):
    distance, roll = lm.misfit(3 * turned(FIVE, degrees) + [500, -70])
    assert distance < 0.1
    assert abs((roll - degrees + 180) % 360 - 180) < 3


def test_misfit_accepts_a_profile_and_refuses_swapped_sides():
    # Eyes, nose and mouth corners of the mean head from its side, which both eyes share.
    profile = np.array([[-2.6, -9.8], [-2.6, -9.8], [5.6, 0.9], [-0.2, 9.4], [-0.2, 9.4]])
    assert lm.misfit(profile)[0] < 0.1 and lm.misfit(profile * [-1, 1])[0] < 0.1
    for order in ([1, 0, 2, 4, 3], [1, 0, 2, 3, 4], [0, 1, 2, 4, 3], [3, 4, 2, 0, 1]):
        distance, roll = lm.misfit(FIVE[order])
        assert distance > 0.4 or abs(roll) > 120
    assert lm.misfit(FIVE[:, ::-1])[0] > 0.4


@pytest.mark.parametrize("direction", [[1, 0], [0, 1], [1, 1], [3, -2]])
def test_points_on_a_line_are_no_face(direction):
    for place in ([0, 1, 2, 3, 4], [0, 0, 1, 2, 2], [0, 8, 4, 2, 6]):
        assert lm.misfit(np.outer(place, direction))[0] == 1
    assert lm.misfit(np.ones((5, 2)))[0] == 1


def test_unknown_points_do_not_count_in_misfit():
    three = np.where(np.arange(5)[:, None] < 3, FIVE, np.nan)
    assert lm.misfit(three)[0] < 0.1 and abs(lm.misfit(three)[1]) < 5
    two = np.where(np.arange(5)[:, None] < 2, turned(FIVE, 20), np.nan)
    assert lm.misfit(two)[0] < 1e-6 and lm.misfit(two)[1] == pytest.approx(20, abs=1)
    assert abs(lm.misfit(three[[1, 0, 2, 3, 4]])[1]) > 45
