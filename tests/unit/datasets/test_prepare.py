"""Alignment, landmark files and prepared sets: where pixels go, what resumes, what is refused."""

import csv
import errno
import io
import json
import os
import signal

import cv2
import numpy as np
import pandas as pd
import pytest
from conftest import write_people
from PIL import Image

from ifr.common.errors import Stopped
from ifr.datasets import FaceSet, blocks, load_set
from ifr.datasets import prepare as module
from ifr.datasets.align import alignment, five_point_alignment, warp_face
from ifr.datasets.detect import Detector
from ifr.datasets.prepare import prepare
from ifr.datasets.readers.folder import read_folder
from ifr.datasets.readers.images import Files, LazyImages
from ifr.datasets.readers.landmark_files import COLUMNS, GivenLandmarks, read_landmarks, read_pts
from ifr.landmarks import ARCFACE_TEMPLATE, apply_similarity, five_points

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
    frontal = np.load(module.align.ASSETS / "frontal68.npy")
    every = apply_similarity(alignment(moved, "all"), moved)
    gaps = [np.square(points - frontal).sum() for points in (every, five)]
    assert gaps[0] <= gaps[1]
    partial = np.array(ARCFACE_TEMPLATE) * 2 + 7
    partial[3:] = np.nan
    matrix = five_point_alignment(partial)
    assert np.allclose(apply_similarity(matrix, partial[:3]), ARCFACE_TEMPLATE[:3])
    partial[1:] = np.nan
    with pytest.raises(ValueError, match="two of the five points, 1 are known"):
        five_point_alignment(partial)
    with pytest.raises(ValueError, match="method must be five or all, got 'six'"):
        alignment(landmarks, "six")


# ---- landmark files


@pytest.fixture
def people(smoke_sets, tmp_path):
    """Faces pasted into 250-pixel pictures, as LFW's are, with the landmarks there."""
    faces = smoke_sets["validation"]
    faces = faces[faces.identity < 3]
    root = tmp_path / "some people"
    files = write_people(root, faces, ["Ana", "Björn", "Cy D"])
    points = []
    for k, file in enumerate(files):
        wide = np.full((250, 250, 3), 90, np.uint8)
        x, y = 60 + k, 70 - k
        wide[y : y + 112, x : x + 112] = np.asarray(faces.images[k])
        Image.fromarray(wide).save(root / file, quality=95)
        points.append(np.asarray(faces.landmarks[k]) + [x, y])
    order = np.argsort(files)
    files, points = [files[k] for k in order], np.array(points, np.float32)[order]
    return root, files, points, np.asarray(faces.images)[order], np.asarray(faces.landmarks)[order]


def write_npz(path, names, points):
    np.savez(path, names=names, landmarks=points)
    return path


def write_csv(path, names, points):
    table = pd.DataFrame(points.reshape(len(points), -1), columns=COLUMNS)
    table.insert(0, "file", names)
    table.to_csv(path, index=False)
    return path


def write_pts(root, names, points):
    for name, one in zip(names, points, strict=True):
        path = (root / name).with_suffix(".pts")
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = "\n".join(f"{x + 0.5:.4f} {y + 0.5:.4f}" for x, y in one)
        path.write_text(f"version: 1\nn_points: 68\n{{\n{lines}\n}}\n")
    return root


def test_the_three_forms_of_landmarks_agree(people, tmp_path):
    root, files, points, _, _ = people
    faces = read_folder(root).faces
    shuffled = np.random.default_rng(0).permutation(len(files))
    names = [files[k] for k in shuffled]
    for given in (
        read_landmarks(write_npz(tmp_path / "l.npz", names, points[shuffled]), faces),
        read_landmarks(write_csv(tmp_path / "l.csv", names, points[shuffled]), faces),
        read_landmarks(write_pts(tmp_path / "pts", files, points), faces),
        read_landmarks(write_npz(tmp_path / "s.npz", [n[:-4] for n in files], points), faces),
    ):
        assert np.allclose(given.points, points, atol=1e-3) and given.unmatched == ()


def test_names_that_match_nothing_are_told(people, tmp_path):
    root, files, points, _, _ = people
    faces = read_folder(root).faces
    names = [*files[:4], "nobody/none.jpg"]
    given = read_landmarks(write_npz(tmp_path / "l.npz", names, points[:5]), faces)
    assert given.unmatched == ("nobody/none.jpg",)
    assert np.isnan(given.points[4:]).all() and not np.isnan(given.points[:4]).any()


def test_only_the_suffix_of_an_image_is_left_out_of_a_name(tmp_path):
    files = ["a/J.R._X_0001.jpg", "a/J.R._X_0002.jpg", "a/y.png", "a/y.jpg", "a/z.png"]
    faces = FaceSet(
        "s",
        LazyImages(Files(tmp_path, files)),
        np.zeros(5, np.int64),
        None,
        {"file": np.array(files)},
    )
    points = np.arange(4, dtype=np.float32)[:, None, None] + np.ones((4, 68, 2), np.float32)
    found = read_landmarks(
        write_npz(tmp_path / "l.npz", ["a/J.R._X_0002", "a/J.R._X_0001", "a/y.jpg", "a/q"], points),
        faces,
    )
    # The landmarks of y.jpg are not those of y.png, which has none.
    assert np.array_equal(found.points[:, 0, 0], [2, 1, np.nan, 3, np.nan], equal_nan=True)
    assert found.unmatched == ("a/q",)
    two = write_npz(tmp_path / "two.npz", ["a/z.jpg", "a/z.bmp", "a/y.jpg"], points[:3])
    found = read_landmarks(two, faces)
    assert np.isnan(found.points[4]).all() and found.unmatched == ("a/z.jpg", "a/z.bmp")


def test_wrong_landmark_files_are_refused(people, tmp_path):
    root, files, points, _, _ = people
    faces = read_folder(root).faces

    def refused(path, match, error=ValueError):
        with pytest.raises(error, match=match):
            read_landmarks(path, faces)

    table = write_csv(tmp_path / "l.csv", files, points)
    pd.read_csv(table).drop(columns="y17").to_csv(table, index=False)
    refused(table, r"l\.csv lacks 1 columns, first y17: expected file, x0, y0")
    npz = tmp_path / "l.npz"
    np.savez(npz, names=files, points=points)
    refused(npz, r"l\.npz lacks landmarks: expected names \(M,\) and landmarks \(M, 68, 2\), found")
    refused(write_npz(npz, files, points[:, :5]), r"must be .* got \(18,\) and \(18, 5, 2\)")
    refused(write_npz(npz, [files[0]] * 18, points), "17 names come twice, first Ana")
    broken = points.copy()
    broken[2, 3, 1] = np.inf
    refused(
        write_npz(npz, files, broken), "landmarks of 1 images are not finite, first Ana/Ana_0003"
    )
    refused(write_npz(npz, ["x.jpg"] * 1, points[:1]), "none of its 1 names, .* is an image")
    npz.write_bytes(b"nothing")
    refused(npz, r"l\.npz: cannot be read \(it is no \.npz archive")
    np.savez(npz, names=np.array(files, object), landmarks=points)
    refused(npz, r"l\.npz: names is an array of Python objects.*dtype=str")
    refused(tmp_path / "absent.npz", "absent.npz is not there", FileNotFoundError)
    (tmp_path / "x.txt").write_text("x")
    refused(tmp_path / "x.txt", r"x\.txt: expected \.npz, \.csv")
    bad = tmp_path / "bad.pts"
    for text, match in (
        ("n_points: 2\n{\n1 2\n3 4\n}", "expected 68 points 'x y', got 2"),
        ("hello", "expected 68 lines"),
        ("{ a b }", "is no number"),
    ):
        bad.write_text(text)
        with pytest.raises(ValueError, match=rf"bad\.pts: .*{match}"):
            read_pts(bad)


# ---- prepare


def given(points):
    return GivenLandmarks(points, (), "landmarks.npz")


def test_a_prepared_set_holds_aligned_faces_and_landmarks(people, tmp_path):
    root, files, points, images, landmarks = people
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


def test_bytes_do_not_depend_on_workers_blocks_or_interruptions(people, tmp_path, monkeypatch):
    root, _, points, _, _ = people
    monkeypatch.setattr(module, "BLOCK", 4)
    reading = read_folder(root)
    one = prepare(
        reading, tmp_path / "a", name="p", landmarks=given(points), workers=1, progress=False
    ).folder
    real, calls = blocks._align_block, []

    def stops(job, block):
        calls.append(block)
        if len(calls) in (3, 5):
            raise KeyboardInterrupt
        return real(job, block)

    monkeypatch.setattr(blocks, "_align_block", stops)
    with pytest.raises(
        Stopped, match="stopped aligning 'p': 8 of 18 images are kept; run the same"
    ):
        prepare(
            reading, tmp_path / "b", name="p", landmarks=given(points), workers=1, progress=False
        )
    assert not (tmp_path / "b" / one.name).exists()
    journal = tmp_path / "b" / f"{one.name}.partial" / "done.jsonl"
    with open(journal, "a") as file:
        file.write('[2, {"1')  # a line that a kill cut short
    with pytest.raises(Stopped, match="12 of 18 images are kept"):
        prepare(
            reading, tmp_path / "b", name="p", landmarks=given(points), workers=1, progress=False
        )
    two = prepare(
        reading, tmp_path / "b", name="p", landmarks=given(points), workers=1, progress=False
    ).folder
    assert calls[3:] == [2, 3, 3, 4]
    for path in one.iterdir():
        assert (two / path.name).read_bytes() == path.read_bytes(), path.name
    assert sorted(p.name for p in two.iterdir()) == sorted(p.name for p in one.iterdir())


@pytest.mark.parametrize("missing", [0, 1])
@pytest.mark.parametrize("step", ["save", "write_record", "replace", "unlink"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_stop_while_files_are_written_loses_nothing(
    people, tmp_path, monkeypatch, error, step, missing
):
    root, _, points, _, _ = people
    points = points.copy()
    points[:missing] = np.nan
    reading = read_folder(root)

    def run(out):
        return prepare(
            reading, tmp_path / out, name="p", landmarks=given(points), workers=1, progress=False
        ).folder

    expected = run("a")
    place = {"save": np, "write_record": module, "replace": module.os, "unlink": type(tmp_path)}[
        step
    ]
    real, calls = getattr(place, step), []

    def stops(*arguments, **options):
        calls.append(expected.name in str(arguments[0]))
        if calls[-1] and sum(calls) == nth:
            raise error(errno.ENOSPC, "No space left on device")
        return real(*arguments, **options)

    for nth in (1, 2, 3):
        calls.clear()
        out = f"b{nth}"
        with monkeypatch.context() as patch:
            patch.setattr(place, step, stops)
            try:
                run(out)
            except (Stopped, OSError) as stopped:
                if isinstance(stopped, Stopped):
                    assert "stopped writing 'p': all 18 images are aligned" in str(stopped)
                assert calls
        with monkeypatch.context() as patch:
            patch.setattr(blocks, "_align_block", None)  # nothing is aligned again
            found = run(out)
        names = {path.name for path in found.iterdir()} - {module.COMPLETE}
        assert names == {path.name for path in expected.iterdir()}
        for name in names:
            assert (found / name).read_bytes() == (expected / name).read_bytes(), name


def test_a_full_disk_is_told_before_the_work(people, tmp_path, monkeypatch):
    root, _, points, _, _ = people

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    def run():
        return prepare(
            read_folder(root),
            tmp_path / "o",
            name="p",
            landmarks=given(points),
            workers=1,
            progress=False,
        )

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "posix_fallocate", full, raising=False)
        with pytest.raises(OSError, match=r"No space left on device: 0\.00068 GB are needed"):
            run()
    assert not [path for path in (tmp_path / "o").iterdir() if path.suffix != ".partial"]
    assert run().kept == 18


def test_attributes_of_python_objects_are_refused_before_the_work(people, tmp_path):
    root, _, points, _, _ = people
    reading = read_folder(root)
    reading.faces.attributes["note"] = np.array(["x"] * 18, dtype=object)
    with pytest.raises(ValueError, match=r"attribute note is of Python objects.*dtype=str"):
        prepare(reading, tmp_path / "o", name="p", landmarks=given(points), progress=False)
    assert not (tmp_path / "o").exists()


def test_two_workers_give_the_bytes_of_one(people, tmp_path, monkeypatch):
    root, _, points, _, _ = people
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


def killed(job):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_worker_is_told_and_the_work_goes_on(people, tmp_path, monkeypatch):
    root, _, points, _, _ = people
    monkeypatch.setattr(module, "BLOCK", 4)
    arguments = dict(name="p", landmarks=given(points), progress=False)
    with monkeypatch.context() as patch:
        patch.setattr(blocks, "_begin", killed)
        with pytest.raises(ChildProcessError, match=r"lack of memory.*--workers"):
            prepare(read_folder(root), tmp_path / "out", workers=2, **arguments)
    whole = prepare(read_folder(root), tmp_path / "out", workers=1, **arguments)
    assert whole.kept == len(points)


def test_images_that_cannot_be_used_are_listed_and_counted(people, tmp_path):
    root, files, points, _, _ = people
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
        "landmarks that coincide or are unknown": 1,
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


def test_every_kind_of_image_file_goes_through(people, tmp_path):
    root, files, points, _, _ = people
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


def test_landmarks_of_another_frame_are_refused_before_the_work(people, tmp_path, photographs_root):
    root, _, points, _, landmarks = people
    reading = read_folder(root)
    match = r"landmarks\.npz: landmarks are of aligned 112-pixel faces, the images have 250 x 250"
    with pytest.raises(ValueError, match=match):
        prepare(reading, tmp_path / "o", name="p", landmarks=given(landmarks), progress=False)
    with pytest.raises(ValueError, match="landmarks lie outside their images in 18 of 18"):
        prepare(reading, tmp_path / "o", name="p", landmarks=given(points * 4), progress=False)
    aligned = read_folder(photographs_root / "people112")
    far = np.repeat(points[:1], len(aligned.faces), axis=0) - 60
    far[..., 1] += 20
    with pytest.raises(ValueError, match="pixels from ArcFace's template: these images are not"):
        prepare(
            aligned, tmp_path / "o", name="p", landmarks=given(far), method="none", progress=False
        )
    assert not (tmp_path / "o").exists()


def test_without_landmarks_the_options_are_named(people, tmp_path):
    root = people[0]
    with pytest.raises(
        ValueError, match=r"no landmarks to align by: give them \(--landmarks\), let"
    ):
        prepare(read_folder(root), tmp_path, name="p", progress=False)
    with pytest.raises(ValueError, match="method must be one of five, all, none, got 'some'"):
        prepare(read_folder(root), tmp_path, name="p", method="some", progress=False)
    with pytest.raises(ValueError, match=r"none of the 18 images can be used \(not 112 x 112"):
        prepare(read_folder(root), tmp_path, name="p", method="none", workers=1, progress=False)


def test_the_fingerprint_follows_what_decides_the_content(people, tmp_path):
    root, files, points, _, _ = people

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


def test_undetected_faces_are_listed(people, tmp_path):
    pytest.importorskip("dlib")
    root, files, _, _, _ = people
    Image.new("RGB", (250, 250)).save(root / files[0])
    done = prepare(read_folder(root), tmp_path, name="p", detect=True, workers=1, progress=False)
    assert done.missed["no face found"] >= 1 and done.kept + sum(done.missed.values()) == 18
    with open(done.folder / "missed.csv", encoding="utf-8") as file:
        assert files[0] in {row["file"] for row in csv.DictReader(file)}


def test_a_missing_extra_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(ValueError, match=r"pip install 'ifr\[landmarks\]'"):
        Detector()
