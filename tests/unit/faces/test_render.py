"""The procedural renderer: determinism, twins, landmarks, labels, errors."""

import hashlib
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from ifr.common.errors import UserError
from ifr.faces import (
    EXPRESSIONS,
    LIGHTINGS,
    OCCLUDERS,
    PARTS,
    build_identity,
    contact_sheet,
    draw_shot,
    render,
)
from ifr.faces.geometry import rotation
from ifr.faces.head_model import load_head
from ifr.faces.raster import compiled, rasterise, vertex_normals, z_buffer
from ifr.faces.render import exposure_gain
from ifr.faces.shot import Camera
from ifr.landmarks import ARCFACE_TEMPLATE, five_points

SEEDS = (3, 11, 26)


@pytest.fixture(scope="module")
def people():
    return {seed: build_identity(seed) for seed in SEEDS}


def digest(seed: int) -> str:
    """Hash everything a few renders of a seed return."""
    identity, total = build_identity(seed), hashlib.sha256()
    for number, occluder in enumerate(("none", "mask", "hand")):
        picture = render(identity, draw_shot(seed, number, occluder=occluder))
        for array in (picture.image, picture.landmarks, picture.visible, picture.parts):
            total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def test_same_seed_same_bytes_here_and_in_another_process():
    code = "from test_render import digest; print(digest(5))"
    command = [sys.executable, "-c", code]
    here = Path(__file__).parent
    other = subprocess.run(command, capture_output=True, text=True, check=True, cwd=here)
    first = digest(5)
    assert first == digest(5) == other.stdout.strip()
    assert first != digest(6)


def test_twins_differ_only_inside_the_occluder_and_its_shadow(people):
    for seed, identity in people.items():
        for number in range(4):
            clean = render(identity, draw_shot(seed, number))
            assert not clean.occluder_mask.any() and not clean.shadow_mask.any()
            for occluder in OCCLUDERS[1:]:
                covered = render(identity, draw_shot(seed, number, occluder=occluder))
                outside = ~(covered.occluder_mask | covered.shadow_mask)
                difference = np.abs(covered.image.astype(int) - clean.image).max(2)
                assert (difference[outside] <= 2).mean() >= 0.97, (seed, number, occluder)
                np.testing.assert_array_equal(covered.landmarks, clean.landmarks)
                assert not (covered.visible & ~clean.visible).any()


@pytest.mark.parametrize("occluder", OCCLUDERS[1:])
def test_an_occluder_covers_what_it_should(people, occluder):
    hidden = {"sunglasses": slice(36, 48), "scarf": slice(56, 59), "mask": slice(48, 68)}
    for seed, identity in people.items():
        shot = draw_shot(seed, 0, yaw=0.0, expression="neutral", occluder=occluder, plain=True)
        picture = render(identity, shot)
        assert picture.occluder == occluder
        assert 0.01 < picture.occluder_mask.mean() < 0.6
        assert not (picture.occluder_mask & picture.shadow_mask).any()
        assert (picture.parts[picture.occluder_mask] == PARTS.index("occluder")).mean() > 0.4
        if occluder in hidden:
            assert picture.visible[hidden[occluder]].mean() < 0.2
        if occluder == "scarf":  # as people wear it: under the nose
            assert (
                picture.visible[27:31].all()
                and not picture.occluder_mask[: int(picture.landmarks[30, 1])].any()
            )
        if occluder in ("mask", "scarf"):
            # Cloth is taut: no skin shows through in the middle of it.
            x, y = picture.landmarks[57].astype(int)
            assert (picture.parts[y - 4 : y + 4, x - 6 : x + 6] == PARTS.index("occluder")).all()


@pytest.mark.parametrize("yaw", [-60.0, -25.0, 0.0, 25.0, 60.0])
def test_landmarks_are_finite_ordered_and_on_the_template(people, yaw):
    for seed, identity in people.items():
        shot = draw_shot(seed, 1, yaw=yaw, expression="neutral", plain=True)
        picture = render(identity, shot)
        points = picture.landmarks
        assert points.shape == (68, 2) and np.isfinite(points).all()
        assert ((points > -25) & (points < 137)).all()
        assert picture.yaw == yaw
        # Brows above eyes above nose tip above mouth above chin; eyes in image order.
        heights = [points[17:27, 1], points[36:48, 1], points[30:31, 1], points[48:55, 1]]
        means = [height.mean() for height in [*heights, points[8:9, 1]]]
        assert means == sorted(means)
        assert points[36:42, 0].mean() < points[42:48, 0].mean()
        error = np.linalg.norm(five_points(points) - ARCFACE_TEMPLATE, axis=1).max()
        assert error < (6 if yaw == 0 else 25)


def test_neighbouring_landmarks_keep_their_distance(people):
    for seed, identity in people.items():
        shot = draw_shot(seed, 0, yaw=0.0, expression="neutral", plain=True)
        points = render(identity, shot).landmarks
        jaw = np.linalg.norm(np.diff(points[:17], axis=0), axis=1)
        assert jaw.min() > 4 and jaw.max() < 3 * jaw.min()
        apart = np.linalg.norm(points[:60, None] - points[None, :60], axis=2)
        assert apart[~np.eye(60, dtype=bool)].min() > 1


def test_the_far_side_of_a_turned_face_is_hidden(people):
    for seed, identity in people.items():
        front = render(identity, draw_shot(seed, 2, yaw=0.0, expression="neutral", plain=True))
        assert front.visible[17:60].mean() > 0.85
        left = render(identity, draw_shot(seed, 2, yaw=-55.0, expression="neutral", plain=True))
        right = render(identity, draw_shot(seed, 2, yaw=55.0, expression="neutral", plain=True))
        # Yaw > 0 turns the face to the right of the picture: its side on the right is far.
        assert left.visible[0:7].sum() < left.visible[10:17].sum() or not left.visible[1:4].any()
        assert (
            right.visible[10:17].sum() < right.visible[0:7].sum() or not right.visible[13:16].any()
        )


def test_a_larger_picture_shows_the_same_face(people):
    identity = people[SEEDS[0]]
    shot = draw_shot(identity.seed, 4, plain=True)
    small, large = render(identity, shot), render(identity, shot, size=224)
    np.testing.assert_allclose(large.landmarks, 2 * small.landmarks, atol=0.01)
    assert large.image.shape == (224, 224, 3)
    halved = large.image.reshape(112, 2, 112, 2, 3).mean((1, 3))
    assert np.abs(halved - small.image).mean() < 4


def test_labels_depth_and_canonical_map_agree(people):
    for seed, identity in people.items():
        shot = draw_shot(seed, 0, yaw=0.0, expression="neutral", plain=True)
        assert render(identity, shot).canonical is None
        picture = render(identity, shot, canonical=True)
        present = set(np.unique(picture.parts))
        assert max(present) < len(PARTS)
        for name in ("skin", "brow", "eye", "nose", "mouth"):
            assert PARTS.index(name) in present, name
        background = picture.parts == PARTS.index("background")
        np.testing.assert_array_equal(np.isnan(picture.depth), background)
        skin = picture.parts == PARTS.index("skin")
        assert np.isfinite(picture.canonical[skin]).all()
        # The nose stands out and lies in the middle of the canonical map.
        x, y = picture.landmarks[30].astype(int)
        assert picture.depth[y, x] > np.nanpercentile(picture.depth, 95)
        assert abs(picture.canonical[y, x, 0] - 0.5) < 0.05


def test_each_attribute_has_its_own_stream():
    plain, fixed = draw_shot(9, 3), draw_shot(9, 3, yaw=10.0, expression="smile", lighting="left")
    assert plain.camera == fixed.camera and plain.distance == fixed.distance
    np.testing.assert_array_equal(plain.jitter, fixed.jitter)
    assert plain.pitch == fixed.pitch and plain.roll == fixed.roll
    occluded = draw_shot(9, 3, occluder="hand")
    assert (plain.yaw, plain.units, plain.gaze) == (occluded.yaw, occluded.units, occluded.gaze)
    np.testing.assert_array_equal(plain.lights.intensities, occluded.lights.intensities)


def test_yaw_modes_keep_to_their_ranges():
    yaws = {
        mode: [draw_shot(1, k, yaw=mode).yaw for k in range(60)] for mode in ("frontal", "wide")
    }
    assert np.abs(yaws["frontal"]).max() < 20
    assert np.abs(yaws["wide"]).max() <= 60 and np.std(yaws["wide"]) > 25


def test_exposure_follows_lights_and_albedo_only(people):
    identity = people[SEEDS[0]]
    camera = Camera()
    lights = draw_shot(identity.seed, 0).lights
    gains = [
        exposure_gain(draw_shot(identity.seed, 0, occluder=o).lights, identity, camera)
        for o in OCCLUDERS
    ]
    for gain in gains:
        np.testing.assert_array_equal(gain, exposure_gain(lights, identity, camera))
    for seed, person in people.items():
        for lighting in LIGHTINGS[1:]:
            image = render(person, draw_shot(seed, 0, yaw=0.0, lighting=lighting, plain=True)).image
            middle = image[40:90, 35:77]
            assert 50 < middle.mean() < 205, (seed, lighting)
            assert (middle >= 254).mean() < 0.02


def test_identities_differ_more_than_shots():
    shots = [
        draw_shot(s, k, yaw=0.0, expression="neutral", lighting="even", plain=True)
        for s in (30, 31, 32)
        for k in (0, 1)
    ]
    people = {seed: build_identity(seed) for seed in (30, 31, 32)}
    faces = [render(people[s.identity_seed], s).image[45:100, 30:82].astype(float) for s in shots]
    same = np.mean([np.abs(faces[2 * k] - faces[2 * k + 1]).mean() for k in range(3)])
    other = np.mean([np.abs(faces[2 * k] - faces[(2 * k + 2) % 6]).mean() for k in range(3)])
    assert other > 1.5 * same


def test_rasteriser_against_a_plain_loop():
    rng = np.random.default_rng(0)
    points = (rng.random((9, 3)) * 20).astype(np.float32)
    triangles = np.arange(9, dtype=np.int32).reshape(3, 3)
    buffer = z_buffer(20)
    rasterise(points, triangles, buffer, 0, 0)
    for i in range(20):
        for j in range(20):
            best, near = -1, -1e30
            for t, corners in enumerate(points[triangles].astype(np.float64)):
                system = np.vstack([corners[:, :2].T, np.ones(3)])
                weights = np.linalg.solve(system, [j + 0.5, i + 0.5, 1.0])
                if weights.min() < -1e-4:
                    continue
                if weights.min() < 1e-4:
                    best = None  # on an edge either answer is right
                    break
                if weights @ corners[:, 2] > near:
                    best, near = t, weights @ corners[:, 2]
            if best is not None:
                assert buffer.face[i, j] == best


def test_normals_on_small_meshes():
    square = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
    normals = vertex_normals(square, np.array([[0, 1, 2], [0, 2, 3]], np.int32))
    np.testing.assert_allclose(normals, np.tile([0, 0, 1.0], (4, 1)), atol=1e-6)
    turn = rotation(30, 10, -5)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-6)
    assert (rotation(30, 0, 0) @ [0, 0, 1])[0] > 0 and (rotation(0, 20, 0) @ [0, 0, 1])[1] > 0


def test_the_packaged_head_is_whole():
    head = load_head()
    assert head.triangles.max() < len(head.mean) and (np.diff(head.part.astype(int)) >= 0).all()
    np.testing.assert_allclose(head.landmark_weights.sum(1), 1, atol=1e-6)
    assert not any("african" in label or "asian" in label for label in head.index)
    used = {unit for units in EXPRESSIONS.values() for unit in units}
    assert used <= set(head.units)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: build_identity(-1), UserError, "seed must be >= 0"),
        (lambda: build_identity(1.5), TypeError, "seed must be an integer"),
        (lambda: draw_shot(1, -2), UserError, "shot must be >= 0"),
        (lambda: draw_shot(-1, 0), UserError, "identity_seed must be >= 0"),
        (lambda: draw_shot(1, 0, session=-1), UserError, "session must be >= 0"),
        (lambda: draw_shot(1, 0, occluder="veil"), UserError, "sunglasses, eyeglasses"),
        (lambda: draw_shot(1, 0, yaw="sideways"), UserError, "mixed, frontal, wide"),
        (lambda: draw_shot(1, 0, yaw=80.0), UserError, "-60..60"),
        (lambda: draw_shot(1, 0, expression="bored"), UserError, "neutral"),
        (lambda: draw_shot(1, 0, lighting="disco"), UserError, "even"),
        (lambda: contact_sheet([], 3), UserError, "images"),
    ],
)
def test_bad_input_says_what_was_expected(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_render_rejects_small_sizes_and_foreign_shots(people):
    identity = people[SEEDS[0]]
    with pytest.raises(UserError, match="at least 32"):
        render(identity, draw_shot(identity.seed, 0), size=16)
    with pytest.raises(UserError, match="draw_shot"):
        render(identity, draw_shot(identity.seed + 1, 0))


def test_workers_start_without_torch():
    code = "import sys, ifr.faces; print('torch' in sys.modules)"
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"


def test_rendering_leaves_opencv_its_threads():
    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    try:
        render(build_identity(3), draw_shot(3, 0))
        assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)


def test_contact_sheet_lays_images_out_in_rows():
    images = [np.full((4, 5, 3), value, np.uint8) for value in (10, 20, 30)]
    sheet = contact_sheet(images, 2, gap=1)
    assert sheet.shape == (9, 11, 3)
    assert sheet[0, 0, 0] == 10 and sheet[0, 6, 0] == 20 and sheet[5, 0, 0] == 30
    assert sheet[5, 6, 0] == 255 and sheet[4, 0, 0] == 255


def test_kernels_compile_where_no_cache_folder_can_be_written():
    space = {}
    exec("def double(x):\n    return 2 * x", space)  # Numba finds no file to cache beside
    assert compiled(space["double"])(21) == 42
