import pytest
import torch

from ifr.models.inputs import (
    center_crop,
    center_crop_points,
    flip,
    offset_range,
    to_network,
    to_network_points,
)


def faces(count=3):
    return torch.randint(
        0, 256, (count, 112, 112, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def test_batch_equals_a_plain_loop():
    images, offsets = faces(), torch.tensor([[0, 16], [8, 8], [16, 3]])
    result = to_network(images, offsets, 96)
    for image, (x, y), found in zip(images, offsets.tolist(), result, strict=True):
        crop = image[y : y + 96, x : x + 96].permute(2, 0, 1) / 127.5 - 1
        torch.testing.assert_close(found, crop)


def test_half_size_is_the_mean_of_four_pixels():
    images, offsets = faces(), torch.full((3, 2), 8)
    whole, half = to_network(images, offsets, 96), to_network(images, offsets, 48)
    torch.testing.assert_close(half[:, :, 5, 7], whole[:, :, 10:12, 14:16].mean((2, 3)))
    assert half.min() >= -1 and half.max() <= 1


def test_points_move_with_the_pixels():
    image = torch.zeros(1, 112, 112, 3, dtype=torch.uint8)
    image[0, 40, 60] = 255  # its centre is the point (60.5, 40.5)
    offsets = torch.tensor([[10, 4]])
    at = to_network_points(torch.tensor([[[60.5, 40.5]]]), offsets, 48)[0, 0]
    shown = to_network(image, offsets, 48)[0, 0]
    assert shown[int(at[1]), int(at[0])] > -1 and (shown > -1).sum() == 1


def test_bad_input_is_refused():
    good, offsets = faces(1), torch.full((1, 2), 8)
    with pytest.raises(TypeError, match="uint8"):
        to_network(good.float(), offsets)
    with pytest.raises(ValueError, match="aligned faces"):
        to_network(good[:, :100], offsets)
    with pytest.raises(ValueError, match="size must be 112 or divide 96"):
        to_network(good, offsets, 50)


def test_size_112_takes_the_whole_face_and_no_offset():
    images, none = faces(2), torch.zeros(2, 2, dtype=torch.long)
    whole = to_network(images, none, 112)
    assert torch.allclose(whole, images.permute(0, 3, 1, 2).float() / 127.5 - 1, atol=1e-6)
    points = torch.rand(2, 68, 2) * 112
    assert torch.equal(to_network_points(points, none, 112), points)


def test_offsets_by_size():
    assert [offset_range(size) for size in (24, 48, 96, 112)] == [17, 17, 17, 1]


def test_flipping_mirrors_pixels_and_renumbers_landmarks():
    torch.manual_seed(0)
    images, points = torch.randn(3, 3, 48, 48), 48 * torch.rand(3, 68, 2)
    chosen = torch.tensor([True, False, True])
    flipped, moved = flip(images, points, chosen)
    assert torch.equal(flipped[1], images[1]) and torch.equal(moved[1], points[1])
    assert torch.equal(flipped[0], images[0].flip(2))
    # The first point of the jaw is on the other side now; the tip of the nose is itself.
    x, y = points[0, 16].tolist()
    assert moved[0, 0].tolist() == pytest.approx([48 - x, y])
    assert moved[2, 30, 0].item() == pytest.approx(48 - points[2, 30, 0].item())
    again = flip(flipped, moved, chosen)
    assert torch.equal(again[0], images) and torch.allclose(again[1], points, atol=1e-5)
    assert flip(images, None, chosen)[1] is None


@pytest.mark.parametrize("size", [48, 96, 112])
def test_the_centre_crop_of_an_array_is_that_of_its_tensor_and_takes_the_points_along(size):
    images, points = faces(2), torch.rand(2, 68, 2) * 112
    offsets = torch.full((2, 2), offset_range(size) // 2)
    expected = to_network(images, offsets, size)
    stored = images.numpy()
    stored.setflags(write=False)  # as sets are read from their files
    assert torch.equal(center_crop(stored, size), expected)
    assert torch.equal(center_crop(images, size), expected)
    moved = center_crop_points(points.numpy(), size)
    assert torch.equal(moved, to_network_points(points, offsets, size))
    assert moved.dtype == points.dtype
