"""The same shot with one thing changed: what changes, what stays, and who names it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ifr.datasets import FaceSet
from ifr.datasets.rendered import render_occluded_pairs
from ifr.datasets.rendered_people import SetSpec, render_identity
from ifr.faces import EXCHANGED, PARTS, build_identity, render
from ifr.faces.head_model import load_head
from ifr.interpretation import FACE_PARTS, same_shot
from ifr.models import InterpretableFaceNet

SPEC = SetSpec("test", 40, 3, 2, first_shot=7, yaw="frontal")


@pytest.fixture(scope="module")
def faces() -> FaceSet:
    """The first shot of three people, as a rendered set has them."""
    rows = [{name: array[:1] for name, array in render_identity(SPEC, k).items()} for k in range(3)]
    known = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    images, identity, landmarks = (known.pop(x) for x in ("images", "identity", "landmarks"))
    return FaceSet("test", images, identity, landmarks, known)


@pytest.fixture(scope="module")
def seated(faces) -> list[same_shot.Sitting]:
    return same_shot.sittings(faces, SPEC)


@pytest.fixture(scope="module")
def plain(seated) -> FaceSet:
    return same_shot.photographed(seated)


def test_the_shots_of_a_set_are_taken_again_by_a_better_camera(faces, plain, seated) -> None:
    np.testing.assert_array_equal(plain.landmarks, faces.landmarks)
    np.testing.assert_array_equal(plain.attributes["parts"], faces.attributes["parts"])
    away = np.abs(plain.images.astype(int) - faces.images).mean(axis=(1, 2, 3))
    assert (away < 8).all()
    for _, shot in seated:
        assert (shot.camera.jpeg, shot.camera.blur, shot.camera.low_size) == (0, 0, 0)
    assert not same_shot.changed_pixels(plain, same_shot.photographed(seated)).any()


@pytest.mark.parametrize("part", EXCHANGED)
def test_a_chimera_changes_around_the_part_and_nowhere_else(seated, plain, part) -> None:
    found = same_shot.photographed(same_shot.chimeras(seated, [(part,)] * 3))
    changed = same_shot.changed_pixels(plain, found)
    assert changed.any(axis=(1, 2)).all()
    off = np.isin(plain.attributes["parts"], [PARTS.index(x) for x in ("background", "clothing")])
    assert not (changed & off & (found.attributes["parts"] == plain.attributes["parts"])).any()
    assert changed.mean() < 0.5


def test_the_donor_of_a_part_is_the_person_whose_part_differs_most(seated) -> None:
    head, (person, shot) = load_head(), seated[0]
    nose = [k for name, rows in head.traits.items() if name.startswith("nose/") for k, *_ in rows]
    near, far = person.weights.copy(), person.weights.copy()
    near[nose] += 0.1
    far[nose] += 0.2
    others = [(replace(person, weights=weights), shot) for weights in (near, far)]
    found = same_shot.chimeras([seated[0], *others], [("nose",)] * 3)
    np.testing.assert_array_equal(found[0][0].weights, far)
    np.testing.assert_array_equal(found[2][0].weights, person.weights)
    every = same_shot.chimeras(seated, [tuple(EXCHANGED)] * 3)
    assert (every[0][0].weights != person.weights).sum() > (found[0][0].weights != near).sum()


def test_other_surroundings_leave_the_face_as_it_was(seated, plain) -> None:
    found = same_shot.photographed(same_shot.redressed(seated, "background"))
    changed, parts = same_shot.changed_pixels(plain, found), plain.attributes["parts"]
    np.testing.assert_array_equal(found.landmarks, plain.landmarks)
    inside = [PARTS.index(name) for name in ("nose", "mouth", "eye")]
    assert not changed[np.isin(parts, inside)].any()
    assert changed[parts == PARTS.index("background")].mean() > 0.3


def test_other_hair_changes_hair(seated, plain) -> None:
    found = same_shot.photographed(same_shot.redressed(seated, "hair"))
    changed, hair = same_shot.changed_pixels(plain, found), PARTS.index("hair")
    assert changed[(plain.attributes["parts"] == hair) | (found.attributes["parts"] == hair)].any()
    assert not changed[plain.attributes["parts"] == PARTS.index("mouth")].any()


def test_pixels_count_as_changed_from_five_levels_on() -> None:
    images = np.full((1, 1, 3, 3), 100, np.uint8)
    others = images.copy()
    others[0, 0, 0, 2], others[0, 0, 1, 0] = 104, 95
    one, other = (FaceSet("test", x, np.zeros(1, int), None) for x in (images, others))
    assert same_shot.changed_pixels(one, other).tolist() == [[[False, True, False]]]


def test_the_share_that_a_map_names_is_read_at_the_false_alarm() -> None:
    truth = np.zeros((3, 5, 5), bool)
    truth[:, 0] = True  # five of 25
    maps = np.zeros((3, 5, 5))
    maps[0, 0, :2], maps[0, 1, :4], maps[0, 0, 2:] = 9, 5, 4  # two hits, four of 20, three hits
    maps[1, 0] = -1  # the least of all
    assert same_shot.named_share(maps, truth, 0.0).tolist() == [0.4, 0, 0]
    assert same_shot.named_share(maps, truth, 4 / 20).tolist() == pytest.approx([1, 0, 0.2])
    assert same_shot.named_share(maps, truth, 0.1)[0] == pytest.approx(0.4)
    none = same_shot.named_share(maps, truth | True, 0.1)
    assert np.isnan(none).all()


def test_a_map_lies_on_the_truth_by_its_top_its_mass_and_its_ranks() -> None:
    truth = np.zeros((2, 2, 4), bool)
    truth[:, 0, :2] = True  # two of eight pixels
    maps = np.array([[[4.0, 1, 3, 0], [0, 2, 0, 0]], [[0, 0, 5, 0], [0, 0, 5, 0]]])
    truth, maps = (np.repeat(x, 2, axis=1) for x in (truth, maps / 2))  # squares of 4 pixels
    found = same_shot.localisation(maps, truth)
    assert found["pointing"].tolist() == [1, 0]
    np.testing.assert_allclose(found["mass"], [5 / 10, 0])
    np.testing.assert_allclose(found["rank"], [1 / 2, 0])
    np.testing.assert_allclose(found["area"], [1 / 4, 1 / 4])


class Brightness(torch.nn.Module):
    """A backbone of two maps: the brightness of cells of eight pixels, and a constant."""

    num_filters, extractor = 2, frozenset()

    def __init__(self) -> None:
        super().__init__()
        self.filters = torch.nn.Parameter(torch.zeros(2, 1, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        bright = F.avg_pool2d(images.mean(dim=1, keepdim=True) + 1, 8)
        return torch.cat([bright, torch.ones_like(bright)], dim=1)


def test_the_change_lies_on_the_occluder_of_a_network_that_sees_places_apart() -> None:
    pairs = render_occluded_pairs(np.array([3, 4]), "sunglasses")
    before, after = (
        torch.as_tensor(x.images[:, 8:104, 8:104].copy()).permute(0, 3, 1, 2) / 127.5 - 1
        for x in (pairs.clean, pairs.occluded)
    )
    differ = (pairs.clean.images != pairs.occluded.images).any(axis=-1)[:, 8:104, 8:104]
    assert not (differ & ~pairs.masks).any(), "even light casts no shadow"
    model = InterpretableFaceNet(Brightness(), rate=0.0).eval()
    maps = same_shot.change_maps(model, before, after)
    feature = model.lmf_response(before[:1]).mean(dim=(2, 3)).norm()
    other = model.lmf_response(after[:1]).mean(dim=(2, 3)).norm()
    first = model.lmf_response(before[:1]) / feature - model.lmf_response(after[:1]) / other
    np.testing.assert_allclose(maps[0], first[0].abs().sum(dim=0).numpy(), rtol=1e-4, atol=1e-6)
    found = same_shot.localisation(maps, pairs.masks)
    assert (found["pointing"] == 1).all()
    assert (found["mass"] > 2 * found["area"]).all() and (found["rank"] > found["area"]).all()


def test_the_mesh_moves_the_mean_head_to_itself_and_turned_skin_less_well(monkeypatch) -> None:
    mean = load_head().mean.copy()
    person = replace(build_identity(0), vertices=mean, frame=mean)
    monkeypatch.setattr(same_shot, "build_identity", lambda seed: person)
    errors = same_shot.warp_errors(np.array([0]), (0, 45))[0]
    assert errors.shape == (2, len(FACE_PARTS))
    assert np.nanmax(errors[0]) < 0.2, "the rounding of places to pixels"
    assert np.nanmean(errors[1]) > 5 * np.nanmean(errors[0])


def test_landmarks_that_lie_five_pixels_off_move_skin_as_far(monkeypatch) -> None:
    mean = load_head().mean.copy()
    person = replace(build_identity(0), vertices=mean, frame=mean)
    same_shot._mean_head()  # where it is, before landmarks are moved
    monkeypatch.setattr(same_shot, "build_identity", lambda seed: person)

    def shifted(*sitting, **options):
        face = render(*sitting, **options)
        return replace(face, landmarks=face.landmarks + np.float32([3, 4]))

    monkeypatch.setattr(same_shot, "render", shifted)
    errors = same_shot.warp_errors(np.array([0]), (0,))[0, 0]
    inner = [FACE_PARTS.index(name) for name in ("eyes", "nose", "mouth")]
    np.testing.assert_allclose(errors[inner], 5, atol=0.3)
