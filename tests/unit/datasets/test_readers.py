"""Folders, RecordIO and .bin files: what they give, and what a broken one is told."""

import os
import pickle
import struct

import numpy as np
import pytest
from conftest import write_people
from PIL import Image

from ifr.common.errors import UserError
from ifr.datasets.readers.folder import read_folder
from ifr.datasets.readers.images import UnreadableImage, decode_image
from ifr.datasets.readers.insightface import MAGIC_BYTES, read_bin, read_recordio


def encoded(image, kind="PNG"):
    import io

    out = io.BytesIO()
    Image.fromarray(np.asarray(image)).save(out, kind)
    return out.getvalue()


# ---- images


def picture(height=20, width=30):
    y, x = np.mgrid[:height, :width]
    return np.stack([8 * x, 12 * y, 4 * (x + y)], axis=-1).clip(0, 255).astype(np.uint8)


def saved(image, kind, **options):
    import io

    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def test_grey_cmyk_palette_16_bit_and_transparency_become_rgb():
    rgb = picture()
    grey = rgb[..., 0]
    found = decode_image(saved(Image.fromarray(grey), "PNG"), "g")
    assert found.shape == (20, 30, 3) and np.array_equal(found[..., 1], grey)
    cmyk = decode_image(saved(Image.fromarray(rgb).convert("CMYK"), "JPEG", quality=95), "c")
    assert np.abs(cmyk.astype(int) - rgb).mean() < 6
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    assert np.array_equal(decode_image(saved(deep, "PNG"), "d")[..., 2], grey)
    few = Image.fromarray(rgb).quantize(8)
    expected = np.asarray(few.convert("RGB"))
    assert np.array_equal(decode_image(saved(few, "PNG"), "p"), expected)
    glass = np.dstack([rgb, np.full(grey.shape, 0, np.uint8)])
    glass[:, 10:, 3] = 255
    clear = decode_image(saved(Image.fromarray(glass), "PNG"), "a")
    assert (clear[:, :10] == 0).all() and np.array_equal(clear[:, 10:], rgb[:, 10:])


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (6, lambda a: np.rot90(a, -1)),
        (8, lambda a: np.rot90(a)),
    ],
)
def test_exif_orientation_is_applied(orientation, turned):
    image = Image.fromarray(picture())
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = decode_image(saved(image, "PNG", exif=exif), "e")
    assert np.array_equal(found, turned(picture()))


def test_broken_images_are_named_with_the_reason():
    good = saved(
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 90, 3), np.uint8)), "JPEG"
    )
    for data, match in (
        (good[: len(good) // 2], r"x\.jpg: the image is cut short or broken"),
        (b"hello", r"x\.jpg: 5 bytes that begin with b'hell', not an image"),
        (b"", r"x\.jpg: an empty file, not an image"),
    ):
        with pytest.raises(UnreadableImage, match=match):
            decode_image(data, "x.jpg")


# ---- folders


@pytest.fixture
def root(smoke_sets, tmp_path):
    faces = smoke_sets["validation"]
    write_people(tmp_path / "my people", faces[faces.identity < 2], ["Zoë Ångström", "Ana"])
    return tmp_path / "my people"


def test_a_folder_is_read_in_order_without_decoding(root, smoke_sets):
    (root / "Ana" / "Ana_0003.jpg").write_bytes(b"\xff\xd8 broken, but not read")
    reading = read_folder(root)
    faces = reading.faces
    assert reading.counts == dict(images=12, identities=2) and reading.issues == ()
    assert faces.attributes["file"][0] == "Ana/Ana_0001.jpg"
    assert set(faces.attributes["subject"]) == {"Ana", "Zoë Ångström"}
    assert faces.identity.tolist() == [0] * 6 + [1] * 6 and faces.landmarks is None
    source = smoke_sets["validation"].images[6]  # the second person is Ana
    assert np.abs(faces.images[0].astype(int) - source).mean() < 4
    with pytest.raises(UnreadableImage, match=r"Ana_0003\.jpg"):
        faces.images[2]


def test_lazy_images_slice_stack_and_survive_pickling(root):
    images = read_folder(root).faces.images
    some = images[np.array([1, 7])]
    assert len(some) == 2 and np.array_equal(some[1], images[7])
    assert np.asarray(some).shape == (2, 112, 112, 3) == some.shape
    again = pickle.loads(pickle.dumps(images))
    assert np.array_equal(again[5], images[5])


def test_what_is_no_image_is_a_problem_not_an_error(root):
    (root / "readme.txt").write_text("stray")
    (root / "Ana" / "notes.txt").write_text("stray")
    (root / "Ana" / ".DS_Store").write_bytes(b"")
    (root / "Ana" / "empty.jpg").write_bytes(b"")
    (root / "Ana" / "more").mkdir()
    (root / "Nobody").mkdir()
    reading = read_folder(root)
    found = sorted((problem.kind, problem.where) for problem in reading.issues)
    assert found == [
        ("empty file", "Ana/empty.jpg"),
        ("folder without images", "Ana/more"),
        ("folder without images", "Nobody"),
        ("stray file", "Ana/.DS_Store"),
        ("stray file", "Ana/notes.txt"),
        ("stray file", "readme.txt"),
    ]
    assert reading.counts == dict(images=12, identities=2)


def test_a_folder_of_another_layout_is_told_the_right_one(root, tmp_path):
    with pytest.raises(UserError, match=r"there is no folder .*absent; expected one folder for"):
        read_folder(tmp_path / "absent")
    with pytest.raises(UserError, match=r"ROOT/identity/image\.jpg; 6 images lie in"):
        read_folder(root / "Ana")


# ---- RecordIO


def write_records(folder, payloads, *, split=(), keys=None):
    """Write records as dmlc's format describes; payloads that hold the magic are split there."""
    folder.mkdir(parents=True, exist_ok=True)
    data, index = b"", []
    for key, payload in zip(keys or range(len(payloads)), payloads, strict=True):
        index.append((key, len(data)))
        parts = payload.split(MAGIC_BYTES) if key in split else [payload]
        for place, part in enumerate(parts):
            kind = 0 if len(parts) == 1 else 1 if place == 0 else 3 if part is parts[-1] else 2
            data += MAGIC_BYTES + struct.pack("<I", kind << 29 | len(part)) + part
            data += b"\0" * (-len(part) % 4)
    (folder / "train.rec").write_bytes(data)
    (folder / "train.idx").write_text("".join(f"{k}\t{at}\n" for k, at in index))
    (folder / "property").write_text("2,112,112\n")


def record(label, image=b""):
    labels = np.atleast_1d(np.asarray(label, np.float32))
    if np.ndim(label) == 0:
        return struct.pack("<IfQQ", 0, labels[0], 1, 0) + image
    return struct.pack("<IfQQ", len(labels), 0, 1, 0) + labels.astype("<f4").tobytes() + image


@pytest.fixture
def pictures(smoke_sets):
    return [encoded(image) for image in smoke_sets["validation"].images[:5]]


@pytest.mark.parametrize("array", [False, True])
def test_records_with_both_forms_of_labels(tmp_path, pictures, smoke_sets, array):
    labels = [3, 3, 7, 7, 7]
    images = [record([n, 0] if array else n, p) for n, p in zip(labels, pictures, strict=True)]
    people = [record([1, 3]), record([3, 6])]
    write_records(tmp_path / "a b", [record([6, 8]), *images, *people])
    reading = read_recordio(tmp_path / "a b")
    faces = reading.faces
    assert reading.counts == dict(images=5, identities=2) and reading.issues == ()
    assert faces.identity.tolist() == [0, 0, 1, 1, 1]
    assert faces.attributes["subject"].tolist() == [str(n) for n in labels]
    assert faces.attributes["file"].tolist() == ["1", "2", "3", "4", "5"]
    assert np.array_equal(np.asarray(faces.images), smoke_sets["validation"].images[:5])
    again = pickle.loads(pickle.dumps(faces.images))
    assert np.array_equal(again[4], faces.images[4])


def test_records_without_a_header_are_all_images(tmp_path, pictures):
    write_records(tmp_path, [record(k % 2, p) for k, p in enumerate(pictures)])
    reading = read_recordio(tmp_path / "train.rec")
    assert reading.counts == dict(images=5, identities=2)


def test_records_without_an_image_are_no_images_where_no_record_0_tells(tmp_path, pictures):
    images = [record(n, p) for n, p in zip([3, 3, 7, 7, 7], pictures, strict=True)]
    people = [record([1, 3]), record([3, 6])]
    write_records(tmp_path, [*images, *people], keys=range(1, 8))
    reading = read_recordio(tmp_path)
    assert reading.counts == dict(images=5, identities=2) and reading.issues == ()
    assert reading.faces.attributes["file"].tolist() == ["1", "2", "3", "4", "5"]
    # A payload without its picture is an image less, wherever it lies.
    images[1] = record(3)
    for records, first in (([*images, *people], 1), ([record([6, 8]), *images, *people], 0)):
        write_records(tmp_path, records, keys=range(first, first + len(records)))
        reading = read_recordio(tmp_path)
        assert reading.counts == dict(images=4, identities=2)
        assert [(i.kind, i.where) for i in reading.issues] == [("record without an image", "key 2")]


@pytest.mark.parametrize("behind", [17_186_133, 17_186_134, 17_186_135, 17_186_137])
def test_images_end_where_the_records_say_when_float32_cannot(tmp_path, pictures, behind):
    # Record 0 names the key behind the last image in float32: no odd numbers from 2^24 on.
    keys = [0, *range(behind - 5, behind + 2)]
    images = [record(n, p) for n, p in zip([0, 0, 0, 1, 1], pictures, strict=True)]
    people = [record([behind - 5, behind - 2]), record([behind - 2, behind])]
    write_records(tmp_path, [record([behind, behind + 2]), *images, *people], keys=keys)
    reading = read_recordio(tmp_path)
    assert reading.faces.attributes["file"].tolist() == [str(key) for key in keys[1:6]]
    assert reading.counts == dict(images=5, identities=2)
    assert [issue.kind for issue in reading.issues] == ["missing records"]  # keys 1 and up
    # An index that is cut short is still noticed.
    write_records(tmp_path, [record([behind, behind + 2]), *images[:2]], keys=keys[:3])
    with pytest.raises(UserError, match=rf"announces images to key 171861.*last is {behind - 4}"):
        read_recordio(tmp_path)


def test_people_whose_numbers_float32_may_join_are_told(tmp_path, pictures):
    labels = [5, 2**24 + 1, 2**24 + 3]
    write_records(tmp_path, [record(n, p) for n, p in zip(labels, pictures[:3], strict=True)])
    kinds = {issue.kind: issue.where for issue in read_recordio(tmp_path).issues}
    assert kinds["labels from 2^24 on"] == "2 records"


def test_a_payload_that_holds_the_magic_is_joined_again(tmp_path, pictures):
    # The PNG ends before it; what follows is ignored by decoders but must come back whole.
    payload = record(1, pictures[0] + MAGIC_BYTES + b"abc" + MAGIC_BYTES + b"defg")
    write_records(tmp_path, [record(0, pictures[1]), payload], split={1})
    faces = read_recordio(tmp_path).faces
    assert faces.images.read(1) == payload[24:]
    assert faces.images[1].shape == (112, 112, 3)


def test_a_difference_from_property_is_a_problem(tmp_path, pictures):
    write_records(tmp_path, [record(k, p) for k, p in enumerate(pictures)])
    problem = read_recordio(tmp_path).issues[0]
    assert problem.kind == "property differs" and "says 2 identities, 5" in problem.impact


def test_broken_records_are_refused_with_key_and_byte(tmp_path, pictures):
    write_records(tmp_path, [record(k % 2, p) for k, p in enumerate(pictures)])
    rec, idx = tmp_path / "train.rec", tmp_path / "train.idx"
    data, index = rec.read_bytes(), idx.read_text()

    def refused(match, error=UserError):
        with pytest.raises(error, match=match):
            read_recordio(tmp_path)
        rec.write_bytes(data)
        idx.write_text(index)

    rec.write_bytes(data[:-50])
    refused(r"train\.rec, key 4: the file ends inside the record at byte \d+ \(it has \d+ bytes\)")
    idx.write_text(index + f"9\t{len(data) + 8}\n")
    refused(r"train\.idx: 1 records lie past the end of the \.rec, first key 9 at byte")
    idx.write_text(index.replace("1\t", "1\t1", 1))
    refused(r"key 1: no record begins at byte|records lie past the end")
    idx.write_text("0\tzero\n")
    refused(r"train\.idx: expected 2 fields a line \(key, offset\) and no header")
    idx.write_text(index + "0\t0\n")
    refused(r"train\.idx: key 0 comes twice")
    write_records(tmp_path, [record(0.5, pictures[0])])
    refused(r"key 0: label 0.5 is no identity number")
    idx.unlink()
    refused(r"train\.idx is missing: a set needs its \.rec and its \.idx")
    rec.unlink()
    idx.unlink()
    refused("holds 0 .rec files, expected one")


def test_a_set_written_by_mxnet(real_faces):
    reading = read_recordio(real_faces / "formats")
    assert reading.counts == dict(images=5, identities=2) and reading.issues == ()
    assert reading.faces.identity.tolist() == [0, 0, 0, 1, 1]
    assert reading.faces.images[0].ndim == 3


# ---- .bin


def bins_of(pictures, arrays):
    return [np.frombuffer(p, np.uint8) if arrays else p for p in pictures]


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("arrays", [False, True])
def test_a_bin_gives_pairs_in_ten_folds(tmp_path, pictures, smoke_sets, arrays, protocol):
    images = (pictures * 8)[:40]
    same = [k % 3 == 0 for k in range(20)]
    path = tmp_path / "small lfw.bin"
    path.write_bytes(pickle.dumps((bins_of(images, arrays), same), protocol=protocol))
    reading = read_bin(path)
    assert reading.counts == dict(images=40, pairs=20)
    pairs = reading.protocol
    assert pairs.pairs.tolist() == [[2 * k, 2 * k + 1] for k in range(20)]
    assert pairs.same.tolist() == same and pairs.folds.tolist() == [k // 2 for k in range(20)]
    assert np.array_equal(reading.faces.images[6], smoke_sets["validation"].images[1])
    assert np.array_equal(
        pickle.loads(pickle.dumps(reading.faces.images))[6], reading.faces.images[6]
    )


class Evil:
    def __reduce__(self):
        return os.system, (f"touch {EVIL}",)


EVIL = "/tmp/ifr-evil-ran"


def test_a_pickle_that_would_run_something_is_refused_and_does_not_run(tmp_path, pictures):
    hidden = np.empty(2, object)
    hidden[:] = [Evil(), Evil()]
    for content in ((Evil(), [True]), (hidden, [True]), ([*pictures[:1], Evil()], [True])):
        path = tmp_path / "evil.bin"
        path.write_bytes(pickle.dumps(content))
        with pytest.raises(UserError, match=r"evil\.bin: this pickle asks for \w+\.system, which"):
            read_bin(path)
    assert not os.path.exists(EVIL)
    getter = b"\x80\x04c__builtin__\neval\n(X\x03\x00\x00\x001+1tR."
    path.write_bytes(getter)
    with pytest.raises(UserError, match=r"asks for (__builtin__|builtins)\.eval"):
        read_bin(path)


def test_broken_bins_are_refused(tmp_path, pictures):
    path = tmp_path / "x.bin"

    def refused(data, match):
        path.write_bytes(data)
        with pytest.raises(UserError, match=match):
            read_bin(path)

    good = pickle.dumps((pictures[:4], [True, False]))
    refused(good[:-40], r"x\.bin: not a pickle, or cut short")
    refused(b"text", r"x\.bin: not a pickle, or cut short")
    refused(pickle.dumps((pictures[:3], [True, False])), "3 images for 2 pairs, expected 4")
    refused(pickle.dumps({"a": 1}), r"two lists \(bins, issame\), got 1: dict")
    refused(pickle.dumps(([1, 2], [True])), "image 0 must be bytes or an array of uint8, got int")
    refused(pickle.dumps((pictures[:2], [7])), "a list of true and false")
    refused(pickle.dumps((5, [True])), r"two lists \(bins, issame\), got 2: int, list")
    with pytest.raises(UserError, match=r"there is no file .*absent\.bin; give an InsightFace"):
        read_bin(tmp_path / "absent.bin")


def test_a_bin_of_insightface(real_faces):
    reading = read_bin(real_faces / "formats" / "small_lfw.bin")
    assert reading.counts == dict(images=20, pairs=10)
    assert reading.faces.images[0].ndim == 3


def test_some_images_of_a_source_keep_their_names_and_bytes(tmp_path, pictures, root):
    write_records(tmp_path / "rec", [record(k % 2, p) for k, p in enumerate(pictures)])
    (tmp_path / "a.bin").write_bytes(pickle.dumps(([*pictures, pictures[0]], [True] * 3)))
    for index in (read_folder(root), read_recordio(tmp_path / "rec"), read_bin(tmp_path / "a.bin")):
        source, rows = index.faces.images, np.array([4, 1])
        some = pickle.loads(pickle.dumps(source[rows]))
        assert len(some) == 2 and len(pickle.dumps(some)) < len(pickle.dumps(source)) + 200
        for new, old in enumerate(rows):
            assert some.name(new) == source.name(old) and some.size(new) == source.size(old)
            assert some.read(new) == source.read(old)
