"""Rival maps and measures of faithfulness: what each sums to, finds and counts."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ifr.datasets import FaceSet
from ifr.interpretation import FACE_PARTS, explain_pair, sums_by_part
from ifr.interpretation import faithfulness as measures
from ifr.interpretation.faithfulness import Probes
from ifr.landmarks import FACE_SIZE
from ifr.mesh import FaceMesh
from ifr.models import InterpretableFaceNet, build_model
from ifr.models.inputs import center_crop

rng = np.random.default_rng(12)
COUNT, SIZE = 3, 48


def faces(count: int = COUNT) -> FaceSet:
    images = rng.integers(0, 256, (count, FACE_SIZE, FACE_SIZE, 3), dtype=np.uint8)
    landmarks = np.stack([FaceMesh.frontal().landmarks] * count)
    return FaceSet("test", images, np.arange(count), landmarks)


def network(rate: float = 0.0) -> InterpretableFaceNet:
    torch.manual_seed(5)
    model = build_model(num_filters=6, width=0.125, rate=rate).double().eval()
    inputs = center_crop(faces(8).images, SIZE).double()
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0  # the statistics of this batch, as after training
    model.train()(inputs)
    model.eval()
    return model


@pytest.fixture(scope="module")
def probes() -> Probes:
    return Probes.of(network(), faces(), faces(), size=SIZE)


class Spot(torch.nn.Module):
    """A network that answers to the brightness of one square, by its second filter."""

    num_filters, extractor = 2, frozenset()

    def __init__(self) -> None:
        super().__init__()
        self.filters = torch.nn.Parameter(torch.zeros(2, 1, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        bright = images.mean(dim=1) + 1
        inside = torch.zeros_like(bright)
        inside[:, 12:20, 24:32] = 1  # rows 12 to 19, columns 24 to 31
        return F.avg_pool2d(torch.stack([torch.ones_like(bright), 90 * bright * inside], dim=1), 4)


@pytest.fixture(scope="module")
def spot() -> Probes:
    """Faces whose score rests on one square alone."""
    model = InterpretableFaceNet(Spot(), rate=0.0).double().eval()
    bright = faces()
    bright.images[:] = 200
    return Probes.of(model, bright, bright, size=SIZE)


def test_the_exact_map_is_that_of_the_explained_pair() -> None:
    one, other, model = faces(1), faces(1), network(0.8)
    found = measures.exact(Probes.of(model, one, other, size=SIZE))
    np.testing.assert_allclose(found, explain_pair(model, one, other, size=SIZE).maps[:1])


def test_integrated_gradients_sum_to_the_score_less_the_grey_pictures(probes) -> None:
    with torch.no_grad():
        whole = probes.scores() - probes.scores(torch.zeros_like(probes.images))
    found = measures.integrated_gradients(probes, steps=100).sum(dim=(1, 2))
    torch.testing.assert_close(found, whole, atol=2e-3, rtol=0)
    assert whole.abs().min() > 0.02
    rough = measures.integrated_gradients(probes, steps=4).sum(dim=(1, 2))
    assert (rough - whole).abs().max() > (found - whole).abs().max()


def test_gradient_times_input_is_the_derivative_along_the_input(probes) -> None:
    step = 1e-5
    with torch.no_grad():
        slope = (probes.scores(probes.images * (1 + step)) - probes.scores()) / step
    found = measures.gradient_times_input(probes).sum(dim=(1, 2))
    torch.testing.assert_close(found, slope, atol=1e-4, rtol=0)


def test_grad_cam_of_a_cosine_is_what_the_exact_map_has_beyond_the_face_itself() -> None:
    model, pair = network(0.8), faces()
    probes = Probes.of(model, pair, faces(), size=SIZE)
    found = measures.grad_cam(probes, relu=False)
    itself = measures.exact(Probes.of(model, pair, pair, size=SIZE))
    with torch.no_grad():
        expected = measures.exact(probes) - probes.scores()[:, None, None] * itself
    torch.testing.assert_close(found, expected)
    assert found.sum(dim=(1, 2)).abs().max() < 1e-12
    assert torch.equal(measures.grad_cam(probes), found.relu())


def test_xssab_takes_arguments_for_a_match_apart_from_those_against(probes) -> None:
    low, high = (measures.xssab(probes, threshold=far) for far in (-9.0, 9.0))  # all for, none for
    assert (low >= 0).all() and low.sum() > 0
    torch.testing.assert_close(low, -high)
    # With a match as its own feature every argument is for it: nothing is against.
    itself = Probes(probes.model, probes.images, probes.model.features(probes.images).detach(),
                    probes.labels)  # fmt: skip
    assert (measures.xssab(itself, threshold=0.0) >= 0).all()


def test_rise_finds_the_square_that_counts_and_repeats(spot) -> None:
    found = measures.rise(spot, masks=150, seed=1)
    inside = found[:, 14:18, 26:30].mean(dim=(1, 2))
    assert (inside > found.mean(dim=(1, 2)) + 2 * found.std(dim=(1, 2))).all()
    assert torch.equal(found, measures.rise(spot, masks=150, seed=1))
    assert not torch.equal(found, measures.rise(spot, masks=150, seed=2))


def test_all_maps_come_by_name() -> None:
    found = measures.rival_maps(Probes.of(network(), faces(1), faces(1), size=SIZE), seed=4)
    assert list(found) == ["exact", "Grad-CAM", "gradient × input", "integrated gradients",
                           "xSSAB", "RISE", "random"]  # fmt: skip
    for maps in found.values():
        assert maps.shape[0] == 1 and maps.ndim == 3 and maps.dtype == np.float64


def test_the_named_place_is_the_square_with_most() -> None:
    maps = np.zeros((2, 12, 12))
    maps[0, 3, 7], maps[1, 10, 0] = 5, 1
    maps[:, 6, 6] = -9
    places = measures.named_places(maps, SIZE, side=4)
    assert places.tolist() == [[28, 12], [0, 40]]


def test_covering_the_place_that_counts_costs_more_than_a_random_one(spot) -> None:
    maps = measures.exact(spot).numpy() * 1.0
    maps[:, :3] = 0
    other = np.zeros_like(maps)
    other[:, 0, 0] = 1
    falls = measures.place_falls(spot, {"right": maps, "wrong": other}, side=8, draws=40, seed=3)
    assert list(falls) == ["right", "wrong", measures.RANDOM_PLACE]
    assert (falls["right"] > 0.1).all()
    np.testing.assert_allclose(falls["wrong"], 0, atol=1e-12)
    assert (falls["right"] > 3 * falls[measures.RANDOM_PLACE]).all()
    again = measures.place_falls(spot, {}, side=8, draws=40, seed=3)
    np.testing.assert_array_equal(again[measures.RANDOM_PLACE], falls[measures.RANDOM_PLACE])


def test_removal_and_insertion_run_between_the_whole_and_the_plain_picture(spot) -> None:
    maps = np.zeros((COUNT, 12, 12))
    maps[:, 3:5, 6:8] = 1  # the square that counts, a 36th of the picture
    removed = measures.removal_curve(spot, maps, steps=36, fill="black")
    restored = measures.removal_curve(spot, maps, steps=36, fill="black", insert=True)
    assert removed.shape == (COUNT, 37)
    whole = spot.scores().detach().numpy()
    np.testing.assert_allclose(removed[:, 0], whole)
    np.testing.assert_allclose(restored[:, -1], whole)
    assert (removed[:, 1:] < whole[:, None] - 0.1).all(), "all is lost with the first step"
    np.testing.assert_allclose(removed[:, 1:], restored[:, :1].repeat(36, axis=1))
    np.testing.assert_allclose(restored[:, 1:], whole[:, None].repeat(36, axis=1))


def test_falls_of_parts_are_those_of_the_explained_pair() -> None:
    one, other, model = faces(2), faces(2), network(0.8)
    probes = Probes.of(model, one, other, size=SIZE)
    falls = measures.part_falls(probes, fill="grey")
    for row in range(2):
        found = explain_pair(model, one[[row]], other[[row]], size=SIZE, fill="grey")
        np.testing.assert_allclose(falls[row], found.score - found.without[0], atol=1e-12)
        claims = sums_by_part(found.maps[:1], probes.labels[[row]].numpy())
        assert claims.shape == (1, len(FACE_PARTS) + 1)


def test_single_deletion_correlates_ranks_of_each_pair() -> None:
    falls = np.array([[1.0, 2, 3], [1, 2, 3], [0, 0, 0]])
    claims = np.array([[0.1, 0.2, 9], [3, 2, 1], [1, 2, 3]])
    found = measures.single_deletion(falls, claims)
    assert found[:2].tolist() == pytest.approx([1, -1]) and np.isnan(found[2])


def test_claimed_parts_and_those_that_distract() -> None:
    claims = np.array([[0.5, 0.04, 0.46, -3.0], [-1.0, -1, -1, -1]])
    claimed = measures.claimed_parts(claims)
    assert claimed.tolist() == [[True, False, True, False], [False] * 4]
    falls = np.array([[0.2, 0.0, -0.01, 0.0], [1.0] * 4])
    found = measures.distractibility(claimed, falls, np.array([0.8, 0.5]))
    assert found[0] == 0.5 and np.isnan(found[1])


def test_keeping_all_parts_changes_nothing_and_removing_none_neither(probes) -> None:
    every, whole = np.ones((COUNT, len(FACE_PARTS)), bool), probes.scores().detach().numpy()
    kept, removed = measures.kept_and_removed(probes, every, "grey")
    np.testing.assert_allclose(kept, whole)
    without, all_there = measures.kept_and_removed(probes, ~every, "grey")
    np.testing.assert_allclose(all_there, whole)
    np.testing.assert_allclose(without, removed)
    one = every & (np.arange(len(FACE_PARTS)) == 1)
    falls = measures.part_falls(probes, "grey")
    np.testing.assert_allclose(
        measures.kept_and_removed(probes, one, "grey")[1], whole - falls[:, 1]
    )
