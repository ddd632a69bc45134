"""IJB-A and IJB-C on small trees of both layouts: templates, flags, gaps and broken tables."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ifr.common.errors import UserError
from ifr.datasets.readers.ijb import group_templates, index_pairs, read_ijba, read_ijbc
from ifr.evaluation.protocols.ijb import present

IJBA = [
    "TEMPLATE_ID",
    "SUBJECT_ID",
    "FILE",
    "MEDIA_ID",
    "SIGHTING_ID",
    "FRAME",
    "FACE_X",
    "FACE_Y",
    "FACE_WIDTH",
    "FACE_HEIGHT",
    "RIGHT_EYE_X",
    "RIGHT_EYE_Y",
    "LEFT_EYE_X",
    "LEFT_EYE_Y",
    "NOSE_BASE_X",
    "NOSE_BASE_Y",
    "FACE_YAW",
    "FOREHEAD_VISIBLE",
    "EYES_VISIBLE",
    "NOSE_MOUTH_VISIBLE",
    "INDOOR",
    "GENDER",
    "SKIN_TONE",
    "AGE",
    "FACIAL_HAIR",
]


def line(template, subject, file, media, flags=(1, 1, 1), x=5):
    values = dict.fromkeys(IJBA, "")
    values |= dict(
        TEMPLATE_ID=template,
        SUBJECT_ID=subject,
        FILE=file,
        MEDIA_ID=media,
        SIGHTING_ID=media,
        FACE_X=x,
        FACE_Y=6,
        FACE_WIDTH=90,
        FACE_HEIGHT=95,
        RIGHT_EYE_X=38,
        RIGHT_EYE_Y=52,
        LEFT_EYE_X=73,
        LEFT_EYE_Y=51.5,
        NOSE_BASE_X=56,
        FACE_YAW=-12.5,
    )
    for name, flag in zip(IJBA[17:20], flags, strict=True):
        values[name] = flag
    return values


def write_image(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(image)).save(path)


@pytest.fixture
def ijba(smoke_sets, tmp_path):
    """Three splits; endings vary, one image and one visibility flag are missing."""
    root = tmp_path / "IJB A"
    images = smoke_sets["validation"].images
    for k, name in enumerate(
        ["img/1.JPG", "img/2.jpeg", "img/3.png", "frame/7_00100.png", "frame/7_00130.PNG"]
    ):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(images[k])).save(
            path, format="PNG" if name.lower().endswith("png") else "JPEG"
        )
    verify = [
        line(10, 1, "img/1.jpg", 1),
        line(10, 1, "img/9.jpg", 9),
        line(11, 1, "img/2.jpg", 2, flags=(1, 0, 1)),
        line(12, 2, "frame/7_00100.png", 3),
        line(12, 2, "frame/7_00130.png", 3, flags=(1, 1, "")),
        line(13, 3, "img/9.jpg", 9),
    ]
    gallery = [line(20, 1, "img/1.jpg", 1), line(21, 2, "frame/7_00100.png", 3)]
    probes = [line(30, 1, "img/2.jpg", 2, flags=(1, 0, 1)), line(31, 4, "img/3.png", 5)]
    for number in (1, 2, 3):
        one, many = (root / f"IJB-A_{kind}_sets/split{number}" for kind in ("11", "1N"))
        one.mkdir(parents=True)
        many.mkdir(parents=True)
        pd.DataFrame(verify).to_csv(one / f"verify_metadata_{number}.csv", index=False)
        pairs = "10,11\n10,12\n11,12\n12,11\n10,13\n99,10\n"
        (one / f"verify_comparisons_{number}.csv").write_text(pairs)
        pd.DataFrame(gallery).to_csv(many / f"search_gallery_{number}.csv", index=False)
        # Columns in another order mean the same.
        shuffled = pd.DataFrame(probes)[IJBA[::-1]]
        shuffled.to_csv(many / f"search_probe_{number}.csv", index=False)
    return root


def test_ijba_reads_both_trees(ijba, smoke_sets):
    reading = read_ijba(ijba)
    faces, split = reading.faces, reading.protocol[0]
    assert len(reading.protocol) == 3 and reading.counts["splits"] == 3
    assert reading.counts["images"] == 5 and reading.counts["faces"] == 5
    assert reading.counts["identities"] == 3  # subject 3's one image is missing
    assert split.verify.ids.tolist() == [10, 11, 12, 13]
    assert split.verify.subjects.tolist() == [1, 1, 2, 3]
    assert (split.verify.rows < 0).tolist() == [False, True, False, False, False, True]
    video = slice(*split.verify.starts[2:4])
    files = faces.attributes["image"][split.verify.rows[video]].tolist()
    assert files == ["frame/7_00100.png", "frame/7_00130.PNG"]
    assert len(set(split.verify.media[video].tolist())) == 1
    assert split.pairs.tolist() == [[0, 1], [0, 2], [1, 2], [0, 3]] and split.unknown == 1
    assert split.same.tolist() == [True, False, False, False]
    left = present(split)
    assert left.verify.ids.tolist() == [10, 11, 12]
    assert left.pairs.tolist() == [[0, 1], [0, 2], [1, 2]]
    [(probes, gallery)] = split.searches
    assert gallery.subjects.tolist() == [1, 2] and probes.subjects.tolist() == [1, 4]
    row = faces.attributes["image"].tolist().index("img/3.png")
    assert np.array_equal(faces.images[row], smoke_sets["validation"].images[2])


def test_ijba_gives_box_eyes_and_no_mouth(ijba):
    faces = read_ijba(ijba).faces
    assert np.allclose(faces.attributes["box"][0], [5, 6, 90, 95])
    points = faces.attributes["five_points"][0]
    assert np.allclose(points[:2], [[38, 52], [73, 51.5]])
    assert np.isnan(points[2, 1]) and np.isnan(points[3:]).all()
    assert faces.attributes["yaw"][0] == -12.5 and faces.landmarks is None


def test_faces_with_fewer_than_two_points_are_counted(ijba):
    path = ijba / "IJB-A_11_sets/split1/verify_metadata_1.csv"
    table = pd.read_csv(path)
    table.loc[table["FILE"] == "img/2.jpg", ["RIGHT_EYE_X", "FACE_X"]] = np.nan, 7  # a new box
    table.to_csv(path, index=False)
    reading = read_ijba(ijba)
    few = [one for one in reading.issues if one.kind == "fewer than two of the three points"]
    assert [one.where for one in few] == ["img/2.jpeg#0"]
    assert "unless --landmarks or --detect" in few[0].impact
    assert reading.counts["without_two_points"] == 1


def test_the_rule_of_a_missing_flag_is_an_option(ijba):
    seen = read_ijba(ijba, missing_flag="visible").protocol[0].verify
    hidden = read_ijba(ijba, missing_flag="occluded").protocol[0].verify
    assert seen.occluded.tolist() == [False, False, True, False, False, False]
    assert hidden.occluded.tolist() == [False, False, True, False, True, False]
    assert read_ijba(ijba, missing_flag="occluded").counts["occluded"] == 2
    with pytest.raises(UserError, match="missing_flag must be visible or occluded, got 'maybe'"):
        read_ijba(ijba, missing_flag="maybe")


def test_ijba_lists_gaps_with_their_cost(ijba):
    problems = read_ijba(ijba).issues
    kinds = {}
    for problem in problems:
        kinds.setdefault(problem.kind, []).append(problem)
    image = kinds["missing image"]
    assert len(image) == 1 and image[0].where == "img/9.jpg"
    assert image[0].impact == "6 templates lose it"  # two templates of each split
    assert kinds["template without images"][0].where == "split1 verify, template 13"
    assert kinds["duplicate comparisons"][0].impact == "1 are counted once"
    # 99,10; 10,13 is of a template without images
    assert kinds["comparisons of unknown templates"][0].impact == "1 of 6 are left out"
    assert len(kinds["missing split"]) == 14


def test_broken_ijba_tables_are_refused_by_file_and_column(ijba, tmp_path):
    path = ijba / "IJB-A_11_sets/split2/verify_metadata_2.csv"
    good = pd.read_csv(path)
    good.drop(columns="EYES_VISIBLE").to_csv(path, index=False)
    with pytest.raises(UserError, match=r"verify_metadata_2\.csv lacks the column EYES_VISIBLE"):
        read_ijba(ijba)
    good.assign(TEMPLATE_ID=["a", 1, 2, 3, 4, 5]).to_csv(path, index=False)
    with pytest.raises(UserError, match=r"_2\.csv, line 2: TEMPLATE_ID must be a whole number"):
        read_ijba(ijba)
    good.assign(SUBJECT_ID=[1, 1, 1, 2, 7, 3]).to_csv(path, index=False)
    with pytest.raises(UserError, match="template 12 is of subject 2 in one line and 7"):
        read_ijba(ijba)
    path.unlink()
    with pytest.raises(UserError, match=r"there is no file .*verify_metadata_2\.csv"):
        read_ijba(ijba)
    good.to_csv(path, index=False)
    (path.parent / "verify_comparisons_2.csv").write_text("10,11\n10,eleven\n")
    with pytest.raises(UserError, match=r"verify_comparisons_2\.csv: expected 2 fields a line"):
        read_ijba(ijba)
    with pytest.raises(UserError, match="holds no split"):
        read_ijba(tmp_path)


IJBC = [
    "TEMPLATE_ID",
    "SUBJECT_ID",
    "FILENAME",
    "SIGHTING_ID",
    "FACE_X",
    "FACE_Y",
    "FACE_WIDTH",
    "FACE_HEIGHT",
    "FRAME_NUM",
    "FACIAL_HAIR",
    "AGE",
    "INDOOR_OUTDOOR",
    "SKINTONE",
    "GENDER",
    "YAW",
    "ROLL",
    *(f"OCC{k}" for k in range(1, 19)),
]


def nist(template, subject, file, sighting, frame="", occluded=None):
    values = dict.fromkeys(IJBC, 0) | dict(
        TEMPLATE_ID=template,
        SUBJECT_ID=subject,
        FILENAME=file,
        SIGHTING_ID=sighting,
        FRAME_NUM=frame,
        FACE_X=1,
        FACE_Y=2,
        FACE_WIDTH=100,
        FACE_HEIGHT=100,
    )
    return values | ({f"OCC{occluded}": 1} if occluded else {})


@pytest.fixture
def ijbc(smoke_sets, tmp_path):
    root = tmp_path / "IJB C"
    images = smoke_sets["validation"].images
    names = ["img/1.png", "img/2.png", "frames/5_1.png", "frames/5_2.png", "img/4.png"]
    for name, image in zip(names, images, strict=False):
        write_image(root / name, image)
    (root / "protocols").mkdir()
    tables = {
        "ijbc_1N_gallery_G1": [nist(1, 100, "img/1.png", 11), nist(1, 100, "img/2.png", 12)],
        "ijbc_1N_gallery_G2": [nist(2, 200, "img/4.png", 13, occluded=8)],
        "ijbc_1N_probe_mixed": [
            nist(5, 100, "frames/5_1.png", 20, frame=1),
            nist(5, 100, "frames/5_2.png", 20, frame=2, occluded=18),
            nist(6, 300, "img/9.png", 21),
            nist(7, 200, "img/4.png", 13, occluded=8),
        ],
    }
    for name, rows in tables.items():
        pd.DataFrame(rows).to_csv(root / f"protocols/{name}.csv", index=False)
    matches = "1,5\n2,7\n1,7\n1,5\n5,1\n2,6\n2,77\n"
    (root / "protocols/ijbc_11_G1_G2_matches.csv").write_text(matches)
    return root


def test_ijbc_in_nists_layout(ijbc):
    reading = read_ijbc(ijbc)
    protocol, faces = reading.protocol, reading.faces
    assert protocol.verify.ids.tolist() == [1, 2, 5, 6, 7] and protocol.unknown == 1
    left = present(protocol)
    assert left.verify.ids.tolist() == [1, 2, 5, 7]
    assert left.pairs.tolist() == [[0, 2], [1, 3], [0, 3]]
    assert left.same.tolist() == [True, True, False]
    assert [gallery.ids.tolist() for _, gallery in left.searches] == [[1], [2]]
    assert [probes.ids.tolist() for probes, _ in left.searches] == [[5, 7], [5, 7]]
    stills, video = protocol.verify.media[:2], protocol.verify.media[3:5]
    assert stills[0] != stills[1] and video[0] == video[1]
    assert left.verify.occluded.tolist() == [False, False, True, False, True, True]
    assert len(faces) == 5 and reading.counts["occluded"] == 2
    assert reading.counts["templates"] == 4 and reading.counts["comparisons"] == 3
    costs = {problem.kind: problem.impact for problem in reading.issues}
    assert costs["duplicate comparisons"] == "2 are counted once"
    assert costs["comparisons of unknown templates"] == "1 of 7 are left out"
    assert costs["template without images"].startswith("it is left out")


@pytest.fixture
def arcface(smoke_sets, tmp_path):
    root = tmp_path / "arcface"
    (root / "meta").mkdir(parents=True)
    for k in range(4):
        write_image(root / f"loose_crop/{k + 1}.jpg", smoke_sets["validation"].images[k])
    (root / "meta/ijbc_face_tid_mid.txt").write_text(
        "1.jpg 1 10\n2.jpg 1 11\n3.jpg 2 12\n4.jpg 3 13\n9.jpg 4 14\n"
    )
    (root / "meta/ijbc_template_pair_label.txt").write_text("1 2 1\n1 3 0\n3 4 0\n")
    points = " ".join(str(40 + k) for k in range(10))
    lines = [f"{k}.jpg {points} 0.99" for k in (3, 1, 2)]
    (root / "meta/ijbc_name_5pts_score.txt").write_text("\n".join(lines) + "\n")
    return root


def test_ijbc_in_arcfaces_layout(arcface):
    reading = read_ijbc(arcface)
    protocol = reading.protocol
    left = present(protocol)
    assert left.pairs.tolist() == [[0, 1], [0, 2]] and left.same.tolist() == [True, False]
    assert protocol.searches == () == left.searches
    assert left.verify.subjects.tolist() == [-1, -1, -1]
    points = reading.faces.attributes["five_points"]
    assert points[0].tolist() == [[40, 41], [42, 43], [44, 45], [46, 47], [48, 49]]
    assert np.isnan(points[3]).all()
    kinds = {problem.kind for problem in reading.issues}
    assert {"missing image", "no five points", "no subjects and no occlusion"} <= kinds


def test_broken_ijbc_is_refused(arcface, ijbc, tmp_path):
    with pytest.raises(UserError, match=r"lacks .*G1_G2_matches\.csv and .*tid_mid"):
        read_ijbc(tmp_path / "nowhere")
    (arcface / "meta/ijbc_template_pair_label.txt").write_text("1 2 1\n1 3 2\n")
    with pytest.raises(UserError, match=r"pair_label\.txt, line 2: label must be 0 or 1, got 2"):
        read_ijbc(arcface)
    path = ijbc / "protocols/ijbc_1N_probe_mixed.csv"
    pd.read_csv(path).drop(columns="OCC7").to_csv(path, index=False)
    with pytest.raises(UserError, match=r"probe_mixed\.csv lacks the column OCC7"):
        read_ijbc(ijbc)


def test_pairs_are_placed_as_a_plain_loop_places_them():
    rng = np.random.default_rng(0)
    ids = np.sort(rng.choice(200, 40, replace=False))
    lines = dict(TEMPLATE_ID=ids, SUBJECT_ID=ids, MEDIA_ID=ids, row=np.arange(40))
    templates = group_templates(pd.DataFrame(lines).assign(occluded=False, source="x"), "x")
    first, second = rng.integers(0, 200, (2, 3000))
    first[:500], second[:500] = rng.choice(ids, (2, 500))
    seen, expected, kept = set(), [], []
    place = {number: k for k, number in enumerate(ids.tolist())}
    for k, (a, b) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        if a in place and b in place and frozenset((a, b)) not in seen:
            seen.add(frozenset((a, b)))
            expected.append([place[a], place[b]])
            kept.append(k)
    pairs, which, repeats = index_pairs(templates, first, second)
    assert pairs.tolist() == expected and which.tolist() == kept
    both = sum(a in place and b in place for a, b in zip(first, second, strict=True))
    assert repeats == both - len(expected)
