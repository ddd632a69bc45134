"""Alignment, landmark files and prepared sets: where pixels go, what resumes, what is refused."""

import csv
import io
import json

import cv2
import numpy as np
import pytest
from PIL import Image

from ifr.common.errors import Stopped, UserError
from ifr.common.paths import ASSETS
from ifr.datasets import load_set
from ifr.datasets import prepare as module
from ifr.datasets.align import Detector, warp_face
from ifr.datasets.prepare import prepare
from ifr.datasets.readers.folder import read_folder
from ifr.datasets.readers.landmark_files import GivenLandmarks, read_landmarks
from ifr.landmarks import (
    ARCFACE_TEMPLATE,
    alignment,
    apply_similarity,
    five_point_alignment,
    five_points,
)

# ---- alignment


def ramp(height, width, across, down):
    """An image whose value at the continuous point (x, y) is across * x + down * y."""
    y, x = np.mgrid[:height, :width] + 0.5
    return np.repeat((across * x + down * y)[..., None], 3, axis=2).round().astype(np.uint8)


@pytest.mark.parametrize("scale", [1.6, 1.0, 0.7, 0.31])
def test_pixels_go_where_the_similarity_says(scale):
    angle = 0.2
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = np.array([200.0, 190.0])
    matrix = np.column_stack([linear, [56, 56] - linear @ centre])
    image = ramp(400, 400, 0.3, 0.25)
    found = warp_face(image, matrix)[..., 0].astype(float)
    places = np.array([[20.5, 30.5], [56.5, 56.5], [90.5, 70.5], [40.5, 88.5]])
    back = (places - matrix[:, 2]) @ np.linalg.inv(linear).T
    inside = ((back > 2) & (back < 398)).all(axis=1)
    assert inside.sum() >= 2
    for (x, y), (u, v) in zip(places[inside], back[inside], strict=True):
        assert abs(found[int(y), int(x)] - (0.3 * u + 0.25 * v)) < 1.0


def test_five_and_all_points_meet_their_templates(smoke_sets):
    landmarks = np.asarray(smoke_sets["train"].landmarks[3], np.float64)
    moved = apply_similarity(np.array([[1.9, -0.4, 30], [0.4, 1.9, -12.0]]), landmarks)
    five = apply_similarity(alignment(moved, "five"), moved)
    assert np.linalg.norm(five_points(five) - ARCFACE_TEMPLATE, axis=-1).mean() < 5
    frontal = np.load(ASSETS / "frontal68.npy")
    every = apply_similarity(alignment(moved, "all"), moved)
    gaps = [np.square(points - frontal).sum() for points in (every, five)]
    assert gaps[0] <= gaps[1]
    partial = np.array(ARCFACE_TEMPLATE) * 2 + 7
    partial[3:] = np.nan
    matrix = five_point_alignment(partial)
    assert np.allclose(apply_similarity(matrix, partial[:3]), ARCFACE_TEMPLATE[:3])
    partial[1:] = np.nan
    with pytest.raises(UserError, match="two of the five points, 1 are known"):
        five_point_alignment(partial)
    with pytest.raises(UserError, match="method must be five or all, got 'six'"):
        alignment(landmarks, "six")


# ---- prepare


def given(points):
    return GivenLandmarks(points, (), "landmarks.npz")


def test_a_prepared_set_holds_aligned_faces_and_landmarks(wide_people, tmp_path):
    root, files, points, images, landmarks = wide_people
    done = prepare(
        read_folder(root),
        tmp_path / "out",
        name="people",
        landmarks=given(points),
        workers=1,
        progress=False,
    )
    faces = load_set(done.folder)
    assert done.kept == 18 and done.missed == {} and len(faces) == 18
    assert faces.attributes["file"].tolist() == files
    assert set(faces.attributes["subject"]) == {"Ana", "Björn", "Cy D"}
    # The pasted faces were aligned already but for what the renderer's own alignment leaves.
    again = apply_similarity(alignment(landmarks[4]), landmarks[4])
    assert np.allclose(faces.landmarks[4], again, atol=0.01)
    expected = warp_face(images[4], alignment(landmarks[4]))
    middle = slice(30, 80)
    gap = np.abs(faces.images[4][middle, middle].astype(int) - expected[middle, middle])
    assert gap.mean() < 3


def test_bytes_do_not_depend_on_interruptions(wide_people, tmp_path, monkeypatch):
    root, _, points, _, _ = wide_people
    points = points.copy()
    points[5] = np.nan
    monkeypatch.setattr(module, "BLOCK", 4)
    index, real, calls = read_folder(root), module.align, []

    def run(out):
        options = dict(name="p", landmarks=given(points), workers=1, progress=False)
        return prepare(index, tmp_path / out, **options).folder

    def stops(faces, *settings):
        calls.append(len(faces))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(faces, *settings)

    one = run("a")
    monkeypatch.setattr(module, "align", stops)
    with pytest.raises(Stopped, match="stopped aligning p: 8 of 18 images are kept; run the same"):
        run("b")
    two = run("b")
    assert calls == [4, 4, 4, 4, 4, 2]
    assert sorted(p.name for p in two.iterdir()) == sorted(p.name for p in one.iterdir())
    for path in one.iterdir():
        assert (two / path.name).read_bytes() == path.read_bytes(), path.name


def test_attributes_of_python_objects_are_refused_before_the_work(wide_people, tmp_path):
    root, _, points, _, _ = wide_people
    reading = read_folder(root)
    reading.faces.attributes["note"] = np.array(["x"] * 18, dtype=object)
    with pytest.raises(UserError, match=r"attribute note is of Python objects.*dtype=str"):
        prepare(reading, tmp_path / "o", name="p", landmarks=given(points), progress=False)
    assert not (tmp_path / "o").exists()


def test_two_workers_give_the_bytes_of_one(wide_people, tmp_path, monkeypatch):
    root, _, points, _, _ = wide_people
    monkeypatch.setattr(module, "BLOCK", 4)
    folders = []
    for workers in (1, 2):
        done = prepare(
            read_folder(root),
            tmp_path / str(workers),
            name="p",
            workers=workers,
            landmarks=given(points),
            progress=False,
        )
        folders.append(done.folder)
    assert (folders[0] / "images.npy").read_bytes() == (folders[1] / "images.npy").read_bytes()


def test_images_that_cannot_be_used_are_listed_and_counted(wide_people, tmp_path):
    root, files, points, _, _ = wide_people
    (root / files[2]).write_bytes(b"\xff\xd8\xff broken")
    points = points.copy()
    points[5] = np.nan
    points[7] += 900
    points[9] = 20.0
    done = prepare(
        read_folder(root),
        tmp_path / "out",
        name="p",
        landmarks=given(points),
        workers=1,
        progress=False,
    )
    assert done.kept == 14 and done.missed == {
        "unreadable": 1,
        "no landmarks given": 1,
        "landmarks outside the image": 1,
        "landmarks that coincide": 1,
    }
    with open(done.folder / "missed.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == [files[k] for k in (2, 5, 7, 9)]
    faces = load_set(done.folder)
    assert faces.attributes["file"].tolist() == [
        f for k, f in enumerate(files) if k not in (2, 5, 7, 9)
    ]
    assert len(faces.images) == 14 and len(faces.landmarks) == 14
    assert faces.identity.tolist() == [
        int(s == "Björn") + 2 * int(s == "Cy D") for s in faces.attributes["subject"]
    ]


def test_every_kind_of_image_file_goes_through(wide_people, tmp_path):
    root, files, points, _, _ = wide_people
    reference = prepare(
        read_folder(root),
        tmp_path / "a",
        name="p",
        landmarks=given(points),
        workers=1,
        progress=False,
    ).folder
    expected = np.asarray(load_set(reference).images).astype(int)
    image = Image.open(root / files[0]).convert("RGB")
    buffer = io.BytesIO()
    image.convert("CMYK").save(buffer, "JPEG", quality=95)
    (root / files[0]).write_bytes(buffer.getvalue())
    Image.open(root / files[1]).convert("L").save(root / files[1])
    turned, exif = Image.open(root / files[2]).convert("RGB"), Image.Exif()
    exif[0x0112] = 6
    turned.transpose(Image.Transpose.ROTATE_90).save(root / files[2], exif=exif, quality=95)
    grey = np.asarray(Image.open(root / files[3]).convert("L")).astype(np.uint16) * 257
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "PNG")
    (root / files[3]).write_bytes(buffer.getvalue())
    done = prepare(
        read_folder(root),
        tmp_path / "b",
        name="p",
        landmarks=given(points),
        workers=1,
        progress=False,
    )
    found = np.asarray(load_set(done.folder).images).astype(int)
    luminance = expected @ [0.299, 0.587, 0.114]
    assert np.abs(found[0] - expected[0]).mean() < 6
    assert np.abs(found[1, ..., 0] - luminance[1]).mean() < 3
    assert np.abs(found[2] - expected[2]).mean() < 3
    assert np.abs(found[3, ..., 2] - luminance[3]).mean() < 3
    assert np.array_equal(found[4:], expected[4:])


def test_landmarks_of_another_frame_are_refused_before_the_work(
    wide_people, tmp_path, photographs_root
):
    root, _, points, _, landmarks = wide_people
    reading = read_folder(root)
    match = r"landmarks\.npz: landmarks of aligned 112-pixel faces, the images have 250 x 250"
    with pytest.raises(UserError, match=match):
        prepare(reading, tmp_path / "o", name="p", landmarks=given(landmarks), progress=False)
    with pytest.raises(UserError, match="landmarks outside the image, in 18 of 18"):
        prepare(reading, tmp_path / "o", name="p", landmarks=given(points * 4), progress=False)
    aligned = read_folder(photographs_root / "people112")
    far = np.repeat(points[:1], len(aligned.faces), axis=0) - 60
    far[..., 1] += 20
    with pytest.raises(UserError, match="pixels from ArcFace's template, not aligned"):
        prepare(
            aligned, tmp_path / "o", name="p", landmarks=given(far), method="none", progress=False
        )
    assert not (tmp_path / "o").exists()


def test_without_landmarks_the_options_are_named(wide_people, tmp_path):
    root = wide_people[0]
    with pytest.raises(
        UserError, match=r"no landmarks to align by: give them \(--landmarks\), let"
    ):
        prepare(read_folder(root), tmp_path, name="p", progress=False)
    with pytest.raises(UserError, match="method must be one of five, all, none, got 'some'"):
        prepare(read_folder(root), tmp_path, name="p", method="some", progress=False)
    with pytest.raises(UserError, match=r"none of the 18 images can be used \(not 112 x 112"):
        prepare(read_folder(root), tmp_path, name="p", method="none", workers=1, progress=False)


def test_the_fingerprint_follows_what_decides_the_content(wide_people, tmp_path):
    root, files, points, _, _ = wide_people

    def folder(points=points, **options):
        return prepare(
            read_folder(root),
            tmp_path / "out",
            name="p",
            landmarks=given(points),
            workers=1,
            progress=False,
            **options,
        ).folder

    first = folder()
    assert folder() == first
    assert folder(points + 0.01) != first and folder(method="all") != first
    with open(root / files[0], "ab") as file:
        file.write(b"more")
    assert folder() != first
    record = json.loads((first / "set.json").read_text())
    assert record["shapes"]["images"] == [18, 112, 112, 3]


# ---- detection


def test_detection_agrees_with_given_landmarks(real_faces, tmp_path):
    pytest.importorskip("dlib")
    reading = read_folder(real_faces / "lfw112")
    some = reading.faces[np.arange(0, len(reading.faces), 700)]
    known = read_landmarks(real_faces / "lfw112_landmarks68.npz", some).points
    detector, gaps = Detector(), []
    for k in range(len(some)):
        # A face that fills its picture is found once a border is put around it.
        found = detector.find(some.images[k])
        if found is not None:
            gaps.append(np.linalg.norm(found - known[k], axis=-1).mean())
    assert len(gaps) >= 0.8 * len(some) and np.median(gaps) < 3
    wide = np.pad(some.images[0], ((200, 40), (300, 60), (0, 0)), mode="edge")
    wide = cv2.resize(wide, None, fx=2, fy=2)
    found = detector.find(wide, box=np.array([620.0, 420.0, 180.0, 200.0]))
    assert np.linalg.norm(found / 2 - [300, 200] - known[0], axis=-1).mean() < 4
    assert detector.find(np.full((150, 150, 3), 127, np.uint8)) is None


def test_undetected_faces_are_listed(wide_people, tmp_path):
    pytest.importorskip("dlib")
    root, files, _, _, _ = wide_people
    Image.new("RGB", (250, 250)).save(root / files[0])
    done = prepare(read_folder(root), tmp_path, name="p", detect=True, workers=1, progress=False)
    assert done.missed["no face found"] >= 1 and done.kept + sum(done.missed.values()) == 18
    with open(done.folder / "missed.csv", encoding="utf-8") as file:
        assert files[0] in {row["file"] for row in csv.DictReader(file)}


def test_a_missing_extra_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(UserError, match=r"pip install 'ifr\[landmarks\]'"):
        Detector()
