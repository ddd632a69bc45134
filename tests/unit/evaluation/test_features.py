"""Features of a set: the crop, the mirrored face, warped rectangles, batches."""

import numpy as np
import pytest
import torch
from torch import nn

from ifr.common.errors import UserError
from ifr.common.seeding import stream
from ifr.datasets import FaceSet
from ifr.evaluation import random_rectangles, set_features
from ifr.evaluation.features import NetworkEmbedding
from ifr.landmarks import CROP_OFFSET, CROP_SIZE
from ifr.models import build_model
from ifr.models.inputs import center_crop
from ifr.occlusion import draw_rectangle


@pytest.fixture(scope="module")
def faces(smoke_sets):
    return smoke_sets["templates"][:12]


class Quarters(nn.Module):
    """Means of the four quarters of each channel: a feature that feels mirroring and occlusion."""

    def __init__(self):
        super().__init__()
        self.one = nn.Parameter(torch.ones(()))

    def forward(self, images):
        return nn.functional.adaptive_avg_pool2d(images * self.one, 2).flatten(1)


NETWORK = NetworkEmbedding("quarters", CROP_SIZE, Quarters().eval())


def quarters(images):
    """The same in NumPy, of stored faces."""
    crop = slice(CROP_OFFSET, CROP_OFFSET + CROP_SIZE)
    values = np.asarray(images)[:, crop, crop].astype(np.float64) / 127.5 - 1
    halves = values.reshape(len(values), 2, CROP_SIZE // 2, 2, CROP_SIZE // 2, 3).mean(axis=(2, 4))
    return halves.transpose(0, 3, 1, 2).reshape(len(values), -1)


def test_the_centre_crop_is_taken_and_the_mirrored_face_added(faces):
    plain = set_features(NETWORK, faces, batch=5)
    assert plain.dtype == np.float32 and np.allclose(plain, quarters(faces.images), atol=1e-5)
    mirrored = quarters(np.asarray(faces.images)[:, :, ::-1])
    assert np.allclose(set_features(NETWORK, faces, mirror=True), plain + mirrored, atol=1e-5)


def test_rectangles_darken_and_repeat_for_a_seed_whatever_the_batch(faces):
    plain, rectangles = set_features(NETWORK, faces), random_rectangles(12, 0)
    one = set_features(NETWORK, faces, rectangles=rectangles, batch=5)
    assert np.allclose(one, set_features(NETWORK, faces, rectangles=rectangles), atol=1e-6)
    assert (one <= plain + 1e-5).all() and (one.sum(axis=1) < plain.sum(axis=1) - 0.01).all()
    assert not np.allclose(one, set_features(NETWORK, faces, rectangles=random_rectangles(12, 1)))


def test_one_rectangle_for_all_equals_one_each(faces):
    box = (30, 55, 32, 12)
    alike = set_features(NETWORK, faces, rectangles=box, batch=5)
    assert np.array_equal(alike, set_features(NETWORK, faces, rectangles=np.tile(box, (12, 1))))


@pytest.mark.parametrize("kind", ["BlaS", "GauD"])
def test_the_random_rectangles_are_those_of_the_named_stream(kind):
    rng = stream(3, f"test/rectangles/{kind}")
    expected = [draw_rectangle(rng, kind=kind) for _ in range(4)]
    assert random_rectangles(4, 3, kind).tolist() == [list(one) for one in expected]
    assert np.array_equal(random_rectangles(2, 3, kind), random_rectangles(4, 3, kind)[:2])


def test_occlusion_without_landmarks_is_refused(faces):
    bare = FaceSet("bare", faces.images, faces.identity, None)
    with pytest.raises(UserError, match="'bare' has no landmarks to warp an occlusion by"):
        set_features(NETWORK, bare, rectangles=random_rectangles(12, 0))


def test_a_network_of_ours_gives_its_features_and_none_in_training_mode(faces):
    model = build_model(num_filters=8, width=0.125, num_classes=3).eval()
    features = set_features(NetworkEmbedding("ours", 48, model), faces, batch=5)
    with torch.no_grad():
        expected = model(center_crop(faces.images, 48)).numpy()
    assert features.shape == (12, 8) and np.allclose(features, expected, atol=1e-5)
    with pytest.raises(ValueError, match="training mode"):
        set_features(NetworkEmbedding("ours", 48, model.train()), faces)
