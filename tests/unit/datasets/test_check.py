"""ifr data check and prepare, ifr protocol: what they count, refuse and measure."""

import sys

import numpy as np
import pytest
import torch
from conftest import write_people
from torch import nn

from ifr.cli.main import main as cli
from ifr.common.errors import UserError
from ifr.datasets import FaceSet, load_set
from ifr.datasets.check import check, nearest_release, read
from ifr.datasets.index import DatasetIndex, PairList, Templates
from ifr.datasets.remap import ROW, on_prepared
from ifr.evaluation.features import NetworkEmbedding
from ifr.evaluation.protocols.published import run_protocol


def run_cli(monkeypatch, *arguments):
    """Run the command; return its exit status."""
    monkeypatch.setattr(sys, "argv", ["ifr", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli()
    return stop.value.code or 0


@pytest.fixture
def people(smoke_sets, tmp_path):
    """Three people of four images as a folder, one image broken and a note beside them."""
    faces = smoke_sets["validation"]
    root = tmp_path / "some people"
    write_people(root, faces[faces.identity < 3], ["Ana", "Björn", "Çelik"])
    (root / "Ana" / "Ana_0002.jpg").write_bytes(b"\xff\xd8\xff broken")
    (root / "notes.txt").write_text("not a face")
    return root


def test_check_counts_and_lists_what_is_broken_with_its_cost(people):
    found = check("folder", people, progress=False)
    counts = found.counts.set_index("what")["found"]
    assert counts["images"] == 18 and counts["identities"] == 3
    assert found.decoded == 18 and found.release is None
    broken = [p for p in found.issues if p.kind == "unreadable image"]
    assert len(broken) == 1 and "Ana_0002.jpg" in broken[0].where
    assert broken[0].impact == "its identity is left with 5 images"
    assert any("notes.txt" in p.where for p in found.issues)
    kinds = found.summary().set_index("kind")["count"]
    assert kinds["unreadable image"] == 1 and kinds.sum() == len(found.issues)


def test_without_decoding_a_broken_image_is_not_found(people):
    found = check("folder", people, decode=False, progress=False)
    assert found.decoded is None
    assert not any(p.kind == "unreadable image" for p in found.issues)


def test_a_folder_is_compared_with_the_release_of_its_size():
    def sized(images, identities):
        empty = FaceSet("x", np.zeros((0, 112, 112, 3), np.uint8), np.zeros(0, np.int64), None)
        return DatasetIndex(empty, dict(images=images, identities=identities))

    assert nearest_release("folder", sized(494_000, 10_570)) == "CASIA-WebFace"
    assert nearest_release("folder", sized(493_456, 10_575)) == "CASIA-WebFace as in the paper"
    assert nearest_release("folder", sized(202_000, 10_177)) == "CelebA"
    assert nearest_release("folder", sized(5_000, 300)) is None
    assert nearest_release("lfw", sized(10, 3)) == "LFW"


def test_lfw_is_checked_against_its_published_counts(photographs_root):
    found = check("lfw", photographs_root, decode=False, progress=False)
    rows = found.counts.set_index("what")
    assert found.release == "LFW"
    assert rows.loc["images", "published"] == 13_233 and rows.loc["identities", "found"] == 26


def test_the_cost_of_a_broken_lfw_image_is_its_pairs(photographs_root, tmp_path):
    root = tmp_path / "lfw"
    root.mkdir()
    (root / "pairs.txt").write_bytes((photographs_root / "pairs.txt").read_bytes())
    for person in (photographs_root / "lfw112").iterdir():
        target = root / "lfw112" / person.name
        target.mkdir(parents=True)
        for image in person.iterdir():
            (target / image.name).write_bytes(image.read_bytes())
    (root / "lfw112/templates_0/templates_0_0001.jpg").write_bytes(b"")
    (root / "lfw112/templates_0/templates_0_0002.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    found = check("lfw", root, progress=False)
    costs = {p.kind: p.impact for p in found.issues if "templates_0_0002" in p.where}
    # 0001 is empty and left out with its two pairs; 0002 was in one of them and in one more.
    assert costs["unreadable image"] == "1 of 58 pairs cannot be formed"


def test_an_unknown_format_or_place_is_refused(tmp_path, monkeypatch, capsys):
    with pytest.raises(UserError, match="unknown format 'zip': choose one of folder, recordio"):
        read("zip", tmp_path)
    assert run_cli(monkeypatch, "data", "check", "folder", tmp_path / "absent") == 2
    assert "absent" in capsys.readouterr().err


def test_the_command_prints_counts_problems_and_costs(people, monkeypatch, capsys):
    assert run_cli(monkeypatch, "data", "check", "folder", people, "--all") == 0
    out = capsys.readouterr().out
    assert "no published set to compare with" in out and "identities" in out
    assert "unreadable image: 1" in out and "notes.txt" in out


def templates(rows, starts, subjects):
    rows = np.array(rows)
    return Templates(
        ids=np.arange(len(subjects)) + 100,
        subjects=np.array(subjects),
        rows=rows,
        media=np.arange(len(rows)),
        starts=np.array(starts),
        occluded=rows % 2 == 0,
    )


def prepared(rows):
    images = np.zeros((len(rows), 112, 112, 3), np.uint8)
    return FaceSet("p", images, np.arange(len(rows)), None, {ROW: np.array(rows)})


def test_pairs_follow_their_images_and_lose_those_that_are_gone():
    pairs = PairList(
        np.array([[0, 1], [2, 3], [4, 5]]), np.array([True, False, True]), np.array([0, 0, 1])
    )
    left = on_prepared(pairs, prepared([5, 4, 1, 0, 2]))
    assert left.pairs.tolist() == [[3, 2], [1, 0]]
    assert left.same.tolist() == [True, True] and left.folds.tolist() == [0, 1]
    with pytest.raises(UserError, match="none of the pairs"):
        on_prepared(pairs, prepared([0, 2, 4]))
    with pytest.raises(UserError, match="no attribute 'row'"):
        on_prepared(pairs, FaceSet("q", np.zeros((1, 112, 112, 3), np.uint8), np.zeros(1), None))


def test_templates_lose_images_and_emptied_ones_their_comparisons():
    from ifr.datasets.readers.ijbc import IjbcProtocol

    verify = templates([0, 1, 2, 3, 4], [0, 2, 3, 5], [7, 8, 7])
    protocol = IjbcProtocol(
        verify=verify,
        pairs=np.array([[0, 1], [0, 2], [1, 2]], np.int32),
        same=np.array([False, True, False]),
        galleries=(templates([0, 2], [0, 1, 2], [7, 8]),),
        probes=templates([3], [0, 1], [7]),
    )
    left = on_prepared(protocol, prepared([4, 3, 1]))  # template 1 (row 2) is emptied
    assert left.verify.ids.tolist() == [100, 102]
    assert left.verify.rows.tolist() == [2, 1, 0] and left.verify.starts.tolist() == [0, 1, 3]
    assert left.verify.occluded.tolist() == [False, False, True]
    assert left.pairs.tolist() == [[0, 1]] and left.same.tolist() == [True]
    assert len(left.galleries[0].ids) == 0 and left.probes.rows.tolist() == [1]


class Pixels(nn.Module):
    """A coarse picture as its own feature: enough to tell people of this data apart a little."""

    def __init__(self):
        super().__init__()
        self.one = nn.Parameter(torch.ones(()))

    def forward(self, images):
        return nn.functional.adaptive_avg_pool2d(images * self.one, 8).flatten(1)


@pytest.fixture
def lfw_prepared(photographs_root, tmp_path, monkeypatch, capsys, smoke_home):
    landmarks = photographs_root / "lfw112_landmarks68.npz"
    status = run_cli(
        monkeypatch,
        "data",
        "prepare",
        "lfw",
        photographs_root,
        "--landmarks",
        landmarks,
        "--method",
        "none",
        "--to",
        tmp_path,
    )
    out = capsys.readouterr().out
    assert status == 0 and "faces" in out
    return next(path for path in tmp_path.iterdir() if (path / "set.json").exists())


def test_prepare_then_protocol_on_lfw(lfw_prepared, photographs_root, monkeypatch):
    network = NetworkEmbedding("pixels", 96, Pixels().eval())
    monkeypatch.setattr("ifr.evaluation.protocols.published.load_embedding", lambda path: network)
    faces = load_set(lfw_prepared)
    table = run_protocol("lfw", photographs_root, lfw_prepared, "pixels")
    assert table["over"].tolist() == ["10 folds"] and 0 <= table["value"][0] <= 100
    masked = run_protocol(
        "lfw", photographs_root, lfw_prepared, "pixels", occlusion="synthetic", mirror=True
    )
    assert np.isfinite(masked["value"][0])
    # Features of the identity itself separate every pair.
    features = np.eye(int(faces.identity.max()) + 1, dtype=np.float32)[faces.identity]
    path = lfw_prepared.parent / "truth.npz"
    np.savez(path, features=features, files=faces.attributes["file"])
    truth = run_protocol("lfw", photographs_root, lfw_prepared, path)
    assert truth["value"][0] == 100 and truth["std"][0] == 0


def test_protocol_refuses_what_the_set_does_not_have(lfw_prepared, photographs_root, tmp_path):
    def refused(match, name="lfw", **options):
        with pytest.raises(UserError, match=match):
            run_protocol(name, photographs_root, lfw_prepared, tmp_path / "f.npz", **options)

    refused("no protocol for 'folder'", name="folder")
    refused("occlusion must be one of none, synthetic, natural", occlusion="fog")
    refused("IJB-A and IJB-C, not of lfw", occlusion="natural")
    refused("IJB-A and IJB-C, not of lfw", score="media")
    refused("masks and mirrored faces need a network", occlusion="synthetic")


def write_ijba(root, images):
    """Write one IJB-A split: two people are enrolled; one of four probes has no mate."""
    import pandas as pd

    from ifr.datasets.readers.ijba import INTEGERS, NUMBERS

    def line(template, subject, k, visible=1):
        return dict.fromkeys((*INTEGERS, *NUMBERS), "") | dict(
            TEMPLATE_ID=template,
            SUBJECT_ID=subject,
            MEDIA_ID=k,
            FILE=f"img/{k}.jpg",
            FACE_X=0,
            FACE_Y=0,
            FACE_WIDTH=112,
            FACE_HEIGHT=112,
            RIGHT_EYE_X=38.3,
            RIGHT_EYE_Y=51.7,
            LEFT_EYE_X=73.5,
            LEFT_EYE_Y=51.5,
            FOREHEAD_VISIBLE=visible,
            EYES_VISIBLE=1,
            NOSE_MOUTH_VISIBLE=1,
        )

    write_people(root, images, ["img"])
    for k, path in enumerate(sorted((root / "img").iterdir())):
        path.rename(root / "img" / f"{k}.jpg")
    one, many = (root / f"IJB-A_{kind}_sets/split1" for kind in ("11", "1N"))
    one.mkdir(parents=True)
    many.mkdir(parents=True)
    enrolled = [line(1, 7, 0), line(1, 7, 1, visible=0), line(2, 8, 4, visible=0)]
    probes = [line(3, 7, 2), line(4, 7, 3, visible=""), line(5, 8, 5, visible=0), line(6, 9, 6)]
    pd.DataFrame(enrolled + probes).to_csv(one / "verify_metadata_1.csv", index=False)
    (one / "verify_comparisons_1.csv").write_text("1,3\n1,4\n2,5\n1,5\n2,3\n2,4\n")
    pd.DataFrame(enrolled).to_csv(many / "search_gallery_1.csv", index=False)
    pd.DataFrame(probes).to_csv(many / "search_probe_1.csv", index=False)


def test_check_prepare_and_protocol_on_ijba(smoke_sets, tmp_path, monkeypatch, capsys):
    root, faces = tmp_path / "IJB A", smoke_sets["validation"][:7]
    write_ijba(root, FaceSet("x", faces.images, np.zeros(7, np.int64), None))
    assert run_cli(monkeypatch, "data", "check", "ijba", root) == 0
    out = capsys.readouterr().out
    assert "compared with IJB-A as in the paper" in out and "missing split: 18" in out
    # Two eyes are enough to align by; nose and mouth are not given.
    assert run_cli(monkeypatch, "data", "prepare", "ijba", root, "--to", tmp_path) == 0
    folder = next(path for path in tmp_path.iterdir() if (path / "set.json").exists())
    prepared_faces = load_set(folder)
    gap = np.asarray(prepared_faces.images[0]).astype(int) - np.asarray(faces.images[0])
    assert np.abs(gap).mean() < 5
    capsys.readouterr()
    subjects = prepared_faces.attributes["subject"]
    truth = (subjects[:, None] == np.unique(subjects)).astype(np.float32)
    features = tmp_path / "truth.npz"
    np.savez(features, features=truth, files=prepared_faces.attributes["file"])
    command = ("protocol", "ijba", root, folder, features)
    assert run_cli(monkeypatch, *command, "--save", tmp_path / "out.csv") == 0
    out = capsys.readouterr().out
    assert out.count("100.00") == 4 and "1 splits" in out
    assert (tmp_path / "out.csv").read_text().startswith("measure,value,std,over")
    for rule, status in (("occluded", 0), ("visible", 0)):
        natural = ("--occlusion", "natural", "--missing-flag", rule)
        assert run_cli(monkeypatch, *command, *natural) == status
    assert run_cli(monkeypatch, *command, "--missing-flag", "maybe") == 2
    assert "missing_flag must be visible or occluded" in capsys.readouterr().err


def test_fetching_offline_says_what_to_do(tmp_path, monkeypatch, capsys):
    import sklearn.datasets

    def offline(**options):
        raise OSError("no route")

    monkeypatch.setattr(sklearn.datasets, "fetch_lfw_people", offline)
    assert run_cli(monkeypatch, "data", "fetch-lfw", tmp_path) == 2
    assert "get it elsewhere and lay it out" in capsys.readouterr().err
