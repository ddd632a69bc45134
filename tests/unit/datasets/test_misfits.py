"""Landmarks and pixels that do not belong together are refused, listed or warned of."""

import csv

import numpy as np
import pytest
from conftest import write_people
from PIL import Image

from ifr.common.errors import UserError
from ifr.datasets import load_set
from ifr.datasets.check import check, doubts
from ifr.datasets.prepare import prepare
from ifr.datasets.readers.folder import read_folder
from ifr.datasets.readers.landmark_files import GivenLandmarks
from ifr.landmarks import MIRROR, five_points

LINE = np.stack([np.linspace(90, 150, 68), np.linspace(80, 140, 68)], axis=1)
WRONG = {
    "left and right renumbered": lambda points: points[..., MIRROR, :],
    "x and y swapped": lambda points: points[..., ::-1],
    "on a line": lambda points: np.broadcast_to(LINE, points.shape),
    "in another order": lambda points: points[..., np.r_[20:68, :20], :],
    "of the mirrored image": lambda points: np.abs([250, 0] - points),
}


def aligned(root, folder, points, **options):
    """Prepare a folder of photographs by points of each."""
    given = GivenLandmarks(np.array(points, np.float32), (), "points.npz")
    how = dict(name="p", landmarks=given, workers=1, progress=False) | options
    return prepare(read_folder(root), folder, **how)


def five_of(points):
    return five_points(np.asarray(points))


@pytest.mark.parametrize("count", [68, 5])
@pytest.mark.parametrize("kind", WRONG)
def test_a_set_whose_landmarks_fit_no_face_is_refused(wide_people, tmp_path, kind, count):
    root, _, points, _, _ = wide_people
    points = WRONG[kind](points)
    points = points if count == 68 else five_of(points)
    with pytest.raises(UserError, match=r"points\.npz: landmarks that do not fit a face, in 18"):
        aligned(root, tmp_path / "o", points)
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("kind", WRONG)
def test_single_misfits_are_left_out_and_listed(wide_people, tmp_path, kind):
    root, files, points, _, _ = wide_people
    points[[3, 8]] = WRONG[kind](points[[3, 8]])
    done = aligned(root, tmp_path, points)
    assert done.kept == 16 and done.missed == {"landmarks that do not fit a face": 2}
    with open(done.folder / "missed.csv", encoding="utf-8") as file:
        assert [row["file"] for row in csv.DictReader(file)] == [files[3], files[8]]


def test_five_points_align_as_the_68_they_come_from(wide_people, tmp_path):
    root, _, points, _, _ = wide_people
    by_all, by_five = (
        load_set(aligned(root, tmp_path, given).folder) for given in (points, five_of(points))
    )
    assert np.abs(np.asarray(by_all.images).astype(int) - by_five.images).max() <= 1
    assert by_five.landmarks is None and "five_points" not in by_five.attributes
    with pytest.raises(UserError, match="no 68 landmarks to align by"):
        aligned(root, tmp_path, five_of(points), method="all")
    with pytest.raises(UserError, match="leave it out, or the five that are given"):
        aligned(root, tmp_path, five_of(points), detect=True)


def turn(root, files, orientation, quarter):
    """Store images as a camera held sideways does: turned, and with the turn back in EXIF."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    for file in files:
        image = Image.open(root / file).convert("RGB")
        image.transpose(quarter).save(root / file, exif=exif, quality=95)


def test_points_are_of_the_image_as_its_exif_orientation_turns_it(wide_people, tmp_path):
    root, files, points, _, _ = wide_people
    before = load_set(aligned(root, tmp_path, points).folder)
    turn(root, files, 6, Image.Transpose.ROTATE_90)
    after = load_set(aligned(root, tmp_path, points).folder)
    assert np.abs(np.asarray(after.images).astype(int) - before.images).mean() < 3
    stored = np.stack([points[..., 1], 250 - points[..., 0]], axis=-1)
    with pytest.raises(UserError, match=r"before its EXIF turn, in 18 .* as viewers show"):
        aligned(root, tmp_path / "stored", stored)
    with pytest.raises(UserError, match="before its EXIF turn"):
        aligned(root, tmp_path / "stored", five_of(stored))


@pytest.mark.parametrize(("orientation", "turns"), [(6, 1), (8, 3), (3, 2)])
def test_a_few_turned_images_with_points_as_stored_are_listed(
    wide_people, tmp_path, orientation, turns
):
    root, files, points, _, _ = wide_people
    turn(root, files[:2], orientation, getattr(Image.Transpose, f"ROTATE_{90 * turns}"))
    for _ in range(turns):
        points[:2] = np.stack([points[:2, :, 1], 250 - points[:2, :, 0]], axis=-1)
    done = aligned(root, tmp_path, points)
    assert done.missed == {"landmarks of the image before its EXIF turn": 2}


def test_a_face_that_lies_on_its_side_is_kept_and_one_upside_down_is_not(wide_people, tmp_path):
    root, files, points, _, _ = wide_people
    for k, turns in enumerate((1, 2)):
        for _ in range(turns):
            points[k] = np.stack([points[k, :, 1], 250 - points[k, :, 0]], axis=-1)
        image = Image.open(root / files[k])
        image.transpose(getattr(Image.Transpose, f"ROTATE_{90 * turns}")).save(root / files[k])
    done = aligned(root, tmp_path, points)
    assert done.kept == 17 and done.missed == {"landmarks with the eyes below the mouth": 1}


def test_a_face_that_the_image_hardly_shows_is_left_out(wide_people, tmp_path):
    root, _, points, _, _ = wide_people
    # Its middle is just inside; left and above there is nothing.
    points[4] -= points[4].mean(axis=0) - [4, 2]
    done = aligned(root, tmp_path, points)
    assert done.missed == {"landmarks outside the image": 1}


def test_ijb_points_are_looked_at_as_well(smoke_sets, tmp_path):
    from dataclasses import replace

    faces = smoke_sets["validation"][:8]
    write_people(tmp_path / "people", faces, ["a", "b"])
    index = read_folder(tmp_path / "people")
    three = five_of(faces.landmarks)
    three[:, 3:] = np.nan  # as IJB-A, which has no mouth corners
    few = three.copy()
    few[1, 1:] = np.nan

    def prepared(points):
        known = index.faces.attributes | {"five_points": points.astype(np.float32)}
        some = replace(index, faces=replace(index.faces, attributes=known))
        return prepare(some, tmp_path / "o", name="ijb", workers=1, progress=False)

    assert prepared(three).kept == 8
    done = prepared(few)
    assert done.kept == 7 and done.missed == {"fewer than two landmarks known": 1}
    with pytest.raises(UserError, match="the points of ijb: "):
        prepared(three[:, [1, 0, 2, 3, 4]])
    with pytest.raises(UserError, match="the points of ijb: "):
        prepared(three[..., ::-1])


# ---- pixels


def test_swapped_colours_are_warned_of(smoke_sets, tmp_path):
    faces = smoke_sets["validation"][:12]
    assert doubts(faces.images) == []
    (doubt,) = doubts(np.asarray(faces.images)[..., ::-1])
    assert "100% of the faces are bluer than red" in doubt
    write_people(tmp_path / "people", faces, ["a", "b", "c"])
    assert check("folder", tmp_path / "people", progress=False).issues == ()
    for file in (tmp_path / "people").rglob("*.jpg"):
        swapped = np.asarray(Image.open(file))[..., ::-1]
        Image.fromarray(np.ascontiguousarray(swapped)).save(file)
    (issue,) = check("folder", tmp_path / "people", progress=False).issues
    assert issue.kind == "colour order" and "red and blue may be swapped" in issue.impact


def test_grey_faces_are_not_taken_for_blue_ones(smoke_sets):
    grey = np.asarray(smoke_sets["validation"].images[:12]).mean(axis=-1, keepdims=True)
    assert doubts(np.repeat(grey, 3, axis=-1).astype(np.uint8)) == []


@pytest.mark.parametrize(
    "wrong",
    [
        lambda points: points * 0.5,  # of a smaller copy
        lambda points: points * 0.7,
        lambda points: [250, 0] - points[:, MIRROR] * [1, -1],  # of the mirrored image, renumbered
        lambda points: points + [0, 12],
    ],
)
def test_points_of_other_images_are_warned_of(wide_people, tmp_path, wrong):
    root, _, points, _, _ = wide_people
    assert aligned(root, tmp_path, points).doubts == []
    assert any(
        "no darker than the skin" in d for d in aligned(root, tmp_path, wrong(points)).doubts
    )


def test_images_called_aligned_that_are_not_are_warned_of(smoke_sets, tmp_path):
    faces = smoke_sets["validation"]
    moved = np.roll(np.asarray(faces.images), (25, 10), axis=(1, 2))
    for name, images in (("right", faces.images), ("moved", moved)):
        for k, image in enumerate(images):
            (tmp_path / name / f"{faces.identity[k]}").mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(tmp_path / name / f"{faces.identity[k]}" / f"{k}.png")
    how = dict(name="p", method="none", workers=1, progress=False)
    right, wrong = (prepare(read_folder(tmp_path / n), tmp_path, **how) for n in ("right", "moved"))
    assert right.doubts == [] and "may not be aligned" in wrong.doubts[-1]
