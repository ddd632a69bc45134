"""People and shots of the second edition: lips, eyes, light, blur, exchanged parts, skin."""

import numpy as np
import pytest

from ifr.common.errors import UserError
from ifr.faces import (
    EXCHANGED,
    EXPRESSIONS,
    LIGHT_OCCLUDERS,
    PARTS,
    build_identity,
    draw_shot,
    exchange_part,
    render,
)
from ifr.faces.geometry import TEXELS
from ifr.faces.head_model import load_head
from ifr.faces.occluders import build_occluder
from ifr.faces.scene import build_scene, sample_outfit
from ifr.faces.shade import LENS, PUPIL_X, UPPER_LID

STILL = dict(yaw=0.0, expression="neutral", lighting="even", plain=True)
# The landmarks that belong to each part that can be exchanged.
POINTS = {
    "nose": slice(27, 36),
    "mouth": slice(48, 68),
    "eyes": slice(36, 48),
    "brows": slice(17, 27),
}


@pytest.fixture(scope="module")
def people():
    return {seed: build_identity(seed) for seed in (3, 11, 26, 40)}


def test_lips_are_closed_at_rest_and_part_in_few_shots(people):
    for identity in people.values():
        points = load_head().landmarks(identity.vertices)
        assert abs(points[62, 1] - points[66, 1]) < 0.012  # decimetres: 0.8 pixels
    opened = [dict(draw_shot(1, k).units).get("jawOpen", 0) > 0.05 for k in range(300)]
    assert 0.05 < np.mean(opened) < 0.25


def test_both_eyes_look_at_one_point_from_under_their_lids(people):
    for seed, identity in people.items():
        shot = draw_shot(seed, 0, **STILL)
        eyes = build_scene(identity, shot, sample_outfit(identity, shot), 112).eyes
        centres = [identity.vertices[ball].mean(0)[0] for ball in load_head().eyeballs]
        # The lines of sight meet at the camera's distance.
        turned = (centres[0] - centres[1]) / shot.distance
        assert eyes[1, PUPIL_X] - eyes[0, PUPIL_X] == pytest.approx(turned, abs=1e-3)
        assert (eyes[:, UPPER_LID] > 0.2).all()
        shut = draw_shot(seed, 0, **(STILL | dict(expression="closed eyes")))
        closed = build_scene(identity, shut, sample_outfit(identity, shut), 112).eyes
        assert (closed[:, UPPER_LID] < eyes[:, UPPER_LID]).all()


def test_few_shots_are_blurred_and_sharp_ones_never():
    drawn = [draw_shot(2, k).camera for k in range(300)]
    sharp = [draw_shot(2, k, sharp=True).camera for k in range(300)]
    assert 0.04 < np.mean([camera.blur > 0 or camera.low_size > 0 for camera in drawn]) < 0.2
    assert not any(camera.blur or camera.low_size for camera in sharp)
    pairs = zip(drawn, sharp, strict=True)
    assert all((one.noise, one.jpeg) == (other.noise, other.jpeg) for one, other in pairs)


def test_shots_of_a_session_share_hair_clothes_camera_and_what_is_worn(people):
    for seed, identity in people.items():
        one, other = (draw_shot(seed, k, session=0, occluder="scarf", sharp=True) for k in (3, 4))
        worn = [sample_outfit(identity, shot) for shot in (one, other)]
        np.testing.assert_array_equal(worn[0].curves, worn[1].curves)
        np.testing.assert_array_equal(worn[0].colours, worn[1].colours)
        assert not worn[0].hat and one.plain
        assert (one.camera, one.distance) == (other.camera, other.distance)
        assert one.stream("scarf").random() == other.stream("scarf").random()
        # Pose, noise and a detector's error stay the shot's own, as if there were no session.
        assert one.yaw != other.yaw and (one.jitter != other.jitter).all()
        assert one.stream("noise").random() != other.stream("noise").random()
        alone = draw_shot(seed, 3, occluder="scarf", sharp=True)
        assert (alone.yaw, alone.units, alone.gaze) == (one.yaw, one.units, one.gaze)


def test_sunglasses_are_of_ordinary_size_and_cover_the_eyes(people):
    for seed, identity in people.items():
        sheets, _ = build_occluder(
            identity, draw_shot(seed, 0, occluder="sunglasses", **STILL), identity.vertices
        )
        lens = next(sheet.vertices for sheet in sheets if sheet.material == LENS)
        wide, high = (lens.max(0) - lens.min(0))[:2]
        p = load_head().landmarks(identity.vertices)
        # Lenses are 48 to 62 mm wide where the outer corners of the eyes lie 92 mm apart.
        assert 48 < 92 * wide / (p[45, 0] - p[36, 0]) < 62 and 0.55 < high / wide < 0.95


def test_lamps_stand_on_the_side_they_are_named_after():
    for lighting, sides in (("left", [-1]), ("right", [1]), ("both", [-1, 1])):
        lights = [draw_shot(4, k, lighting=lighting).lights for k in range(20)]
        for light in lights:
            assert np.sign(light.directions[:, 0]).tolist() == sides and light.shadows
        assert len({float(light.directions[0, 0]) for light in lights}) == 20


@pytest.mark.parametrize("part", EXCHANGED)
def test_an_exchanged_part_moves_nothing_else(people, part):
    one, other = people[3], people[11]
    mixed = exchange_part(one, other, part)
    shots = [draw_shot(3, k, sharp=True) for k in range(3)]
    for shot in shots:
        before, after = render(one, shot), render(mixed, shot)
        moved = np.linalg.norm(after.landmarks - before.landmarks, axis=1)
        own = np.zeros(68, bool)
        own[POINTS[part]] = True
        assert moved[own].max() > 3 * moved[~own].mean()
        assert moved[:17].max() < 1.5  # the outline stays: the picture is placed as before
        assert not np.array_equal(before.image, after.image)
    np.testing.assert_allclose(exchange_part(mixed, one, part).vertices, one.vertices, atol=1e-5)
    np.testing.assert_array_equal(exchange_part(one, one, part).vertices, one.vertices)
    with pytest.raises(UserError, match="nose, mouth, eyes, brows"):
        exchange_part(one, other, "ears")


@pytest.mark.parametrize("occluder", ["none", "cup"])
def test_canonical_coordinates_are_those_of_bare_skin_that_is_seen(people, occluder):
    bare = [PARTS.index(name) for name in ("skin", "brow", "nose", "mouth", "ear", "neck")]
    for seed, identity in people.items():
        shot = draw_shot(seed, 2, yaw=10.0, expression="neutral", occluder=occluder)
        picture = render(identity, shot, canonical=True)
        known = np.isfinite(picture.canonical).all(2)
        assert known.any() and np.isin(picture.parts[known], [*bare, PARTS.index("eye")]).all()
        clothed = np.isin(picture.parts, [PARTS.index(n) for n in ("hair", "hat", "clothing")])
        assert not known[clothed | (picture.parts == PARTS.index("occluder"))].any()
        assert known[picture.parts == PARTS.index("skin")].all()
        marks = np.flatnonzero(picture.visible[27:36]) + 27
        x, y = picture.landmarks[marks].astype(int).T
        error = np.linalg.norm(picture.canonical[y, x] - load_head().landmark_uv[marks] / TEXELS)
        assert error / max(len(marks), 1) < 0.02


@pytest.mark.parametrize("occluder", LIGHT_OCCLUDERS)
def test_light_occluders_leave_most_of_the_face(people, occluder):
    for seed, identity in people.items():
        clean = render(identity, draw_shot(seed, 0, **STILL))
        covered = render(identity, draw_shot(seed, 0, occluder=occluder, **STILL))
        face = np.isin(
            clean.parts, [PARTS.index(n) for n in ("skin", "brow", "eye", "nose", "mouth")]
        )
        assert 0.001 < (covered.occluder_mask & face).sum() / face.sum() < 0.45, seed


def test_expressions_have_odds():
    drawn = [draw_shot(5, k).expression for k in range(300)]
    assert set(drawn) <= set(EXPRESSIONS) and 0.2 < np.mean(np.array(drawn) == "neutral") < 0.5
