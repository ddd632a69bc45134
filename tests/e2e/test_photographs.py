"""The sets of a run on photographs: who is trained on, who is tested, what a wrong folder gets."""

from collections import Counter

import numpy as np
import pytest

from ifr.common.errors import UserError
from ifr.datasets.photographs import ensure_photographs, find_folders, lfw_test_pairs
from ifr.profiles import PhotographsPlan


@pytest.fixture(scope="module")
def sets(photographs_root, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return ensure_photographs(PhotographsPlan(), photographs_root, cache, progress=False)


def test_training_people_are_apart_from_the_test_pairs(sets):
    trained = {name.split("/")[1] for name in sets["train"].attributes["subject"]}
    tested = set(sets["lfw"].attributes["subject"].tolist())
    assert not trained & tested
    assert {f"validation_{k}" for k in range(6)} <= trained
    assert {f"{k:04d}" for k in range(12)} <= trained and len(trained) == 18


def test_closed_holds_one_image_in_eight_of_the_same_people_and_shares_none(sets):
    train, closed = sets["train"], sets["closed"]
    # 12 people of 8 images give one each; 6 people of 6 images give none.
    assert len(train) == 12 * 7 + 6 * 6 and len(closed) == 12
    assert set(closed.identity.tolist()) <= set(train.identity.tolist())
    seen = {image.tobytes() for image in train.images}
    assert not any(image.tobytes() in seen for image in closed.images)
    subject = dict(zip(train.identity.tolist(), train.attributes["subject"], strict=True))
    for who, name in zip(closed.identity.tolist(), closed.attributes["subject"], strict=True):
        assert subject[who] == name
    assert train.fingerprint != closed.fingerprint


def test_the_test_set_holds_the_images_of_the_pairs_and_no_other(sets, photographs_root):
    lfw = sets["lfw"]
    pairs = lfw_test_pairs(lfw, photographs_root)
    assert len(pairs.pairs) == 60 and pairs.same.sum() == 30
    assert set(pairs.pairs.ravel().tolist()) == set(range(len(lfw)))
    one, two = lfw.identity[pairs.pairs.T]
    assert ((one == two) == pairs.same).all()
    assert set(lfw.identity.tolist()) == set(range(20))
    assert lfw.images.shape[1:] == (112, 112, 3) and lfw.landmarks.shape[1:] == (68, 2)


def test_fewer_pairs_keep_every_fold_and_both_kinds(sets, photographs_root):
    pairs = lfw_test_pairs(sets["lfw"], photographs_root, 20)
    kinds = Counter(zip(pairs.folds.tolist(), pairs.same.tolist(), strict=True))
    assert len(pairs.pairs) == 20 and len(kinds) == 20


def test_landmarks_stay_with_their_images(sets, smoke_sets):
    train, source = sets["train"], smoke_sets["train"]
    own = {f"people112/{who:04d}": source[source.identity == who] for who in range(12)}
    for name, faces in own.items():
        rows = np.flatnonzero(train.attributes["subject"] == name)
        assert np.allclose(train.landmarks[rows], faces.landmarks[:7], atol=1e-4)
        gap = np.abs(np.asarray(train.images[rows]).astype(int) - np.asarray(faces.images[:7]))
        assert gap.mean() < 4  # what JPEG changes


def test_only_the_largest_identities_are_taken_when_fewer_are_asked_for(photographs_root, tmp_path):
    plan = PhotographsPlan(identities=5, held_out=4)
    sets = ensure_photographs(plan, photographs_root, tmp_path, progress=False)
    assert len(np.unique(sets["train"].identity)) == 5
    assert all(name.startswith("people112/") for name in sets["train"].attributes["subject"])


def test_a_wrong_folder_is_told_what_it_lacks(tmp_path, photographs_root):
    with pytest.raises(UserError, match="not a folder; set IFR_REAL_FACES"):
        find_folders(tmp_path / "absent")
    with pytest.raises(UserError, match=r"lacks LFW: expected a folder lfw or lfw112"):
        find_folders(tmp_path)
    lonely = tmp_path / "lonely"
    lonely.mkdir()
    (lonely / "lfw112").symlink_to(photographs_root / "lfw112")
    (lonely / "pairs.txt").write_bytes((photographs_root / "pairs.txt").read_bytes())
    with pytest.raises(UserError, match=r"lfw112_landmarks68\.npz is missing"):
        ensure_photographs(PhotographsPlan(), lonely, tmp_path / "cache", progress=False)
    landmarks = "lfw112_landmarks68.npz"
    (lonely / landmarks).write_bytes((photographs_root / landmarks).read_bytes())
    plan = PhotographsPlan(least_images=7)
    with pytest.raises(UserError, match=r"holds 0 identities to train on"):
        ensure_photographs(plan, lonely, tmp_path / "cache", progress=False)


def test_a_training_person_with_the_name_of_a_test_person_is_left_out(photographs_root, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    for path in photographs_root.iterdir():
        if not path.name.startswith("people112"):
            (root / path.name).symlink_to(path)
    (root / "people112").mkdir()
    for person in (photographs_root / "people112").iterdir():
        (root / "people112" / person.name).symlink_to(person)
    (root / "people112" / "0003").rename(root / "people112" / "templates_0")
    with np.load(photographs_root / "people112_landmarks68.npz") as stored:
        names = [n.replace("0003/", "templates_0/") for n in stored["names"].tolist()]
        np.savez(root / "people112_landmarks68.npz", names=names, landmarks=stored["landmarks"])
    sets = ensure_photographs(PhotographsPlan(), root, tmp_path / "cache", progress=False)
    assert "people112/templates_0" not in sets["train"].attributes["subject"]
    assert len(np.unique(sets["train"].identity)) == 17


def test_the_real_folder_is_found(real_faces):
    lfw, training = find_folders(real_faces)
    assert lfw == "lfw112" and training == ["celeba299_112"]
