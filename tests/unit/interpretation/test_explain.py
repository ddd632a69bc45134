"""Explained pairs: sums that are complete, parts by the mesh, parts really removed, words."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ifr import interpretation as it
from ifr.common.errors import UserError
from ifr.datasets import FaceSet
from ifr.datasets.index import Templates
from ifr.evaluation.templates import pooled_templates
from ifr.interpretation.face_parts import REGIONS, covered
from ifr.landmarks import CROP_OFFSET, CROP_SIZE, FACE_SIZE, apply_similarity
from ifr.mesh import FaceMesh
from ifr.models import InterpretableFaceNet, IResNet50, build_model
from ifr.models.inputs import center_crop
from ifr.profiles import VARIANTS

rng = np.random.default_rng(11)
FRONTAL = FaceMesh.frontal().landmarks
RATES = sorted({variant.lmf_rate for variant in VARIANTS.values()})


def faces(count: int, turned: float = 0.0) -> FaceSet:
    images = rng.integers(0, 256, (count, FACE_SIZE, FACE_SIZE, 3), dtype=np.uint8)
    middle = np.array([FACE_SIZE / 2, 0])
    landmarks = (FRONTAL - middle) * [1 - turned, 1] + middle + rng.normal(0, 0.5, (count, 68, 2))
    return FaceSet("test", images, np.arange(count), landmarks.astype(np.float32))


class Colours(torch.nn.Module):
    """A backbone whose response maps are the image, lightened, in cells of four pixels."""

    num_filters, extractor = 3, frozenset()

    def __init__(self) -> None:
        super().__init__()
        self.filters = torch.nn.Parameter(torch.zeros(3, 1, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(images + 1, 4)


def network(rate: float = 0.0, backbone: str = "casianet", **fields) -> InterpretableFaceNet:
    torch.manual_seed(3)
    options = dict(num_filters=6, width=0.125 if backbone == "casianet" else 1.0) | fields
    return build_model(backbone=backbone, rate=rate, **options).double().eval()


def colours(rate: float = 0.0) -> InterpretableFaceNet:
    return InterpretableFaceNet(Colours(), rate=rate).double().eval()


def assert_complete(found: it.PairExplanation, score: float) -> None:
    assert found.score == pytest.approx(score, abs=1e-12)
    assert found.by_filter.sum() == pytest.approx(score, abs=1e-12)
    assert found.maps[0].sum() == pytest.approx(score, abs=1e-12)
    assert found.maps[1:].sum() == pytest.approx(score, abs=1e-12)
    whole = found.by_part.sum(axis=1) + found.remainder
    np.testing.assert_allclose(whole, score, atol=1e-12)
    assert sum(found.parts().values()) == pytest.approx(score, abs=1e-12)


@pytest.mark.parametrize(
    ("backbone", "rate", "size"),
    [("casianet", rate, 48) for rate in RATES]
    + [("casianet", 0.5, 96), ("iresnet50", 0.9, 112), ("torchvision/resnet18", 0.75, 96)],
)
def test_the_sums_are_complete_for_every_variant_and_backbone(backbone, rate, size) -> None:
    model, pair = network(rate, backbone), faces(2)
    found = it.explain_pair(model, pair[[0]], pair[[1]], size=size)
    with torch.no_grad():
        one, other = model.features(center_crop(pair.images, size).double())
    assert_complete(found, float(F.cosine_similarity(one, other, dim=0)))
    assert list(found.parts()) == list(REGIONS)


def test_single_precision_agrees_with_the_networks_own_cosine() -> None:
    model, pair = network(0.9).float(), faces(2)
    found = it.explain_pair(model, pair[[0]], pair[[1]], size=48)
    with torch.no_grad():
        one, other = model.features(center_crop(pair.images, 48))
    assert found.score == pytest.approx(float(F.cosine_similarity(one, other, dim=0)), abs=1e-5)
    assert found.maps[0].sum() == pytest.approx(found.score, abs=1e-12)


def test_a_place_contributes_what_the_plain_sum_says() -> None:
    response, other = rng.normal(size=(1, 2, 2, 3)), rng.normal(size=(1, 2))
    feature = response[0].mean(axis=(1, 2))
    lengths = np.linalg.norm(feature) * np.linalg.norm(other)
    maps = it.score_maps(torch.tensor(response), torch.tensor(other)).numpy()
    for y in range(2):
        for x in range(3):
            share = sum(response[0, k, y, x] * other[0, k] for k in range(2)) / (6 * lengths)
            assert maps[0, y, x] == pytest.approx(share)


def test_the_scale_before_the_classifier_changes_nothing() -> None:
    pair = faces(2)
    found = [it.explain_pair(network(0.5, feature_scale=scale), pair[[0]], pair[[1]], size=48)
             for scale in (1.0, 4.0)]  # fmt: skip
    np.testing.assert_array_equal(found[0].maps, found[1].maps)


@pytest.mark.parametrize("weights", [None, np.array([1.0, 0.5, 0.5])])
def test_a_template_is_explained_as_it_is_scored(weights) -> None:
    """By default faces count alike; the weights are those of two media, the second of two faces."""
    model, probe, gallery = network(0.5), faces(1), faces(3)
    with torch.no_grad():
        inputs = center_crop(np.concatenate([probe.images, gallery.images]), 48).double()
        features = model.features(inputs).numpy()
    given = (
        features / np.linalg.norm(features, axis=1, keepdims=True) if weights is None else features
    )
    ids, media = np.array([1, 2]), np.array([0, 0, 1, 1]) if weights is not None else np.arange(4)
    templates = Templates(ids, ids, np.arange(4), media, np.array([0, 1, 4]), np.zeros(4, bool))
    pooled = pooled_templates(given, templates)
    found = it.explain_pair(model, probe, gallery, size=48, weights=weights)
    assert found.maps.shape == (4, 12, 12)
    assert_complete(found, float(pooled[0] @ pooled[1]))


def test_a_silent_face_scores_nothing() -> None:
    model, pair = colours(), faces(2)
    pair.images[0] = 0
    found = it.explain_pair(model, pair[[0]], pair[[1]], size=48, fill="black")
    assert_complete(found, 0.0)
    assert np.isfinite(found.without).all()


def test_what_cannot_be_explained_is_refused() -> None:
    pair = faces(2)
    with pytest.raises(UserError, match=r"is a IResNet50.*mean of response maps"):
        it.explain_pair(IResNet50(embedding_layers=True), pair[[0]], pair[[1]], size=112)
    with pytest.raises(UserError, match="training mode"):
        it.explain_pair(network().train(), pair[[0]], pair[[1]], size=48)
    with pytest.raises(UserError, match="one face with at least one, got 2 and 1"):
        it.explain_pair(network(), pair, pair[[1]], size=48)
    with pytest.raises(UserError, match=r"weights must be one for each of 1, \(2,\)"):
        it.explain_pair(network(), pair[[0]], pair[[1]], size=48, weights=np.ones(2))
    bare = FaceSet("bare", pair.images, pair.identity, None)
    with pytest.raises(UserError, match="bare has no landmarks"):
        it.explain_pair(network(), bare[[0]], bare[[1]], size=48)


@pytest.mark.parametrize("size", [96, 112])
def test_maps_are_lifted_to_pixels_of_crop_and_photograph(size) -> None:
    pair = faces(2)
    found = it.explain_pair(colours(), pair[[0]], pair[[1]], size=size)
    crop, edge = found.crop(), (FACE_SIZE - size) // 2
    np.testing.assert_allclose(crop.sum(axis=(1, 2)), found.score, atol=1e-12)
    assert crop[0, 0, 0] == pytest.approx(found.maps[0, 0, 0] / 16)
    aligned = found.photograph(1, np.eye(2, 3), (FACE_SIZE, FACE_SIZE))
    inside = aligned[edge : edge + size, edge : edge + size]
    np.testing.assert_allclose(inside, crop[1])
    assert np.abs(aligned).sum() == pytest.approx(np.abs(inside).sum())
    # The photograph is twice as large, and its face lies 20 pixels to the right.
    twice = found.photograph(0, np.array([[0.5, 0, -10], [0, 0.5, 0]]), (230, 250))
    assert twice.sum() == pytest.approx(found.score)
    assert twice[2 * edge, 20 + 2 * edge] == pytest.approx(crop[0, 0, 0] / 4)


def test_from_the_front_a_frontal_face_looks_as_it_is_and_a_turned_one_hides_some() -> None:
    pair = faces(2)
    pair.landmarks[0] = FRONTAL
    found = it.explain_pair(colours(), pair[[0]], pair[[1]], size=96)
    front = found.frontal()
    assert front.shape == (2, CROP_SIZE, CROP_SIZE)
    np.testing.assert_allclose(front[0], found.crop()[0], atol=1e-12)
    same = it.frontal_face(pair.images[0], FRONTAL)
    cut = slice(CROP_OFFSET, CROP_OFFSET + CROP_SIZE)
    assert np.abs(same.astype(int) - pair.images[0][cut, cut]).max() <= 1
    away = FRONTAL.copy()
    away[27:36, 0] += 25  # the nose stands before the cheek
    pair.landmarks[0] = away
    assert np.isnan(it.explain_pair(colours(), pair[[0]], pair[[1]], size=96).frontal()[0]).any()
    assert (it.frontal_face(np.zeros_like(pair.images[0]), away) == 255).any()


def test_parts_are_found_where_the_landmarks_are() -> None:
    moved = apply_similarity(np.array([[0.8, 0.1, 5.0], [-0.1, 0.8, 15.0]]), FRONTAL)
    for points in (FRONTAL, moved):
        (labels,) = it.part_labels(points[None], frame=FACE_SIZE)
        named = {"eyes": (37, 41, 19, 24, 44), "nose": (28, 30, 33), "mouth": (48, 51, 62)}
        for part, landmarks in named.items():
            x, y = np.floor(points[list(landmarks)]).astype(int).T
            assert {REGIONS[label] for label in labels[y, x]} == {part}
        between = (points[21] + points[22]) / 2
        x, y = np.floor(between + (between - points[28]) * 0.35).astype(int)
        assert REGIONS[labels[y, x]] == "forehead"
        assert REGIONS[labels[0, 0]] == it.OFF_FACE
    coarse = it.part_labels(moved[None], frame=CROP_SIZE, side=24)
    assert coarse.shape == (1, 24, 24) and set(np.unique(coarse)) <= set(range(len(REGIONS)))


def test_a_cell_of_two_parts_is_shared_out_by_area() -> None:
    labels = np.zeros((1, 4, 4), np.int8)
    labels[0, :, 1:] = 2  # of the two cells in a row the left one is half of each
    sums = it.sums_by_part(np.array([[[1.0, 3.0], [5.0, -7.0]]]), labels)
    assert sums[0, [0, 2]].tolist() == pytest.approx([3.0, 3 - 4.0])
    assert not sums[0, [1, *range(3, len(REGIONS))]].any()


def test_a_removed_part_is_filled_and_nothing_else_moves() -> None:
    images = torch.as_tensor(rng.uniform(-1, 1, (2, 3, 48, 48)))
    labels = torch.as_tensor(it.part_labels(np.stack([FRONTAL] * 2), side=48))
    hidden = labels == REGIONS.index("cheeks")
    skin = (labels == REGIONS.index("forehead")) | (labels == REGIONS.index("chin"))
    for fill in ("skin", "grey", "black", "blurred"):
        twins = covered(images, hidden, fill, labels)
        assert torch.equal(twins[~hidden[:, None].expand_as(images)],
                           images[~hidden[:, None].expand_as(images)])  # fmt: skip
        if fill != "blurred":
            mean = images[1, :, skin[1]].mean(dim=1)
            value = {"skin": mean, "grey": torch.zeros(3), "black": -torch.ones(3)}[fill]
            inside = twins[1, :, hidden[1]]
            torch.testing.assert_close(inside, value[:, None].expand_as(inside).to(inside))
    with pytest.raises(UserError, match="fill must be one of skin, grey"):
        covered(images, hidden, "pink", labels)
    bare = covered(images, torch.ones_like(hidden), "skin", labels)
    assert not bare.any(), "without any skin left the fill is grey"


@pytest.mark.parametrize("many", [1, 2])
def test_the_score_without_a_part_is_measured_on_the_changed_picture(many) -> None:
    probe, gallery = faces(1), faces(many)
    model = colours()
    found = it.explain_pair(model, probe, gallery, size=48, fill="grey")
    part = it.FACE_PARTS.index("nose")

    def feature(face: FaceSet, without: bool) -> np.ndarray:
        image = center_crop(face.images, 48)[0].double().numpy()
        nose = it.part_labels(face.landmarks, side=48)[0] == part
        image = np.where(nose & without, 0.0, image)
        mean = image.mean(axis=(1, 2)) + 1
        return mean / np.linalg.norm(mean)

    for side in (0, 1):
        one = feature(probe, side == 0)
        template = sum(feature(gallery[[k]], side == 1) for k in range(many))
        expected = one @ template / np.linalg.norm(template)
        if many == 1 or side == 0:  # a covered face of a template keeps the weight of the bare one
            assert found.without[side, part] == pytest.approx(expected)
    assert it.explain_pair(model, probe, gallery, size=48).without is None


def test_a_threshold_lets_no_more_pass_than_it_says() -> None:
    scores = np.array([0.9, 0.5, 0.5, 0.3, 0.2, 0.1, 0.0, -0.1, -0.2, -0.3])
    threshold = it.Threshold.of(scores, 0.2, "a set")  # two may pass, but the second is tied
    assert threshold.pairs == 10 and threshold.source == "a set"
    assert 0.5 < threshold.value < 0.5 + 1e-9 and (scores >= threshold.value).sum() == 1
    assert (scores >= it.Threshold.of(scores, 0.3).value).sum() == 3
    with pytest.raises(UserError, match=r"FAR 0.01 needs at least 100 pairs of two people, got 10"):
        it.Threshold.of(scores, 0.01)
    for far in (0.0, 1.0, np.nan):
        with pytest.raises(UserError, match="far must lie between 0 and 1"):
            it.Threshold.of(scores, far)


def explanation(score: float, without: list | None) -> it.PairExplanation:
    parts = np.array([[0.3, 0.1, 0, 0, 0, 0], [0.2, 0.1, 0, 0, 0, 0]])
    rest = score - parts.sum(axis=1)
    zeros = np.zeros((2, 68, 2))
    gone = None if without is None else np.array(without)
    return it.PairExplanation(score, np.zeros(2), np.zeros((2, 2, 2)), parts, rest, gone, zeros, 96)


def test_the_sentence_tells_numbers_decision_and_what_turns_it() -> None:
    threshold = it.Threshold(0.31, 0.01, 4950)
    keep = [0.6] * 4
    words = it.in_words(explanation(0.62, [[0.2, 0.5, *keep], [0.25, 0.1, *keep]]), threshold)
    assert words.startswith("Same person, score 0.62 (threshold 0.31, which 1 % of 4,950 pairs of")
    assert "Eyes +0.25, nose +0.10, mouth +0.00" in words and "off the face +0.27." in words
    assert "Without either face's eyes (0.20, 0.25): different people." in words
    assert words.endswith("Without one face's nose (0.50, 0.10): different people.")
    words = it.in_words(explanation(0.2, [[0.1] * 6] * 2), threshold)
    assert words.startswith("Different people") and words.endswith("the decision stays.")
    assert it.in_words(explanation(0.2, None)).startswith("Score 0.20. Eyes +0.25")
    assert it.in_words(explanation(0.5, None), threshold).endswith("off the face +0.15.")
