"""Faces rendered in pairs, and the template that is the mean of plain frontal ones."""

import numpy as np

from ifr.common.paths import ASSETS
from ifr.datasets.rendered import CLOSED_SHOT, STUDIO, TRAINING, render_occluded_pairs
from ifr.faces import build_identity, draw_shot, render
from ifr.landmarks import CROP_OFFSET, CROP_SIZE, mirror


def plain_frontal(count):
    """Render the plain frontal faces of the first people of the training set."""
    for seed in range(TRAINING, TRAINING + count):
        shot = draw_shot(seed, CLOSED_SHOT - 1, yaw=0.0, plain=True, **STUDIO)
        yield render(build_identity(seed), shot)


def test_packaged_template_is_the_mean_of_frontal_faces_made_symmetric():
    template = np.load(ASSETS / "frontal68.npy")
    assert template.shape == (68, 2) and template.dtype == np.float32
    np.testing.assert_allclose(mirror(template, 112), template, atol=1e-3)
    mean = np.mean([face.landmarks for face in plain_frontal(200)], axis=0)
    np.testing.assert_allclose((mean + mirror(mean, 112)) / 2, template, atol=1e-2)


def test_pairs_differ_only_where_the_occluder_or_its_shadow_is():
    pairs = render_occluded_pairs(np.array([30_000_000]), "scarf")
    crop = slice(CROP_OFFSET, CROP_OFFSET + CROP_SIZE)
    clean, occluded = (x.images[0, crop, crop].astype(int) for x in (pairs.clean, pairs.occluded))
    changed = np.abs(clean - occluded).max(axis=-1)
    assert pairs.masks[0].mean() > 0.1
    assert changed[pairs.masks[0]].mean() > 20
    assert changed[:30].max() < 30, "the brow of a face with a scarf should stay as it was"
    assert np.array_equal(pairs.clean.landmarks, pairs.occluded.landmarks)
