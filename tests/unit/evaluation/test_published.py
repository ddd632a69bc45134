"""ifr protocol: what it measures, how much of a protocol it lost, and what it refuses."""

import json
import pickle
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import write_people
from PIL import Image
from torch import nn

from ifr.cli.main import main as cli
from ifr.common.errors import UserError
from ifr.datasets import FaceSet, load_set
from ifr.datasets.index import DatasetIndex, PairList, on_rows, prepared_rows
from ifr.datasets.readers.ijb import INTEGERS, NUMBERS
from ifr.evaluation.features import NetworkEmbedding
from ifr.evaluation.onnx_model import InputConvention
from ifr.evaluation.protocols.published import run_protocol
from ifr.evaluation.protocols.report import pair_counts


def run_cli(monkeypatch, *arguments):
    """Run the command; return its exit status."""
    monkeypatch.setattr(sys, "argv", ["ifr", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli()
    return stop.value.code or 0


def prepare(monkeypatch, capsys, *arguments, to):
    """Run ``ifr data prepare``; return the folder of the set."""
    assert run_cli(monkeypatch, "data", "prepare", *arguments, "--to", to) == 0
    capsys.readouterr()
    return next(path for path in to.iterdir() if (path / "set.json").exists())


def save_truth(path, folder, keep=None):
    """Write features that tell the people of a prepared set apart, of all faces or some."""
    faces = load_set(folder)
    features = np.eye(int(faces.identity.max()) + 1, dtype=np.float32)[faces.identity]
    rows = np.arange(len(faces)) if keep is None else np.flatnonzero(keep)
    np.savez(path, features=features[rows], files=faces.attributes["file"][rows])
    return path


def set_of(files, subjects=None):
    images = np.zeros((len(files), 112, 112, 3), np.uint8)
    subjects = np.array(subjects or [""] * len(files))
    attributes = dict(file=np.array(files), subject=subjects)
    return FaceSet("p", images, np.arange(len(files)), None, attributes)


def test_faces_are_found_in_a_prepared_set_by_name():
    index = DatasetIndex(set_of(["a", "b", "c", "d"], list("AABB")), {})
    prepared = set_of(["d", "gone since", "a"], list("BBA"))
    assert prepared_rows(index, prepared).tolist() == [2, -1, -1, 0]
    with pytest.raises(UserError, match="another data set: expected p, a, got p, x"):
        prepared_rows(index, set_of(["x", "y"], list("AB")))
    with pytest.raises(UserError, match="no attribute 'file'"):
        prepared_rows(index, FaceSet("q", np.zeros((1, 112, 112, 3), np.uint8), np.zeros(1), None))


def test_pairs_follow_their_images_and_lose_those_that_are_gone():
    listed = np.array([[0, 1], [2, 3], [4, 5], [1, 2]])
    pairs = PairList(listed, np.array([True, False, True, False]), np.array([0, 0, 1, 1]))
    left = on_rows(pairs, np.array([3, 2, 4, -1, 1, 0]))
    assert left.pairs.tolist() == [[3, 2], [4, -1], [1, 0], [2, 4]]
    assert left.formed.tolist() == [True, False, True, True]
    counts = pair_counts(left).set_index(["part", "kind"])["used"].to_dict()
    assert counts == {
        ("fold 1", "same pairs"): 1,
        ("fold 1", "different pairs"): 0,
        ("fold 2", "same pairs"): 1,
        ("fold 2", "different pairs"): 1,
    }
    again = on_rows(left, np.array([-1, 0, 1, 2, 3]))  # what was gone stays gone
    assert again.pairs.tolist() == [[2, 1], [3, -1], [0, -1], [1, 3]]


class Pixels(nn.Module):
    """A coarse picture as its own feature: enough to tell people of this data apart a little."""

    def __init__(self):
        super().__init__()
        self.one = nn.Parameter(torch.ones(()))
        self.seen = 0

    def forward(self, images):
        self.seen += len(images)
        return nn.functional.adaptive_avg_pool2d(images * self.one, 8).flatten(1)


@pytest.fixture(scope="module")
def lfw_prepared(photographs_root, tmp_path_factory, smoke_home):
    to = tmp_path_factory.mktemp("prepared")
    with pytest.MonkeyPatch.context() as patch:
        landmarks = photographs_root / "lfw112_landmarks68.npz"
        arguments = (photographs_root, "--landmarks", landmarks, "--method", "none", "--to", to)
        assert run_cli(patch, "data", "prepare", "lfw", *arguments) == 0
    return next(path for path in to.iterdir() if (path / "set.json").exists())


def test_lfw_embeds_only_the_images_it_compares(lfw_prepared, photographs_root, monkeypatch):
    pixels = Pixels().eval()
    network = NetworkEmbedding("pixels", 96, pixels)
    monkeypatch.setattr("ifr.evaluation.protocols.published.load_embedding", lambda *_: network)
    report = run_protocol("lfw", photographs_root, lfw_prepared, lfw_prepared / "network")
    row = report.measures.iloc[0]
    assert row["over"] == "10 folds" and 0 <= row["value"] <= 100
    assert (row["used"], row["lost"], row["note"]) == (60, 0, "")
    assert report.gaps == () and "nothing that the protocol lists is lost" in report.in_words()
    # Four and three images of two people a fold; those of validation are in no pair.
    assert pixels.seen == report.about["images_compared"] == 70
    assert report.about["images_prepared"] == len(load_set(lfw_prepared)) > 70
    how = dict(occlusion="synthetic", mirror=True)
    masked = run_protocol("lfw", photographs_root, lfw_prepared, lfw_prepared / "network", **how)
    assert np.isfinite(masked.measures["value"][0]) and pixels.seen == 3 * 70


class Alike(Pixels):
    """A network that sees next to nothing."""

    def forward(self, images):
        return 1 + 1e-3 * super().forward(images)


def test_what_is_found_out_of_a_network_stands_in_the_report(
    lfw_prepared, photographs_root, tmp_path, monkeypatch, capsys
):
    told = InputConvention(pixels=(0.0, 255.0))  # as by the graph of an ONNX model
    network = NetworkEmbedding("alike", 96, Alike().eval(), "forward", told)
    monkeypatch.setattr("ifr.evaluation.protocols.published.load_embedding", lambda *_: network)
    command = ("protocol", "lfw", photographs_root, lfw_prepared, tmp_path / "alike.onnx")
    assert run_cli(monkeypatch, *command, "--save", tmp_path / "out.json") == 0
    out, saved = capsys.readouterr().out, json.loads((tmp_path / "out.json").read_text())
    takes = "range 0,255, mean 0, std 1, rgb, as its file tells"
    assert f"the network takes {takes}" in out and saved["input"] == takes
    assert saved["convention"]["pixels"] == [0, 255] and not saved["complete"]
    for verdict in (out, saved["verdict"]):
        assert "features of different people hardly differ, cosine" in verdict


def test_lost_images_are_counted_by_fold_and_kind(
    lfw_prepared, photographs_root, tmp_path, monkeypatch, capsys
):
    files = load_set(lfw_prepared).attributes["file"]
    gone = np.char.startswith(files, "templates_0/") | np.char.startswith(files, "templates_1/")
    gone |= files == "templates_2/templates_2_0001.jpg"
    some = save_truth(tmp_path / "some.npz", lfw_prepared, ~gone)
    command = ("protocol", "lfw", photographs_root, lfw_prepared, some)
    assert run_cli(monkeypatch, *command, "--save", tmp_path / "out.json") == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "fold 1 0 of 3 0 of 3" in lines and "fold 2 2 of 3 2 of 3" in lines
    assert "fold 3 3 3" in lines and "all 26 of 30 26 of 30" in lines
    saved = json.loads((tmp_path / "out.json").read_text())
    assert not saved["complete"]
    assert saved["verdict"] == (
        "not comparable with published figures: 4 of 30 same pairs lost; 4 of 30 different pairs "
        "lost; 9 of 10 folds"
    )
    [measure] = saved["measures"]
    assert (measure["used"], measure["lost"], measure["over"]) == (52, 8, "9 of 10 folds")
    assert measure["value"] == 100
    first = [row for row in saved["counts"] if row["part"] == "fold 1"]
    assert [(row["kind"], row["listed"], row["used"], row["lost"]) for row in first] == [
        ("same pairs", 3, 0, 3),
        ("different pairs", 3, 0, 3),
    ]
    assert run_cli(monkeypatch, *command, "--save", tmp_path / "out.csv") == 0
    table = pd.read_csv(tmp_path / "out.csv")
    assert table["lost"].tolist() == [8] and "not comparable" in table["verdict"][0]


def test_images_removed_after_preparing_are_lost_and_no_others_take_their_place(
    lfw_prepared, photographs_root, tmp_path
):
    root = tmp_path / "lfw"
    root.mkdir()
    (root / "pairs.txt").write_bytes((photographs_root / "pairs.txt").read_bytes())
    (root / "lfw112").mkdir()
    for person in (photographs_root / "lfw112").iterdir():
        if person.name != "ar_0":  # the first of all
            (root / "lfw112" / person.name).symlink_to(person)
    features = save_truth(tmp_path / "all.npz", lfw_prepared)
    report = run_protocol("lfw", root, lfw_prepared, features)
    assert report.measures["value"][0] == 100  # as of other rows, it would not be
    assert report.counts["lost"].sum() == 2 + 3


def test_protocol_refuses_what_the_set_does_not_have(
    lfw_prepared, photographs_root, tmp_path, monkeypatch, capsys
):
    features = save_truth(tmp_path / "f.npz", lfw_prepared)

    def refused(match, name="lfw", path=photographs_root, faces=lfw_prepared, **options):
        with pytest.raises(UserError, match=match):
            run_protocol(name, path, faces, features, **options)

    refused("no protocol for 'recordio'", name="recordio")
    refused("occlusion must be one of none, synthetic, natural", occlusion="fog")
    refused("IJB-A and IJB-C, not of lfw", occlusion="natural")
    refused("IJB-A and IJB-C, not of lfw", score="media")
    refused("need a network", occlusion="synthetic")
    np.savez(features, features=np.eye(2), files=["what", "else"])
    refused("1.jpg: it begins with what")
    command = ("protocol", "lfw", photographs_root, lfw_prepared, features, "--save")
    assert run_cli(monkeypatch, *command, tmp_path / "out.txt") == 2
    assert "must end in .csv or .json" in capsys.readouterr().err


def test_a_set_of_another_data_set_is_refused(smoke_sets, tmp_path, monkeypatch, capsys):
    images = np.asarray(smoke_sets["validation"].images[:8])
    for k, name in enumerate(("one", "two")):
        buffers = []
        for image in images[4 * k : 4 * k + 4]:
            Image.fromarray(image).save(tmp_path / "x.png")
            buffers.append((tmp_path / "x.png").read_bytes())
        (tmp_path / f"{name}.bin").write_bytes(pickle.dumps((buffers, [True, False])))
    to = tmp_path / "sets"
    folder = prepare(
        monkeypatch, capsys, "lfw-bin", tmp_path / "one.bin", "--method", "none", to=to
    )
    features = save_truth(tmp_path / "f.npz", folder)
    command = ("protocol", "lfw-bin", tmp_path / "two.bin", folder, features)
    assert run_cli(monkeypatch, *command) == 2
    assert "expected two, 0, got one, 0" in capsys.readouterr().err


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


@pytest.fixture
def ijba(smoke_sets, tmp_path, smoke_home):
    """One IJB-A split: two people are enrolled; one of four probes has no mate."""
    root, faces = tmp_path / "IJB A", smoke_sets["validation"][:7]
    write_people(root, FaceSet("x", faces.images, np.zeros(7, np.int64), None), ["img"])
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
    return root


def test_check_prepare_and_protocol_on_ijba(ijba, smoke_sets, tmp_path, monkeypatch, capsys):
    assert run_cli(monkeypatch, "data", "check", "ijba", ijba) == 0
    out = capsys.readouterr().out
    assert "compared with IJB-A as in the paper" in out and "missing split: 18" in out
    # Two eyes are enough to align by; nose and mouth are not given.
    folder = prepare(monkeypatch, capsys, "ijba", ijba, to=tmp_path / "sets")
    faces = load_set(folder)
    gap = np.asarray(faces.images[0]).astype(int) - smoke_sets["validation"].images[0]
    assert np.abs(gap).mean() < 5
    command = ("protocol", "ijba", ijba, folder, save_truth(tmp_path / "f.npz", folder))
    assert run_cli(monkeypatch, *command, "--save", tmp_path / "out.json") == 0
    out = capsys.readouterr().out
    assert out.count("100.00") == 6 and "1 of 10 splits" in out
    assert "closed-set rank 1" in out and "open-set TPIR at FPIR 0.1" in out
    assert "tar_001_percent: unsupported: 0.001 of 3 different pairs is 0.0, fewer than 10" in out
    assert "tpir_01_percent: unsupported: 0.01 of 1 probes without a mate is 0.0" in out
    saved = json.loads((tmp_path / "out.json").read_text())
    assert saved["verdict"] == "not comparable with published figures: 1 of 10 splits"
    for rule in ("occluded", "visible"):
        natural = ("--occlusion", "natural", "--missing-flag", rule)
        assert run_cli(monkeypatch, *command, *natural) == 0
    assert run_cli(monkeypatch, *command, "--missing-flag", "maybe") == 2
    assert "missing_flag must be visible or occluded" in capsys.readouterr().err


def test_what_ijba_loses_to_missing_images(ijba, tmp_path, monkeypatch, capsys):
    (ijba / "img" / "4.jpg").unlink()  # all of subject 8 that is enrolled
    (ijba / "img" / "3.jpg").write_bytes(b"cut short")  # template 4
    folder = prepare(monkeypatch, capsys, "ijba", ijba, to=tmp_path / "sets")
    report = run_protocol("ijba", ijba, folder, save_truth(tmp_path / "f.npz", folder))
    lost = report.counts.set_index("kind")["lost"]
    # Comparisons 1,4 and 2,5 of one person; 2,3 and 2,4 of two.
    assert lost[["same pairs", "different pairs", "templates"]].tolist() == [2, 2, 2]
    # Probe 4 has no image, probe 5 no mate any more; probe 6 never had one.
    assert lost[["probes with a mate", "probes without a mate"]].tolist() == [2, 0]
    assert lost["gallery entries"] == 1 and "2 of 3 probes with a mate lost" in report.verdict()
    measures = report.measures.set_index("measure")
    assert measures.loc["rank_1_percent", ["used", "lost"]].tolist() == [1, 2]
    assert measures.loc["tpir_1_percent", ["value", "used", "lost"]].tolist() == [100, 2, 2]


def test_ar_counts_sessions_and_enrols_one_image_a_person(
    smoke_sets, tmp_path, monkeypatch, capsys, smoke_home
):
    root, faces = tmp_path / "AR", smoke_sets["ar"]
    root.mkdir()
    for image, who, shot in zip(
        faces.images[:39], faces.identity, faces.attributes["shot"], strict=False
    ):
        if (who, shot) not in ((2, 0), (1, 8)):  # person 2 is not enrolled, 1 lacks shot 9
            Image.fromarray(image).save(root / f"m-{who + 1:03d}-{shot + 1:02d}.png")
    Image.fromarray(faces.images[7]).save(root / "m-001-21.png")  # of session 2
    (root / "m-001-11.png").write_bytes(b"cut short")
    folder = prepare(monkeypatch, capsys, "ar", root, "--method", "none", to=tmp_path / "sets")
    report = run_protocol("ar", root, folder, save_truth(tmp_path / "f.npz", folder))
    measures = report.measures.set_index("measure")
    assert measures.loc["eer_percent", "value"] == 0
    assert measures.loc["eer_percent", ["used", "lost"]].tolist() == [16, 2]
    assert measures.loc["session_1_scarf_rank_1_percent", ["used", "lost"]].tolist() == [5, 4]
    assert measures.loc["session_2_sunglasses_rank_1_percent", "used"] == 1
    scarf = measures.loc["session_2_scarf_rank_1_percent"]
    assert np.isnan(scarf["value"]) and scarf["note"] == "nothing to measure it on"
    meaning = measures.loc["session_1_scarf_rank_1_percent", "meaning"]
    assert meaning == "closed-set rank 1, scarf, session 1"
    counts = report.counts.set_index(["part", "kind"])
    assert counts.loc[("gallery", "gallery entries")].tolist() == [3, 2, 1]
    assert counts.loc[("session 1", "sunglasses probes")].tolist() == [9, 5, 4]
    assert counts.loc[("pairs", "sunglasses")].tolist() == [9, 8, 1]
    assert "16 of the paper's 810 images" in report.verdict()
