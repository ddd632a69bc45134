"""Landmarks that come with photographs: three forms that agree, names matched, faults named."""

import numpy as np
import pandas as pd
import pytest

from ifr.common.errors import UserError
from ifr.datasets import FaceSet
from ifr.datasets.readers.folder import read_folder
from ifr.datasets.readers.images import Files
from ifr.datasets.readers.landmark_files import COLUMNS, read_landmarks, read_pts


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


def test_the_three_forms_of_landmarks_agree(wide_people, tmp_path):
    root, files, points, _, _ = wide_people
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


def test_the_three_forms_of_five_points_agree(wide_people, tmp_path):
    root, files, points, _, _ = wide_people
    faces, five = read_folder(root).faces, points[:, :5]
    lines = [f"{x:.4f} {y:.4f}" for x, y in (five + 0.5).reshape(-1, 2)]
    for k, file in enumerate(files):
        path = (tmp_path / "pts" / file).with_suffix(".PTS")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(["n_points: 5", "{", *lines[5 * k : 5 * k + 5], "}"]))
    table = pd.DataFrame(five.reshape(-1, 10), columns=COLUMNS[:10])
    table.insert(0, "file", files)
    table.to_csv(tmp_path / "l.CSV", index=False)
    for place in (write_npz(tmp_path / "l.npz", files, five), tmp_path / "l.CSV", tmp_path / "pts"):
        given = read_landmarks(place, faces)
        assert np.allclose(given.points, five, atol=1e-3) and given.unmatched == ()
    path.write_text(f"{{ {' 1 2' * 68} }}")
    with pytest.raises(UserError, match=r"PTS has 68 points, Ana_0001\.PTS has 5"):
        read_landmarks(tmp_path / "pts", faces)


def test_points_of_two_images_that_differ_in_their_endings_go_to_neither(tmp_path):
    files = np.array(["a/x.jpg", "a/x.png", "a/y.jpg"])
    images = Files(tmp_path, files)
    faces = FaceSet("s", images, np.zeros(3, np.int64), None, {"file": files})
    points = np.ones((2, 68, 2), np.float32)
    write_pts(tmp_path / "pts", ["a/x.jpg", "a/y.jpg"], points)
    for place in (write_npz(tmp_path / "l.npz", ["a/x", "a/y"], points), tmp_path / "pts"):
        given = read_landmarks(place, faces)
        assert np.isfinite(given.points[:, 0, 0]).tolist() == [False, False, True]
        assert len(given.unmatched) == 1


def test_names_that_match_nothing_are_told(wide_people, tmp_path):
    root, files, points, _, _ = wide_people
    faces = read_folder(root).faces
    names = [*files[:4], "nobody/none.jpg"]
    given = read_landmarks(write_npz(tmp_path / "l.npz", names, points[:5]), faces)
    assert given.unmatched == ("nobody/none.jpg",)
    assert np.isnan(given.points[4:]).all() and not np.isnan(given.points[:4]).any()


def test_only_the_suffix_of_an_image_is_left_out_of_a_name(tmp_path):
    files = ["a/J.R._X_0001.jpg", "a/J.R._X_0002.jpg", "a/y.png", "a/y.jpg", "a/z.png"]
    faces = FaceSet(
        "s", Files(tmp_path, files), np.zeros(5, np.int64), None, {"file": np.array(files)}
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


def test_wrong_landmark_files_are_refused(wide_people, tmp_path):
    root, files, points, _, _ = wide_people
    faces = read_folder(root).faces

    def refused(path, match, error=UserError):
        with pytest.raises(error, match=match):
            read_landmarks(path, faces)

    table = write_csv(tmp_path / "l.csv", files, points)
    pd.read_csv(table).drop(columns="y17").to_csv(table, index=False)
    refused(table, r"l\.csv lacks the column y17 \(1 missing\); it has file, x0, y0")
    npz = tmp_path / "l.npz"
    np.savez(npz, names=files, points=points)
    refused(
        npz, r"l\.npz: expected an \.npz of names .* and landmarks .*: .landmarks is not a file"
    )
    refused(write_npz(npz, files, points[:, :6]), r"expected names .* got \(18, 6, 2\)")
    refused(write_npz(npz, [files[0]] * 18, points), "17 names come twice, first Ana")
    broken = points.copy()
    broken[2, 3, 1] = np.inf
    refused(write_npz(npz, files, broken), "of 1 images are not finite numbers, first Ana/Ana_0003")
    refused(write_npz(npz, ["x.jpg"] * 1, points[:1]), "none of its 1 names, .* is an image")
    npz.write_bytes(b"nothing")
    refused(npz, r"l\.npz: expected an .npz of")
    np.savez(npz, names=np.array(files, object), landmarks=points)
    refused(npz, r"l\.npz: .*Object arrays cannot.*dtype=str")
    refused(tmp_path / "absent.npz", r"there is no file .*absent\.npz")
    (tmp_path / "x.txt").write_text("x")
    refused(tmp_path / "x.txt", r"x\.txt: expected \.npz, \.csv")
    bad = tmp_path / "bad.pts"
    for text, match in (
        ("n_points: 2\n{\n1 2\n3 4\n}", "expected 68 or 5 points 'x y', got 2"),
        ("hello", "expected lines 'x y'"),
        ("{ a b }", "expected lines 'x y'"),
    ):
        bad.write_text(text)
        with pytest.raises(UserError, match=rf"bad\.pts: .*{match}"):
            read_pts(bad)
