"""``ifr explain``: two faces of a set or two photographs, what is written, and what is refused."""

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from ifr.cli import main as cli
from ifr.common import paths
from ifr.common.errors import UserError
from ifr.datasets.align import warp_face
from ifr.datasets.rendered import plan_sets, set_folder
from ifr.evaluation.features import NetworkEmbedding
from ifr.experiment import explained
from ifr.profiles import get_profile, get_variant
from ifr.training import Recipe, Session


@pytest.fixture(scope="session")
def network(smoke_sets) -> str:
    """The folder of a trained network of the smoke profile."""
    profile = get_profile("smoke")
    recipe = Recipe(get_variant("base"), profile, smoke_sets["train"])
    return str(recipe.follow(Session(progress=False)).folder)


@pytest.fixture(scope="session")
def people(smoke_sets) -> str:
    """The folder of the rendered set of held-out people."""
    spec = next(s for s in plan_sets(get_profile("smoke").faces) if s.name == "validation")
    return str(set_folder(spec, paths.data()))


@pytest.fixture
def explain(monkeypatch, capsys, tmp_path, network):
    """Run the command on two faces; return the exit status, what it says and the folder."""

    def run(*arguments: str):
        command = ["ifr", "explain", *arguments, "--network", network, "--to", str(tmp_path / "to")]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return stop.value.code or 0, capsys.readouterr(), tmp_path / "to"

    return run


def test_two_faces_of_a_set_with_the_threshold_of_its_people(explain, people) -> None:
    code, said, folder = explain(f"{people}:0", f"{people}:1", "--far", "0.02", "--fill", "grey")
    facts = json.loads((folder / "explanation.json").read_text(encoding="utf-8"))
    assert code == 0 and facts["sentence"] in said.out
    assert facts["faces"] == ["validation:0", "validation:1"] and facts["fill"] == "grey"
    shares = np.array([part["shares"] for part in facts["parts"]]).sum(axis=0)
    np.testing.assert_allclose(shares, facts["score"], atol=1e-9)
    assert np.sum(facts["by_filter"]) == pytest.approx(facts["score"], abs=1e-9)
    assert np.sum(facts["maps"], axis=(1, 2)) == pytest.approx([facts["score"]] * 2, abs=1e-9)
    assert facts["same_person"] == (facts["score"] >= facts["threshold"]["value"])
    assert facts["threshold"]["pairs"] == 36 * 30 // 2 and facts["threshold"]["far"] == 0.02
    page = (folder / "explanation.html").read_text(encoding="utf-8")
    assert facts["sentence"].split(".")[0] in page and 'src="data:image/png;base64,' in page
    assert "http" not in page, "the page needs no network"
    assert sorted(path.name for path in folder.iterdir()) == [
        f"explanation.{kind}" for kind in ("html", "json", "pdf", "png")
    ]


def test_two_photographs_with_landmarks_of_a_whole_data_set(explain, wide_people) -> None:
    root, files, points, _, _ = wide_people
    np.savez(root / "marks.npz", names=files, landmarks=points)
    named = [str(root / file) for file in files[:2]]
    code, _, folder = explain(*named, "--landmarks", str(root / "marks.npz"))
    facts = json.loads((folder / "explanation.json").read_text(encoding="utf-8"))
    assert code == 0 and facts["threshold"] is None and facts["sentence"].startswith("Score ")
    shown = explained.find_face(named[0], root / "marks.npz")
    assert max(shown.picture.shape[:2]) < 250, "what lies around the face"
    again = warp_face(shown.picture, shown.matrix)
    assert np.abs(again.astype(int) - shown.face.images[0]).mean() < 2


@pytest.mark.parametrize(
    ("first", "extra", "words"),
    [
        ("nowhere.jpg", [], "nowhere.jpg"),
        ("{people}:999", [], "faces 0 to 35, got '999'"),
        ("{people}:1x", [], "faces 0 to 35, got '1x'"),
        ("{people}:0", ["--far", "0"], "far must lie between 0 and 1"),
        ("{people}:0", ["--far", "0.0001"], "needs at least 10,000 pairs of two people, got 540"),
        ("{people}:0", ["--fill", "pink"], "fill must be one of skin, grey, black, blurred"),
        ("{people}:0", ["--impostors", "nowhere"], "no data set at nowhere"),
        ("{blank}", [], "no face found; give another photograph, or --landmarks"),
        ("{blank}", ["--landmarks", "none.npz"], "none.npz"),
        ("{blank}", ["--method", "six"], "method must be one of five, all, none"),
    ],
)
def test_a_wrong_word_is_one_line_and_leaves_nothing(
    explain, people, tmp_path, first, extra, words
) -> None:
    blank = tmp_path / "blank.png"
    Image.new("RGB", (80, 60), (90, 90, 90)).save(blank)
    named = first.format(people=people, blank=blank)
    code, said, folder = explain(named, f"{people}:1", *extra)
    assert code == 2 and words in said.err and len(said.err.strip().splitlines()) == 1
    assert not folder.exists()


def test_a_network_that_cannot_be_explained_is_named(monkeypatch) -> None:
    for words, name in (
        ("unknown profile 'clasroom'", "clasroom:full"),
        ("is not there", "nowhere"),
    ):
        with pytest.raises(UserError, match=words):
            explained.open_network(name)
    published = NetworkEmbedding("arcface", 112, torch.nn.Linear(1, 1), "embedding")
    monkeypatch.setattr(explained, "load_embedding", lambda path: published)
    with pytest.raises(UserError, match=r"backbone.pth is a Linear: an exact explanation needs"):
        explained.open_network("backbone.pth")
