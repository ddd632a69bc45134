"""ifr data check and prepare, ifr protocol: what they count, refuse and measure."""

import sys

import numpy as np
import pytest
from conftest import write_people

from ifr.cli.main import main as cli
from ifr.common.errors import UserError
from ifr.datasets import FaceSet
from ifr.datasets.check import check, nearest_release, read
from ifr.datasets.index import DatasetIndex


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

    assert nearest_release("folder", sized(494_000, 10_570))[0] == "CASIA-WebFace"
    assert nearest_release("folder", sized(493_456, 10_575))[0] == "CASIA-WebFace as in the paper"
    assert nearest_release("folder", sized(202_000, 10_177))[0] == "CelebA"
    assert nearest_release("folder", sized(5_000, 300))[0] is None
    assert nearest_release("lfw", sized(10, 3))[0] == "LFW"


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


def test_fetching_offline_says_what_to_do(tmp_path, monkeypatch, capsys):
    import sklearn.datasets

    def offline(**options):
        raise OSError("no route")

    monkeypatch.setattr(sklearn.datasets, "fetch_lfw_people", offline)
    assert run_cli(monkeypatch, "data", "fetch-lfw", tmp_path) == 2
    assert "get it elsewhere and lay it out" in capsys.readouterr().err
