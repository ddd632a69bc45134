"""LFW's own files and AR's file names."""

import numpy as np
import pytest
from PIL import Image

from ifr.common.errors import UserError
from ifr.datasets.check import read
from ifr.datasets.readers.ar import list_shots, read_ar
from ifr.datasets.readers.lfw import fetch_lfw, pair_list, read_lfw, read_pairs
from ifr.evaluation.protocols.report import pair_counts

PAIRS = "2\t1\nAna\t1\t2\nAna\t1\tBo\t1\nBo\t1\t2\nBo\t2\tCy\t1\n"


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_pairs_are_parsed_fold_by_fold(tmp_path):
    pairs = read_pairs(write(tmp_path / "pairs.txt", PAIRS))
    assert pairs[["fold", "same"]].values.tolist() == [[0, True], [0, False], [1, True], [1, False]]
    assert pairs.loc[3, ["first", "second"]].tolist() == ["Bo/Bo_0002", "Cy/Cy_0001"]
    one = read_pairs(write(tmp_path / "dev.txt", "1\nAna\t1\t2\nAna\t1\tBo\t1\n"))
    assert one[["fold", "same"]].values.tolist() == [[0, True], [0, False]]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "line 1: expected the number of folds and of pairs, .* got ''"),
        ("Ana\t1\t2\n", "line 1: expected the number of folds"),
        ("2\t1\nAna\t1\t2\n", "4 pairs expected after line 1, 1 lines found"),
        (PAIRS.replace("Bo\t1\t2", "Bo\t1"), r"line 4: expected name, number, number, .* got 'Bo"),
        (PAIRS.replace("Ana\t1\tBo\t1", "Ana\tx\tBo\t1"), "line 3: expected name, number, name"),
        (PAIRS.replace("Ana\t1\t2", "Ana\t1\t1"), "line 2: an image paired with itself"),
        (
            PAIRS.replace("Bo\t2\tCy\t1", "Bo\t2\tBo\t1"),
            "line 5: a pair of two people names Bo twice",
        ),
        (
            "1\t2\nAna\t1\t2\nAna\t2\t1\nAna\t1\tBo\t1\nAna\t2\tBo\t1\n",
            "line 3: the same pair as in line 2",
        ),
    ],
)
def test_wrong_pairs_files_are_refused_by_line(tmp_path, text, match):
    with pytest.raises(UserError, match=rf"pairs\.txt.*{match}"):
        read_pairs(write(tmp_path / "pairs.txt", text))


def test_missing_images_cost_pairs(photographs_root):
    faces = read_lfw(photographs_root).faces
    pairs = read_pairs(photographs_root / "pairs.txt")
    gone = faces.attributes["file"] == "templates_0/templates_0_0001.jpg"
    left = faces[~gone]
    found, problems = pair_list(left, pairs)
    assert len(found.pairs) == 60 and found.formed.sum() == 58
    counts = pair_counts(found).set_index(["part", "kind"])
    assert counts.loc[("fold 1", "same pairs")].tolist() == [3, 2, 1]
    assert counts.loc[("fold 1", "different pairs")].tolist() == [3, 2, 1]
    assert counts["listed"].sum() == 60 and counts["lost"].sum() == 2 and len(counts) == 20
    assert [(p.where, p.impact) for p in problems] == [
        ("templates_0/templates_0_0001", "2 of the 60 pairs cannot be formed")
    ]
    one, two = left.attributes["subject"][found.pairs[found.formed].T]
    assert ((one == two) == found.same[found.formed]).all()
    # templates_0 and templates_1 are fold 0
    first = found.folds[found.formed] == 0
    assert set(one[first]) | set(two[first]) == {"templates_0", "templates_1"}


def test_lfw_is_found_in_its_layouts(photographs_root, tmp_path):
    whole = read_lfw(photographs_root)
    assert whole.counts["pairs"] == 60 and len(whole.protocol.pairs) == 60
    assert whole.issues == ()
    inside = read_lfw(photographs_root / "lfw112")  # pairs.txt lies beside it
    assert len(inside.protocol.pairs) == 60
    (tmp_path / "lfw_funneled").symlink_to(photographs_root / "lfw112")
    bare = read_lfw(tmp_path)
    assert bare.protocol is None
    assert [p.where for p in bare.issues] == ["pairs.txt"]
    with pytest.raises(UserError, match="there is no folder"):
        read_lfw(tmp_path / "absent")


def test_masked_lfw_is_read_as_lfw(photographs_root, tmp_path):
    (tmp_path / "mlfw").symlink_to(photographs_root / "lfw112")
    write(tmp_path / "pairs.txt", (photographs_root / "pairs.txt").read_text())
    index = read("mlfw", tmp_path)
    assert index.protocol.formed.all() and index.faces.name == "mlfw"


def test_fetching_calls_scikit_learn_and_explains_when_it_cannot(tmp_path, monkeypatch):
    import sklearn.datasets

    called = []

    def fetch(data_home, **options):
        called.append(options)
        home = tmp_path / "lfw_home" / "lfw_funneled" / "Ana"
        home.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (250, 250)).save(home / "Ana_0001.jpg")

    monkeypatch.setattr(sklearn.datasets, "fetch_lfw_people", fetch)
    monkeypatch.setattr(sklearn.datasets, "fetch_lfw_pairs", fetch)
    root = fetch_lfw(tmp_path)
    assert len(called) == 2 and read_lfw(root).counts == dict(images=1, identities=1)

    def offline(**options):
        raise OSError("no route")

    monkeypatch.setattr(sklearn.datasets, "fetch_lfw_people", offline)
    with pytest.raises(UserError, match=r"cannot be downloaded \(no route\); get it elsewhere and"):
        fetch_lfw(tmp_path)


def test_the_published_files(real_faces):
    pairs = read_pairs(real_faces / "pairs.txt")
    assert len(pairs) == 6000 and pairs["same"].sum() == 3000
    assert (pairs["fold"].value_counts() == 600).all() and pairs["fold"].nunique() == 10
    reading = read_lfw(real_faces)
    assert reading.counts == dict(images=13_197, identities=5735, pairs=6000)
    shown = pairs[["first", "second"]]
    lacking = set(shown.to_numpy().ravel())
    there = {f.removesuffix(".jpg") for f in reading.faces.attributes["file"].tolist()}
    lost = (~shown.isin(there).all(axis=1)).sum()
    assert reading.protocol.formed.sum() == 6000 - lost == 5963
    missed = (real_faces / "lfw112_missed.txt").read_text()
    gone = {p.where for p in reading.issues if p.kind == "missing image"}
    assert gone == {file for file in lacking - there}
    assert all(name.split("/")[1] in missed for name in gone)


# ---- AR


@pytest.fixture
def ar(smoke_sets, tmp_path):
    root = tmp_path / "AR faces"
    (root / "set 1").mkdir(parents=True)
    images = smoke_sets["ar"].images
    for k, name in enumerate(
        [
            "m-001-01.bmp",
            "m-001-8.bmp",
            "M-001-11.BMP",
            "w-12-13.png",
            "w-012-21.png",
            "w-012-14.png",
        ]
    ):
        Image.fromarray(np.asarray(images[k])).save(root / "set 1" / name)
    return root


def test_ar_is_read_by_its_names(ar, smoke_sets):
    reading = read_ar(ar)
    faces = reading.faces
    rows = dict(
        zip(
            zip(
                faces.attributes["subject"].tolist(), faces.attributes["shot"].tolist(), strict=True
            ),
            range(len(faces)),
            strict=True,
        )
    )
    assert set(rows) == {
        ("m-001", 1),
        ("m-001", 8),
        ("m-001", 11),
        ("w-012", 13),
        ("w-012", 14),
        ("w-012", 21),
    }
    said = {
        key: tuple(faces.attributes[name][row] for name in ("session", "occluder"))
        for key, row in rows.items()
    }
    assert said["m-001", 1] == (1, "none") and said["m-001", 8] == (1, "sunglasses")
    assert said["m-001", 11] == (1, "scarf") and said["w-012", 13] == (1, "scarf")
    assert said["w-012", 14] == (2, "none") and said["w-012", 21] == (2, "sunglasses")
    assert reading.counts == dict(images=6, identities=2, occluded=4, paper_subset=3)
    assert np.array_equal(faces.images[rows["w-012", 21]], smoke_sets["ar"].images[4])
    short = {p.where: p.impact for p in reading.issues if p.kind == "missing shots"}
    assert short == {
        "m-001": "23 of its 26 shots are not there",
        "w-012": "23 of its 26 shots are not there",
    }


def test_every_shot_of_the_sessions_people_sat_for_is_listed(ar):
    faces = read_ar(ar).faces
    shots = list_shots(faces, np.arange(len(faces)))
    sat = shots.groupby(["subject", "session"]).size().to_dict()
    assert sat == {("m-001", 1): 13, ("w-012", 1): 13, ("w-012", 2): 13}
    there = shots[shots["row"] >= 0]
    rows, kept = there["row"].to_numpy(), faces.attributes
    assert sorted(rows) == list(range(6))
    assert (kept["shot"][rows] == there["shot"]).all()
    assert (kept["occluder"][rows] == there["occluder"]).all()
    assert (kept["subject"][rows] == there["subject"]).all()


def test_ar_notes_what_it_does_not_read(ar, tmp_path):
    (ar / "m-001-02.raw").write_bytes(b"\0" * 100)
    (ar / "m-001-27.bmp").write_bytes(b"x")
    (ar / "readme.txt").write_text("x")
    Image.new("RGB", (9, 9)).save(ar / "m-1-8.bmp")
    kinds = {(p.kind, p.where) for p in read_ar(ar).issues if p.kind != "missing shots"}
    assert ("image whose ending is not read", "m-001-02.raw") in kinds and (
        "stray file",
        "m-001-27.bmp",
    ) in kinds
    assert ("stray file", "readme.txt") in kinds
    assert len([k for k in kinds if k[0] == "duplicate"]) == 1
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="holds no image named as AR's are"):
        read_ar(tmp_path / "none")
