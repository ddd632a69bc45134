"""Photographs as they lie on people's disks: one bad entry is one listed problem."""

import csv
import errno
import os
import shutil
import struct
import zlib

import numpy as np
import pytest
from conftest import write_people
from PIL import Image
from typer.testing import CliRunner

from ifr.cli.photographs import app
from ifr.common.errors import UserError
from ifr.datasets import load_set
from ifr.datasets.check import read
from ifr.datasets.prepare import prepare
from ifr.datasets.readers.ar import read_ar
from ifr.datasets.readers.folder import read_folder
from ifr.datasets.readers.images import UnreadableImage, decode_image
from ifr.datasets.readers.landmark_files import read_landmarks


@pytest.fixture
def root(smoke_sets, tmp_path):
    """Two people of six images."""
    faces = smoke_sets["validation"]
    write_people(tmp_path / "people", faces[faces.identity < 2], ["Ana", "Bo"])
    return tmp_path / "people"


def issues_of(index):
    return {issue.where: issue.kind for issue in index.issues}


def one_issue(root, where, kind):
    """The twelve images are read, and one entry is listed."""
    index = read_folder(root)
    assert index.counts == dict(images=12, identities=2)
    assert issues_of(index) == {where: kind}


def test_a_link_to_nothing_and_a_loop_of_links_are_listed(root):
    (root / "Ana" / "gone.jpg").symlink_to(root / "absent.jpg")
    one_issue(root, "Ana/gone.jpg", "dangling link")
    (root / "Ana" / "gone.jpg").unlink()
    (root / "Ana" / "me.jpg").symlink_to("me.jpg")
    one_issue(root, "Ana/me.jpg", "link loop")
    (root / "Ana" / "me.jpg").unlink()
    (root / "Ana" / "all people").symlink_to(root)
    one_issue(root, "Ana/all people", "link loop")
    (root / "Ana" / "all people").unlink()
    (root / "nobody").symlink_to(root / "absent")
    one_issue(root, "nobody", "dangling link")


def test_links_to_folders_are_followed(root, tmp_path):
    (root / "Bo").rename(tmp_path / "elsewhere")
    (root / "Bo").symlink_to(tmp_path / "elsewhere")
    index = read_folder(root)
    assert index.counts == dict(images=12, identities=2) and index.issues == ()


def test_a_folder_without_permission_is_listed(root, monkeypatch):
    # Root may read everything, so that the refusal is played.
    (root / "Cy").mkdir()
    scan = os.scandir

    def refusing(folder):
        if os.path.basename(folder) == "Cy":
            raise PermissionError(errno.EACCES, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refusing)
    one_issue(root, "Cy", "no permission")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_permissions_as_the_system_has_them(root):
    (root / "Ana" / "Ana_0001.jpg").chmod(0)
    (root / "Cy").mkdir(mode=0)
    one_issue(root, "Cy", "no permission")
    with pytest.raises(UnreadableImage, match="Permission denied"):
        read_folder(root).faces.images[0]


def test_a_file_without_permission_is_left_out_of_the_set(root, tmp_path, monkeypatch):
    from pathlib import Path

    read_bytes = Path.read_bytes

    def refusing(path):
        if path.name == "Ana_0002.jpg":
            raise PermissionError(errno.EACCES, "Permission denied")
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", refusing)
    done = prepare(
        read_folder(root), tmp_path / "o", name="p", method="none", workers=1, progress=False
    )
    assert done.kept == 11 and done.missed == {"unreadable": 1}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.heic", "image whose ending is not read"),
        ("a.AVIF", "image whose ending is not read"),
        ("photo", "image whose ending is not read"),  # a JPEG by its content
        ("photo.jpg_large", "image whose ending is not read"),
        ("empty.png", "empty file"),
        ("._Ana_0001.jpg", "stray file"),
        ("Thumbs.db", "stray file"),
    ],
)
def test_what_is_not_read_is_named(root, name, kind):
    content = {"photo": (root / "Ana" / "Ana_0001.jpg").read_bytes(), "empty": b""}
    (root / "Ana" / name).write_bytes(content.get(name.partition(".")[0], b"something"))
    one_issue(root, f"Ana/{name}", kind)


@pytest.mark.parametrize("name", ["b.JPG", "b.JPEG", "b.jfif", "b.Png", "b.GIF", "b.tiff"])
def test_endings_of_any_case_are_read(root, name):
    with Image.open(root / "Ana" / "Ana_0001.jpg") as image:
        kind = Image.registered_extensions()[f".{name.partition('.')[2].lower()}"]
        image.save(root / "Ana" / name, kind)
    index = read_folder(root)
    assert index.counts["images"] == 13 and index.issues == ()
    assert index.faces.images[6].shape == (112, 112, 3)


def test_a_folder_named_as_an_image_and_a_pipe_are_no_images(root):
    (root / "Ana" / "x.jpg").mkdir()
    os.mkfifo(root / "Ana" / "y.jpg")
    index = read_folder(root)
    assert index.counts["images"] == 12
    assert issues_of(index) == {
        "Ana/x.jpg": "folder without images",
        "Ana/y.jpg": "neither file nor folder",
    }


@pytest.mark.parametrize("name", [".ipynb_checkpoints", ".hidden", "@eaDir", "__MACOSX"])
def test_hidden_folders_are_no_people(root, name):
    shutil.copytree(root / "Ana", root / name)
    one_issue(root, name, "hidden folder")
    shutil.rmtree(root / name)
    shutil.copytree(root / "Bo", root / "Ana" / name)
    one_issue(root, f"Ana/{name}", "hidden folder")


def test_a_name_that_is_not_utf_8_is_listed(root):
    shutil.copy(root / "Ana" / "Ana_0001.jpg", os.fsencode(root / "Ana") + b"/Jos\xe9.jpg")
    os.mkdir(os.fsencode(root) + b"/Ren\xe9")
    index = read_folder(root)
    assert index.counts == dict(images=12, identities=2)
    kind = "name not in UTF-8"
    assert issues_of(index) == {"Ana/Jos\\xe9.jpg": kind, "Ren\\xe9": kind}


@pytest.mark.parametrize("other", ["ANA", "ana"])
def test_people_whose_names_differ_by_case_are_told(root, other):
    shutil.copytree(root / "Bo", root / other)
    index = read_folder(root)
    assert index.counts["identities"] == 3
    assert issues_of(index) == {", ".join(sorted(["Ana", other])): "names alike"}


def test_people_whose_accents_are_written_in_two_ways_are_told(root):
    (root / "Bo").rename(root / "Jose\u0301")
    shutil.copytree(root / "Ana", root / "Jos\u00e9")
    assert list(issues_of(read_folder(root)).values()) == ["names alike"]


# ---- nested folders


def move(root, *folders):
    """Move the images of each person into folders below theirs, in turn."""
    for person in sorted(root.iterdir()):
        for k, image in enumerate(sorted(person.iterdir())):
            target = person / folders[k % len(folders)]
            target.mkdir(parents=True, exist_ok=True)
            image.rename(target / image.name)


@pytest.mark.parametrize("folders", [["frontal", "profile"], ["a/b/c"], [".", "2019/may"]])
def test_images_at_any_depth_are_of_the_person_whose_folder_it_is(root, folders):
    move(root, *folders)
    index = read_folder(root)
    assert index.counts == dict(images=12, identities=2) and index.issues == ()
    assert set(index.faces.attributes["subject"]) == {"Ana", "Bo"}
    assert index.faces.identity.tolist() == [0] * 6 + [1] * 6


def test_one_file_name_may_be_in_several_folders(root, tmp_path):
    move(root, "frontal", "profile")
    for file in (root / "Ana" / "profile").iterdir():
        file.rename(file.with_name(f"Ana_{int(file.stem[-4:]) - 1:04d}.jpg"))
    index = read_folder(root)
    assert len(set(index.faces.attributes["file"])) == 12
    done = prepare(index, tmp_path / "o", name="p", method="none", workers=1, progress=False)
    assert done.kept == 12


def test_groups_of_people_are_not_taken_for_people(smoke_sets, tmp_path):
    faces = smoke_sets["validation"]
    people, root = [f"n{k:03d}" for k in range(6)], tmp_path / "set"
    write_people(root / "train", faces[faces.identity < 4], people)
    write_people(root / "test", faces[faces.identity >= 3], people)
    match = r"its 2 folders, such as test, .* of 6 names, such as n000: give --level 1 if test is"
    with pytest.raises(UserError, match=match):
        read_folder(root)
    with pytest.raises(UserError, match=r"its 1 folders, such as set, .*--level 3 if n000 is"):
        read_folder(tmp_path)
    index = read("folder", root, level=2)
    assert index.counts["identities"] == 6  # n003 is in both
    assert read("folder", root, level=1).counts["identities"] == 2
    assert read("folder", tmp_path, level=3).counts == index.counts
    with pytest.raises(UserError, match="level of folders is of format folder, not of lfw"):
        read("lfw", root, level=2)


# ---- what becomes of them


def test_what_the_reader_left_out_is_in_the_summary_and_in_missed_csv(root, tmp_path):
    (root / "Ana" / "a.heic").write_bytes(b"something")
    (root / "Ana" / "gone.jpg").symlink_to("absent.jpg")
    (root / "Bo" / "empty.jpg").write_bytes(b"")
    (root / "Bo" / "Bo_0002.jpg").write_bytes(b"\xff\xd8\xff broken")

    def prepared():
        how = dict(name="p", method="none", workers=1, progress=False)
        done = prepare(read_folder(root), tmp_path / "o", **how)
        with open(done.folder / "missed.csv", encoding="utf-8", newline="") as file:
            return done, [row["file"] for row in csv.DictReader(file)]

    done, listed = prepared()
    assert done.kept == 11 and done.missed == {"unreadable": 1}
    expected = {"image whose ending is not read": 1, "dangling link": 1, "empty file": 1}
    assert done.issues == expected
    files = ["Ana/a.heic", "Ana/gone.jpg", "Bo/empty.jpg"]
    assert listed == ["Bo/Bo_0002.jpg", *files]
    # The set is the same when only such a file comes or goes; its list is not.
    (root / "Ana" / "a.heic").unlink()
    again, listed = prepared()
    assert again.folder == done.folder and again.missed == done.missed
    assert listed == ["Bo/Bo_0002.jpg", *files[1:]]
    assert len(load_set(again.folder)) == 11


def test_the_commands_print_what_was_not_read_and_take_the_level(root, tmp_path):
    (root / "Ana" / "a.heic").write_bytes(b"something")
    root.rename(tmp_path / "train")
    (tmp_path / "all").mkdir()
    (tmp_path / "train").rename(tmp_path / "all" / "train")
    place, to = str(tmp_path / "all"), str(tmp_path / "o")
    with pytest.raises(UserError, match="give --level 1 if train is a person, --level 2 if Ana is"):
        CliRunner().invoke(app, ["check", "folder", place], catch_exceptions=False)
    checked = CliRunner().invoke(app, ["check", "folder", place, "--level", "2"])
    assert "identities                2" in checked.stdout and "a.heic" in checked.stdout
    how = ["--level", "2", "--method", "none", "--workers", "1", "--to", to]
    done = CliRunner().invoke(app, ["prepare", "folder", place, *how])
    assert "12 faces" in done.stdout and "missed.csv lists them" in done.stdout
    assert "found by the reader, image whose ending is not read: 1" in done.stdout


def test_landmarks_match_names_of_other_systems(root, tmp_path):
    (root / "Bo").rename(root / "Jose\u0301")
    index = read_folder(root)
    files = index.faces.attributes["file"].tolist()
    points = np.random.default_rng(0).uniform(0, 112, (12, 5, 2)).astype(np.float32)
    names = [file.replace("/", "\\").replace("e\u0301", "\u00e9") for file in files]
    np.savez(tmp_path / "L.NPZ", names=names, landmarks=points)
    (tmp_path / "L.NPZ.npz").rename(tmp_path / "L.NPZ")
    given = read_landmarks(tmp_path / "L.NPZ", index.faces)
    assert np.array_equal(given.points, points) and given.unmatched == ()


def test_one_bad_file_does_not_end_the_reading_of_ar(smoke_sets, tmp_path):
    for shot in (1, 2):
        Image.fromarray(smoke_sets["ar"].images[0]).save(tmp_path / f"m-001-{shot:02d}.bmp")
    (tmp_path / "m-001-03.bmp").symlink_to("absent.bmp")
    index = read_ar(tmp_path)
    assert index.counts["images"] == 2
    assert issues_of(index)["m-001-03.bmp"] == "dangling link"


# ---- images


def test_a_broken_first_image_does_not_hide_the_size_of_the_others(root):
    (root / "Ana" / "Ana_0001.jpg").write_bytes(b"broken")
    assert read_folder(root).faces.images.shape == (12, 112, 112, 3)


def png(width, height):
    """A PNG that says it is so large, and holds next to nothing."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [8_001, 11_000, 20_000])
def test_an_image_too_large_is_called_so(side):
    with pytest.raises(UnreadableImage, match=r"big\.png: .*more than 64,000,000 pixels are too"):
        decode_image(png(side, side), "big.png")


def test_the_first_picture_of_an_animation_is_taken(tmp_path):
    red, blue = (Image.new("RGB", (8, 9), colour) for colour in ("red", "blue"))
    for ending in ("gif", "png", "webp", "tiff"):
        file = tmp_path / f"a.{ending}"
        red.save(file, save_all=True, append_images=[blue])
        colour = decode_image(file.read_bytes(), "a").reshape(-1, 3).mean(axis=0)
        assert colour[0] > 240 and colour[2] < 15


def test_pixels_without_a_known_range_are_refused(tmp_path):
    Image.fromarray(np.full((4, 5), 0.5, np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(UnreadableImage, match="floating-point pixels"):
        decode_image((tmp_path / "a.tif").read_bytes(), "a.tif")
