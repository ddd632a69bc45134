"""The face mesh against a plain loop, against scikit-image, and at its edges."""

import numpy as np
import pytest
import torch
from skimage.transform import PiecewiseAffineTransform

from ifr.landmarks import MIRROR
from ifr.mesh import FaceMesh

MESH = FaceMesh.frontal(96)


def jittered(seed: int, count: int, scale: float = 0.4) -> np.ndarray:
    """Return faces close enough to the template that no triangle turns over."""
    rng = np.random.default_rng(seed)
    matrix = np.eye(2) + rng.normal(0, 0.1, (count, 2, 2))
    faces = (MESH.landmarks - 48) @ matrix + 48 + rng.normal(0, 2, (count, 1, 2))
    noise = rng.normal(0, scale, faces.shape)
    while (bad := MESH.folded(faces + noise).any(axis=1)).any():
        noise[bad] /= 2
    return faces + noise


def turned(yaw: float) -> np.ndarray:
    """Return the template turned by yaw degrees, as if on a ball with a nose."""
    xy = MESH.landmarks - [48, 50]
    depth = np.sqrt(np.maximum(55**2 - (xy**2).sum(axis=1), 0))
    depth[27:36] += np.array([2, 5, 9, 13, 6, 7, 8, 7, 6])
    angle = np.radians(yaw)
    x = np.cos(angle) * xy[:, 0] + np.sin(angle) * (depth - 45)
    return np.stack([x + 48, MESH.landmarks[:, 1]], axis=1)


def barycentric(point, a, b, c):
    def cross(u, v):
        return u[0] * v[1] - u[1] * v[0]

    area = cross(b - a, c - a)
    weights = [cross(c - b, point - b) / area, cross(a - c, point - c) / area]
    return area / 2, np.array([*weights, 1 - sum(weights)])


def locate_loop(mesh, points, landmarks):
    """Find each point's triangle by trying all 142, with the documented order of preference."""
    triangles = np.full(points.shape[:-1], -1)
    for n in range(len(points)):
        vertices = np.concatenate([landmarks[n], mesh.border])
        for p, point in enumerate(points[n]):
            best = -np.inf
            for t, corners in enumerate(mesh.triangles):
                area, weights = barycentric(point, *vertices[corners])
                if area <= 0 or weights.min() < -1e-9:
                    continue
                template = barycentric(point, *mesh.points[corners])[0]
                score = area / template + (1e6 if corners.max() < 68 else 0)
                if score > best:
                    best, triangles[n, p] = score, t
    return triangles


def transfer_loop(mesh, points, source, target):
    triangles = locate_loop(mesh, points, source)
    moved = np.empty_like(points)
    for n, p in np.ndindex(triangles.shape):
        corners = mesh.triangles[triangles[n, p]]
        start = np.concatenate([source[n], mesh.border])[corners]
        weights = barycentric(points[n, p], *start)[1]
        moved[n, p] = weights @ np.concatenate([target[n], mesh.border])[corners]
    return moved


def test_template_has_the_papers_triangles_and_tiles_its_square():
    for mesh in (FaceMesh.frontal(), MESH):
        assert mesh.points.shape == (76, 2)
        assert mesh.triangles.shape == (142, 3)
        assert set(mesh.triangles.ravel()) == set(range(76))
        assert not mesh.folded(mesh.landmarks).any()
    with pytest.raises(ValueError, match="read-only"):
        MESH.points[0] = 0


def test_template_is_symmetric_up_to_quadrilaterals_across_the_midline():
    np.testing.assert_allclose(
        MESH.landmarks, [96, 0] + MESH.landmarks[MIRROR] * [-1, 1], atol=1e-9
    )
    flip = np.r_[MIRROR, 68 + np.array([2, 1, 0, 7, 6, 5, 4, 3])]
    here = {frozenset(t) for t in MESH.triangles.tolist()}
    there = {frozenset(flip[list(t)].tolist()) for t in here}
    assert len(here - there) <= 4  # two triangles for each ambiguous diagonal


def test_triangulation_does_not_depend_on_rounding():
    face = FaceMesh.frontal().landmarks
    expected = FaceMesh.from_landmarks(face).triangles
    for seed in range(3):
        noise = np.random.default_rng(seed).normal(0, 1e-9, face.shape)
        np.testing.assert_array_equal(FaceMesh.from_landmarks(face + noise).triangles, expected)


def test_crop_agrees_with_the_whole_frame():
    whole, faces = FaceMesh.frontal(), jittered(0, 3)
    assert MESH.size == 96
    np.testing.assert_array_equal(whole.points - 8, MESH.points)
    points = np.random.default_rng(1).uniform(0, 96, (3, 20, 2))
    there = MESH.transfer(points, faces, MESH.landmarks)
    again = whole.transfer(points + 8, faces + 8, whole.landmarks) - 8
    np.testing.assert_allclose(there, again, atol=1e-9)


@pytest.mark.parametrize("yaw", [0, 35, 65])
def test_locate_and_transfer_match_the_loop(yaw):
    faces = np.stack([turned(yaw) + 0.3, turned(-yaw)]) + jittered(2, 2) - MESH.landmarks
    points = np.random.default_rng(3).uniform(0, 96, (2, 25, 2))
    triangles, weights = MESH.locate(points, faces)
    np.testing.assert_array_equal(triangles, locate_loop(MESH, points, faces))
    assert (weights >= -1e-9).all()
    np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-12)
    target = jittered(4, 2)
    moved = MESH.transfer(points, faces, target)
    np.testing.assert_allclose(moved, transfer_loop(MESH, points, faces, target), atol=1e-9)


def test_transfer_agrees_with_scikit_image():
    rng = np.random.default_rng(5)
    template = FaceMesh.frontal().landmarks + rng.normal(0, 0.5, (68, 2))
    mesh = FaceMesh.from_landmarks(template, symmetric=False)  # scikit-image triangulates it alike
    face = template @ [[0.95, 0.1], [-0.05, 1.0]] + rng.normal(0, 0.3, (68, 2))
    target = np.concatenate([face, mesh.border])
    reference = PiecewiseAffineTransform.from_estimate(mesh.points, target)
    points = rng.uniform(0, 112, (500, 2))
    np.testing.assert_allclose(mesh.transfer(points, template, face), reference(points), atol=1e-6)


def test_round_trip_is_the_identity_without_folds():
    a, b = jittered(6, 8), jittered(7, 8)
    points = np.random.default_rng(8).uniform(0, 96, (8, 50, 2))
    back = MESH.transfer(MESH.transfer(points, a, b), b, a)
    assert np.abs(back - points).max() < 1e-3
    np.testing.assert_allclose(MESH.transfer(points, a, a), points, atol=1e-9)


def test_landmarks_transfer_to_landmarks():
    faces = jittered(9, 4)
    moved = MESH.transfer(MESH.landmarks, MESH.landmarks, faces)
    np.testing.assert_allclose(moved, faces, atol=1e-6)


def test_batch_equals_loop_and_shapes_broadcast():
    faces, points = jittered(10, 6), np.random.default_rng(11).uniform(0, 96, (6, 7, 2))
    batch = MESH.transfer(points, faces, MESH.landmarks)
    single = [MESH.transfer(p, f, MESH.landmarks) for p, f in zip(points, faces, strict=True)]
    np.testing.assert_allclose(batch, single, atol=1e-10)
    grid = MESH.transfer(points.reshape(2, 3, 7, 2), faces.reshape(2, 3, 68, 2), MESH.landmarks)
    np.testing.assert_allclose(grid.reshape(6, 7, 2), batch, atol=1e-10)
    assert MESH.transfer(points[0], MESH.landmarks, faces).shape == (6, 7, 2)
    assert MESH.transfer(points, MESH.landmarks, MESH.landmarks).shape == (6, 7, 2)
    assert MESH.transfer(points[:0], faces[:0], MESH.landmarks).shape == (0, 7, 2)
    assert MESH.transfer(points[:, :0], faces, MESH.landmarks).shape == (6, 0, 2)
    tensors = torch.tensor(points), torch.tensor(faces)
    np.testing.assert_array_equal(MESH.transfer(*tensors, MESH.landmarks), batch)


@pytest.mark.parametrize(("count", "points"), [(1, 900), (3, 900), (90, 9)])
def test_many_points_and_faces_have_the_answers_of_a_few(count, points):
    faces = jittered(12, count)
    points = np.random.default_rng(13).uniform(0, 96, (count, points, 2))
    triangles, weights = MESH.locate(points, faces)
    parts = [MESH.locate(points[n, :50], faces[n]) for n in range(count)]
    np.testing.assert_array_equal(triangles[:, :50], [part[0] for part in parts])
    np.testing.assert_allclose(weights[:, :50], [part[1] for part in parts], atol=1e-12)
    parts = [MESH.locate(points[n, -50:], faces[n]) for n in range(count)]
    np.testing.assert_array_equal(triangles[:, -50:], [part[0] for part in parts])
    np.testing.assert_allclose(weights[:, -50:], [part[1] for part in parts], atol=1e-12)


def test_points_outside_the_border_have_no_place():
    low, high = MESH.border[0], MESH.border[4]
    points = np.array([low - 0.01, high + 5, [np.nan, 40], low, high, [48, 48]])
    triangles, weights = MESH.locate(points, MESH.landmarks)
    assert (triangles[:3] == -1).all()
    assert (triangles[3:] >= 0).all()
    assert np.isnan(weights[:3]).all()
    moved = MESH.transfer(points, MESH.landmarks, turned(20))
    np.testing.assert_array_equal(np.isnan(moved).all(axis=1), triangles == -1)
    clipped = MESH.transfer(points, MESH.landmarks, turned(20), clip=True)
    np.testing.assert_allclose(clipped[:2], [low, high], atol=1e-9)
    assert np.isnan(clipped[2]).all()


def test_profile_views_fold_and_still_have_one_answer_everywhere():
    counts = [int(MESH.folded(turned(yaw)).sum()) for yaw in (0, 30, 60)]
    assert counts[0] == 0
    assert counts[0] <= counts[1] < counts[2]
    grid = np.stack(np.meshgrid(*[np.arange(1.0, 96, 4)] * 2), axis=-1).reshape(-1, 2)
    face = turned(60)
    triangles, weights = MESH.locate(grid, face)
    assert (triangles >= 0).all()
    assert (weights > -1e-6).all()
    assert not MESH.folded(face)[triangles].any()
    np.testing.assert_allclose(MESH.place(triangles, weights, face), grid, atol=1e-9)


@pytest.mark.parametrize(
    ("points", "landmarks", "message"),
    [
        (np.zeros((4, 3)), MESH.landmarks, "points must have shape"),
        (np.zeros(2), MESH.landmarks, "points must have shape"),
        (np.zeros((4, 2)), MESH.points, "68, 2"),
        (np.zeros((4, 2)), MESH.landmarks * np.nan, "NaN"),
    ],
)
def test_bad_input_is_named(points, landmarks, message):
    with pytest.raises(ValueError, match=message):
        MESH.locate(points, landmarks)


def test_bad_templates_are_refused():
    face = FaceMesh.frontal().landmarks
    with pytest.raises(ValueError, match="larger margin"):
        FaceMesh.from_landmarks(face * [1, 1.3], margin=0)
    with pytest.raises(ValueError, match="centre outside"):
        FaceMesh.from_landmarks(face, size=48)
    with pytest.raises(ValueError, match="size of the frontal mesh"):
        FaceMesh.frontal(224)


def test_margin_zero_is_the_papers_border():
    face = (FaceMesh.frontal().landmarks - 56) * 0.8 + 50
    mesh = FaceMesh.from_landmarks(face, margin=0, symmetric=False)
    assert mesh.border.min() == 0
    assert mesh.border.max() == 112
    assert len(mesh.triangles) == 142
