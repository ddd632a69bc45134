"""The warped occlusion: drawing, warping, filling."""

import numpy as np
import pytest
import torch

from ifr.mesh import FaceMesh
from ifr.occlusion import (
    FIXED_BOXES,
    corners,
    draw_rectangle,
    draw_rectangles,
    face_hull,
    fill_polygon,
    occlude,
    on_face,
    warp_vertices,
)

MESH = FaceMesh.frontal(96)
BOX = (30.0, 40.0, 32.0, 12.0)


def faces(count: int, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    matrix = np.eye(2) + rng.normal(0, 0.08, (count, 2, 2))
    return torch.tensor((MESH.landmarks - 48) @ matrix + 48 + rng.normal(0, 1, (count, 68, 2)))


def images(count: int, size: int = 96, dtype=torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, 3, size, size, generator=generator, dtype=dtype) - 0.5


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def fill_loop(vertices, height, width):
    """Even-odd rule, pixel by pixel and edge by edge."""
    mask = np.zeros((height, width), bool)
    for row, column in np.ndindex(height, width):
        x, y = column + 0.5, row + 0.5
        for (x0, y0), (x1, y1) in zip(vertices, np.roll(vertices, -1, axis=0), strict=True):
            if (y0 <= y) != (y1 <= y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0):
                mask[row, column] = not mask[row, column]
    return mask


@pytest.mark.parametrize("kind", ["BlaS", "GauD"])
def test_rectangles_stay_on_the_face(kind):
    rng = np.random.default_rng(0)
    drawn = draw_rectangles(rng, 300, MESH, kind=kind)
    assert on_face(drawn, MESH).all()
    assert (drawn[:, :2] >= 0).all()
    assert (drawn[:, :2] + drawn[:, 2:] <= 96).all()
    if kind == "BlaS":
        assert (drawn[:, 2:] == [32, 12]).all()
    else:
        assert drawn[:, 2:].min() == 12
        assert drawn[:, 2:].max() == 32
        assert len(np.unique(drawn[:, 2])) == 21
        assert (drawn[:, 2] != drawn[:, 3]).any()
    centre = drawn[:, :2] + drawn[:, 2:] / 2
    assert abs(centre[:, 0].mean() - 48) < 2  # both sides of the face alike
    assert centre[:, 1].min() < 25  # forehead
    assert centre[:, 1].max() > 75  # mouth


def test_released_placement_uses_the_frame():
    rng = np.random.default_rng(0)
    drawn = draw_rectangles(rng, 300, MESH, placement="released")
    assert drawn[:, :2].min() >= 10
    assert (drawn[:, :2] + drawn[:, 2:]).max() <= 86
    assert not on_face(drawn, MESH).all()


def test_same_stream_same_rectangle():
    first = draw_rectangle(np.random.default_rng(3), kind="GauD")
    assert first == draw_rectangle(np.random.default_rng(3), kind="GauD")
    assert first != draw_rectangle(np.random.default_rng(4), kind="GauD")
    assert all(type(value) is float for value in first)


def test_hull_holds_the_face_and_a_forehead():
    hull = face_hull(MESH)
    inside = np.clip(MESH.landmarks, 0.5, 95.5)
    assert on_face(np.c_[inside * 0.98 + 0.96, np.full((68, 2), 1e-6)], MESH).all()
    assert hull[:, 1].min() < MESH.landmarks[:, 1].min() - 10
    assert not on_face((0, 0, 32, 12), MESH)


def test_unknown_kind_or_impossible_rectangle():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match='"BlaS" or "GauD"'):
        draw_rectangle(rng, MESH, kind="blas")
    with pytest.raises(ValueError, match='"face" or "released"'):
        draw_rectangle(rng, MESH, placement="anywhere")
    tiny = FaceMesh.from_landmarks((MESH.landmarks - 48) * 0.2 + 48, 96)
    with pytest.raises(ValueError, match="does not fit"):
        draw_rectangle(rng, tiny)


def test_template_face_gets_the_rectangle_itself():
    face = torch.tensor(MESH.landmarks)[None]
    np.testing.assert_allclose(warp_vertices(BOX, face, mesh=MESH)[0], corners(BOX), atol=1e-9)
    covered, mask = occlude(torch.zeros(1, 3, 96, 96), face, BOX, mesh=MESH)
    expected = torch.zeros(96, 96, dtype=torch.bool)
    expected[40:52, 30:62] = True
    assert torch.equal(mask[0], expected)
    assert torch.equal(covered[0, 1] == -1, expected)


def test_vertices_are_the_mesh_transfer():
    landmarks = faces(5)
    for box in (BOX, (30.0, 6.0, 32.0, 12.0)):  # on the nose; on the forehead, by the border points
        expected = MESH.transfer(corners(box), MESH.landmarks, landmarks)
        np.testing.assert_allclose(warp_vertices(box, landmarks, mesh=MESH), expected, atol=1e-9)
    boxes = draw_rectangles(np.random.default_rng(2), 5, MESH, kind="GauD")
    expected = MESH.transfer(corners(boxes), MESH.landmarks, landmarks)
    np.testing.assert_allclose(warp_vertices(boxes, landmarks, mesh=MESH), expected, atol=1e-9)


def test_batch_equals_loop():
    landmarks, batch = faces(4), images(4)
    boxes = draw_rectangles(np.random.default_rng(5), 4, MESH)
    covered, masks = occlude(batch, landmarks, boxes, mesh=MESH)
    for n in range(4):
        one, mask = occlude(batch[n : n + 1], landmarks[n : n + 1], boxes[n], mesh=MESH)
        assert torch.equal(one[0], covered[n])
        assert torch.equal(mask[0], masks[n])
    empty, none = occlude(batch[:0], landmarks[:0], BOX, mesh=MESH)
    assert empty.shape == (0, 3, 96, 96)
    assert none.shape == (0, 96, 96)


def test_half_size_images_show_the_same_place():
    landmarks = faces(3)
    whole = warp_vertices(BOX, landmarks, mesh=MESH)
    half = warp_vertices(BOX, landmarks / 2, mesh=MESH, size=48)
    np.testing.assert_allclose(half, whole / 2, atol=1e-9)
    masks = occlude(images(3, 48), landmarks / 2, BOX, mesh=MESH)[1]
    assert masks.shape == (3, 48, 48)
    np.testing.assert_allclose(masks.sum(dim=(1, 2)), 96, rtol=0.25)


def test_polygon_fill_matches_the_loop():
    rng = np.random.default_rng(6)
    polygons = rng.uniform(-3, 19, (6, 4, 2))  # some cross themselves, some leave the image
    polygons[0] = [[2, 3], [10, 3], [10, 9], [2, 9]]
    polygons[1] = [[2.5, 3.5], [10.5, 3.5], [10.5, 9.5], [2.5, 9.5]]  # edges through pixel centres
    masks = fill_polygon(torch.tensor(polygons), 14, 17)
    for mask, polygon in zip(masks.numpy(), polygons, strict=True):
        np.testing.assert_array_equal(mask, fill_loop(polygon, 14, 17))
    assert masks[0].sum() == masks[1].sum() == 48
    with pytest.raises(ValueError, match=r"\(N, V, 2\)"):
        fill_polygon(torch.zeros(4, 2), 5, 5)


def test_images_are_not_modified_and_the_rest_is_kept():
    batch = images(3)
    before = batch.clone()
    covered, masks = occlude(batch, faces(3), BOX, mesh=MESH)
    assert torch.equal(batch, before)
    assert masks.dtype == torch.bool
    shown = ~masks[:, None].expand_as(batch)
    assert torch.equal(covered[shown], batch[shown])
    assert (covered[~shown] == -1).all()


def test_noise_is_repeatable_bounded_and_as_documented():
    batch, landmarks = images(8), faces(8)
    covered, masks = occlude(batch, landmarks, BOX, mesh=MESH, fill="noise", generator=generator())
    again, _ = occlude(batch, landmarks, BOX, mesh=MESH, fill="noise", generator=generator())
    other, _ = occlude(batch, landmarks, BOX, mesh=MESH, fill="noise", generator=generator(1))
    assert torch.equal(covered, again)
    assert not torch.equal(covered, other)
    values = covered[masks[:, None].expand_as(batch)]
    assert values.abs().max() <= 1
    assert abs(values.mean()) < 0.02
    assert abs(values.std() - 0.48) < 0.02  # 0.5 less what clipping at 2 sigma takes
    with pytest.raises(ValueError, match="needs a generator"):
        occlude(batch, landmarks, BOX, mesh=MESH, fill="noise")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("fill", ["black", "noise"])
def test_type_and_device_are_kept(dtype, fill):
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    reference = occlude(images(2), faces(2), BOX, mesh=MESH)[1]
    for device in devices:
        batch = images(2).to(device, dtype)
        covered, masks = occlude(
            batch, faces(2).to(device), BOX, mesh=MESH, fill=fill, generator=generator()
        )
        assert covered.dtype == dtype
        assert covered.device == masks.device == batch.device
        assert torch.equal(masks.cpu(), reference)


def test_numpy_landmarks_and_default_mesh():
    expected = occlude(images(2), faces(2), BOX, mesh=MESH)
    got = occlude(images(2), faces(2).numpy(), list(BOX))
    assert all(torch.equal(a, b) for a, b in zip(expected, got, strict=True))


def test_gradient_flows_through_what_is_shown():
    batch = images(1, dtype=torch.float64).requires_grad_()
    covered, masks = occlude(batch, faces(1), BOX, mesh=MESH)
    covered.sum().backward()
    assert torch.equal(batch.grad[0, 0], (~masks[0]).to(batch.dtype))


def test_fixed_boxes_lie_in_the_frame_on_their_part():
    assert all(box[2:] == (32, 12) for box in FIXED_BOXES.values())
    parts = {"right_eye": slice(36, 42), "left_eye": slice(42, 48), "mouth": slice(48, 68)}
    for name, part in parts.items():
        x, y, width, height = FIXED_BOXES[name]
        centre = MESH.landmarks[part].mean(axis=0)
        assert x < centre[0] < x + width
        assert abs(centre[1] - (y + height / 2)) < 15
    for box in FIXED_BOXES.values():
        warp_vertices(box, faces(1), mesh=MESH)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"images": torch.zeros(2, 3, 96, 96, dtype=torch.uint8)}, TypeError, "uint8"),
        ({"images": np.zeros((2, 3, 96, 96))}, TypeError, "floating tensor"),
        ({"images": torch.zeros(2, 3, 96, 80)}, ValueError, "square"),
        ({"images": torch.zeros(3, 96, 96)}, ValueError, r"\(N, C, H, H\)"),
        (
            {"images": torch.zeros(3, 3, 96, 96)},
            ValueError,
            r"images \(3, 3, 96, 96\) and landmarks of 2",
        ),
        ({"images": torch.zeros(2, 3, 24, 24)}, ValueError, "frame of the image"),
        ({"landmarks": torch.zeros(2, 5, 2)}, ValueError, "68, 2"),
        ({"landmarks": faces(2) * float("nan")}, ValueError, "NaN"),
        ({"rectangle": (80, 40, 32, 12)}, ValueError, "leaves the 96-pixel"),
        ({"rectangle": (30, 40, 32, 0)}, ValueError, "positive"),
        ({"rectangle": (30, 40, 32)}, ValueError, "rectangle"),
        ({"rectangle": np.tile(BOX, (3, 1))}, ValueError, "one per face"),
        ({"rectangle": (np.nan, 40, 32, 12)}, ValueError, "finite"),
        ({"fill": "grey"}, ValueError, '"black" or "noise"'),
    ],
)
def test_bad_input_is_named(changes, error, message):
    given = {"images": images(2), "landmarks": faces(2), "rectangle": BOX, "mesh": MESH}
    with pytest.raises(error, match=message):
        occlude(**(given | changes))
