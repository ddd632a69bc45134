"""Faces rendered in pairs, and the mean of plain frontal faces."""

import numpy as np

from ifr.common.paths import ASSETS
from ifr.datasets.paired import mean_frontal_landmarks, render_occluded_pairs
from ifr.landmarks import CROP_OFFSET, CROP_SIZE, mirror


def test_mean_frontal_landmarks_are_symmetric():
    few = mean_frontal_landmarks(3)
    assert few.shape == (68, 2) and few.dtype == np.float32
    np.testing.assert_allclose(mirror(few, 112), few, atol=1e-3)


def test_packaged_template_is_what_the_function_computes():
    template = np.load(ASSETS / "frontal68.npy")
    assert template.shape == (68, 2) and template.dtype == np.float32
    np.testing.assert_allclose(mirror(template, 112), template, atol=1e-3)
    np.testing.assert_allclose(mean_frontal_landmarks(), template, atol=1e-2)


def test_pairs_differ_only_where_the_occluder_or_its_shadow_is():
    pairs = render_occluded_pairs(np.array([30_000_000]), "scarf")
    crop = slice(CROP_OFFSET, CROP_OFFSET + CROP_SIZE)
    clean, occluded = (x.images[0, crop, crop].astype(int) for x in (pairs.clean, pairs.occluded))
    changed = np.abs(clean - occluded).max(axis=-1)
    assert pairs.masks[0].mean() > 0.1
    assert changed[pairs.masks[0]].mean() > 20
    assert changed[:30].max() < 30, "the brow of a face with a scarf should stay as it was"
    assert np.array_equal(pairs.clean.landmarks, pairs.occluded.landmarks)
