"""Sets on disk and the template protocol: round trips, damage, and what a split promises."""

import json
import re

import numpy as np
import pytest

from ifr.common.errors import UserError
from ifr.datasets import FaceSet, load_set, write_record
from ifr.evaluation.protocols.rendered import GALLERY_IMAGES, PROBE_IMAGES, template_splits


def made_up(people: int = 6, shots: int = 9, seed: int = 0) -> FaceSet:
    """Return a set of noise with every third shot marked as occluded."""
    rng, count = np.random.default_rng(seed), people * shots
    worn = np.where(np.arange(count) % 3 == 2, "scarf", "none")
    return FaceSet(
        "made up",
        rng.integers(0, 256, (count, 112, 112, 3), np.uint8),
        np.repeat(np.arange(people), shots),
        rng.uniform(0, 112, (count, 68, 2)).astype(np.float32),
        {"occluder": worn, "yaw": rng.normal(0, 20, count).astype(np.float32)},
        "0123abcd",
    )


def save_set(faces: FaceSet, folder):
    """Write a set as the form says: an array for each column, then the record."""
    folder.mkdir()
    columns = dict(images=faces.images, identity=faces.identity, landmarks=faces.landmarks)
    for name, array in (columns | faces.attributes).items():
        if array is not None:
            np.save(folder / f"{name}.npy", array)
    write_record(folder, faces.name, faces.fingerprint)


@pytest.fixture
def saved(tmp_path):
    faces = made_up()
    save_set(faces, tmp_path / "set")
    return faces, tmp_path / "set"


def test_round_trip(saved):
    faces, folder = saved
    again = load_set(folder)
    assert (again.name, again.fingerprint, len(again)) == ("made up", "0123abcd", 54)
    np.testing.assert_array_equal(again.images, faces.images)
    np.testing.assert_array_equal(again.identity, faces.identity)
    np.testing.assert_array_equal(again.landmarks, faces.landmarks)
    assert again.attributes.keys() == faces.attributes.keys()
    for name, array in faces.attributes.items():
        np.testing.assert_array_equal(again.attributes[name], array)


def test_large_arrays_stay_on_disk(tmp_path):
    save_set(made_up(people=12, shots=10), tmp_path / "set")  # 4.5 MB of images
    assert isinstance(load_set(tmp_path / "set").images, np.memmap)


def test_set_without_landmarks(tmp_path):
    faces = made_up(people=2, shots=3)
    save_set(FaceSet("bare", faces.images, faces.identity, None), tmp_path / "bare")
    again = load_set(tmp_path / "bare")
    assert again.landmarks is None
    assert again[:2].landmarks is None
    assert again.attributes == {}


def test_subsets_agree_and_are_told_apart():
    faces = made_up()
    mask = faces.identity == 2
    by_mask, by_index = faces[mask], faces[np.flatnonzero(mask)]
    by_slice = faces[18:27]
    for one in (by_mask, by_index, by_slice):
        np.testing.assert_array_equal(one.images, faces.images[18:27])
        np.testing.assert_array_equal(one.attributes["yaw"], faces.attributes["yaw"][18:27])
    # One choice of rows has one fingerprint, however it was asked for.
    assert by_mask.fingerprint == by_index.fingerprint == by_slice.fingerprint
    assert by_mask.fingerprint not in (faces.fingerprint, faces[:9].fingerprint)


@pytest.mark.parametrize("which", [3, np.zeros((2, 2), int)])
def test_subset_refuses_what_is_no_list(which):
    with pytest.raises(TypeError, match="slice, a mask"):
        made_up(people=2, shots=3)[which]


def test_arrays_of_unlike_length_are_refused():
    faces = made_up(people=2, shots=3)
    with pytest.raises(ValueError, match="identity has 5 rows, there are 6 images"):
        FaceSet("odd", faces.images, faces.identity[:5], None)
    with pytest.raises(ValueError, match="landmarks has 4 rows, there are 6 images"):
        FaceSet("odd", faces.images, faces.identity, faces.landmarks[:4])
    with pytest.raises(ValueError, match="yaw has 7 rows, there are 6 images"):
        FaceSet("odd", faces.images, faces.identity, None, {"yaw": np.zeros(7)})


def test_a_subset_of_a_subset_has_a_fingerprint_of_its_own():
    faces = made_up(people=3, shots=4)
    inner = faces[4:][2:5]
    np.testing.assert_array_equal(inner.images, faces.images[6:9])
    np.testing.assert_array_equal(inner.identity, faces.identity[6:9])
    assert inner.fingerprint not in (faces[4:].fingerprint, faces[2:5].fingerprint)
    # The order of the rows belongs to the content.
    assert faces[np.array([0, 1])].fingerprint != faces[np.array([1, 0])].fingerprint


def test_missing_folder(tmp_path):
    with pytest.raises(UserError, match="ifr faces"):
        load_set(tmp_path / "nowhere")


def test_half_written_set_does_not_load(saved):
    folder = saved[1]
    (folder / "set.json").unlink()  # the record is written last
    with pytest.raises(UserError, match="no data set at"):
        load_set(folder)


def test_partial_folder_does_not_load_under_either_name(saved):
    folder = saved[1]
    partial = folder.with_name("set.partial")
    folder.rename(partial)
    (partial / "set.json").unlink()
    for path in (folder, partial):
        with pytest.raises(UserError, match=f"no data set at {re.escape(str(path))}:"):
            load_set(path)


def test_missing_array(saved):
    folder = saved[1]
    (folder / "landmarks.npy").unlink()
    with pytest.raises(UserError, match=r"landmarks\.npy has 0 bytes, expected 29504"):
        load_set(folder)


def test_truncated_array(saved):
    path = saved[1] / "images.npy"
    whole = path.stat().st_size
    with open(path, "r+b") as file:
        file.truncate(whole - 100)
    with pytest.raises(UserError, match=rf"images\.npy has {whole - 100} bytes, expected {whole}"):
        load_set(saved[1])


def test_an_array_changed_in_place_is_noticed(saved):
    path = saved[1] / "identity.npy"
    labels, size = np.load(path), path.stat().st_size
    np.save(path, labels[::-1])
    assert path.stat().st_size == size
    with pytest.raises(UserError, match=r"identity\.npy was changed since the set was made"):
        load_set(saved[1])
    np.save(path, labels)
    assert len(load_set(saved[1])) == len(labels)


def test_other_format(saved):
    record = saved[1] / "set.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"format": 99}))
    expected = f"{re.escape(str(saved[1]))}: format 99, this version reads 1"
    with pytest.raises(UserError, match=expected):
        load_set(saved[1])


def rows_of(templates):
    """The rows of each template."""
    return np.split(templates.rows, templates.starts[1:-1])


def test_a_subset_of_templates_keeps_what_belongs_together():
    [split] = template_splits(made_up(people=9, shots=18), splits=1)
    [(whole, _)] = split.searches
    keep = np.random.default_rng(0).random(len(whole.rows)) < 0.4
    left, index = whole.subset(keep)
    kept = np.split(keep, whole.starts[1:-1])
    assert (index >= 0).tolist() == [bool(mask.any()) for mask in kept] and (index < 0).any()
    for old, new in enumerate(index):
        if new >= 0:
            assert left.ids[new] == whole.ids[old] and left.subjects[new] == whole.subjects[old]
            np.testing.assert_array_equal(rows_of(left)[new], rows_of(whole)[old][kept[old]])
    np.testing.assert_array_equal(left.media, whole.media[keep])
    np.testing.assert_array_equal(left.occluded, whole.occluded[keep])
    nothing, index = whole.subset(np.zeros(len(keep), bool))
    assert len(nothing) == 0 and nothing.starts.tolist() == [0] and (index == -1).all()


def test_splits_keep_their_promises():
    faces = made_up(people=9, shots=18)
    occluded = faces.attributes["occluder"] != "none"
    splits = template_splits(faces, splits=4, seed=5)
    assert [split.split for split in splits] == [1, 2, 3, 4]
    for split in splits:
        [(probes, gallery)] = split.searches
        assert len(gallery) == len(np.unique(gallery.subjects)) == 6  # two thirds of nine
        for images, person in zip(rows_of(gallery), gallery.subjects, strict=True):
            assert len(images) == GALLERY_IMAGES
            assert (faces.identity[images] == person).all()
            assert not occluded[images].any()
        for images, person in zip(rows_of(probes), probes.subjects, strict=True):
            assert PROBE_IMAGES[0] <= len(images) <= PROBE_IMAGES[1]
            assert (faces.identity[images] == person).all()
            assert occluded[images].all() or not occluded[images].any()
        for part in (probes, gallery):
            np.testing.assert_array_equal(part.occluded, occluded[part.rows])
        # Every image of a chosen person is in exactly one template.
        used = np.concatenate([gallery.rows, probes.rows])
        chosen = np.flatnonzero(np.isin(faces.identity, gallery.subjects))
        np.testing.assert_array_equal(np.sort(used), chosen)


def test_pairs_are_all_of_a_probe_and_an_enrolled_template_and_none_twice():
    [split] = template_splits(made_up(people=12, shots=18), splits=1)
    [(probes, gallery)] = split.searches
    pairs = split.pairs - [0, len(probes)]
    assert len(np.unique(pairs, axis=0)) == len(pairs) == len(probes) * len(gallery)
    assert (pairs >= 0).all() and (pairs < [len(probes), len(gallery)]).all()
    mates = np.bincount(pairs[split.same, 0], minlength=len(probes))
    assert (mates == 1).all()
    for (one, two), same in zip(pairs, split.same, strict=True):
        assert same == (probes.subjects[one] == gallery.subjects[two])
    # Those compared are the probes, then the gallery.
    both, subjects = rows_of(probes) + rows_of(gallery), [*probes.subjects, *gallery.subjects]
    assert split.verify.subjects.tolist() == subjects
    for images, expected in zip(rows_of(split.verify), both, strict=True):
        np.testing.assert_array_equal(images, expected)


def test_splits_are_drawn_anew_from_the_seed():
    faces = made_up(people=9)
    first, again, other = (template_splits(faces, splits=2, seed=seed) for seed in (1, 1, 2))
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.verify.subjects, two.verify.subjects)
        np.testing.assert_array_equal(one.pairs, two.pairs)
        np.testing.assert_array_equal(one.verify.rows, two.verify.rows)
    assert any(
        one.verify.rows.tolist() != two.verify.rows.tolist()
        for one, two in zip(first, other, strict=True)
    )
    # More splits do not move those before them.
    longer = template_splits(faces, splits=3, seed=1)
    np.testing.assert_array_equal(longer[1].pairs, first[1].pairs)
    np.testing.assert_array_equal(longer[1].verify.rows, first[1].verify.rows)


def test_splits_need_occluders_and_clean_images():
    faces = made_up()
    with pytest.raises(UserError, match="no attribute 'occluder'"):
        template_splits(FaceSet("bare", faces.images, faces.identity, None))
    covered = faces.attributes | {"occluder": np.full(len(faces), "mask")}
    with pytest.raises(UserError, match="has 0 clean images"):
        template_splits(FaceSet("covered", faces.images, faces.identity, None, covered))


def test_two_clean_images_of_a_person_are_enough_and_one_is_not():
    faces = made_up(people=3, shots=4)
    for clean in (2, 1):
        worn = np.tile(np.where(np.arange(4) < clean, "none", "hand"), 3)
        few = FaceSet("few", faces.images, faces.identity, None, {"occluder": worn})
        if clean == 1:
            with pytest.raises(UserError, match="has 1 clean images; a gallery"):
                template_splits(few, splits=1, share=1)
            continue
        [split] = template_splits(few, splits=1, share=1)
        [(probes, gallery)] = split.searches
        assert np.diff(gallery.starts).tolist() == [1, 1, 1]
        bare, _ = probes.subset(~probes.occluded)
        assert np.unique(bare.subjects).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("text", "says"),
    [("{", "not the record"), ("[]", "not the record"), ('{"format": 1}', "lacks")],
)
def test_damaged_record(saved, text, says):
    (saved[1] / "set.json").write_text(text)
    with pytest.raises(UserError, match=says):
        load_set(saved[1])
