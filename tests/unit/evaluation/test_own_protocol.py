"""A protocol drawn from a user's own folder of people, and what its table says of itself."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ifr.common.errors import UserError
from ifr.datasets import FaceSet
from ifr.datasets.prepare import prepare
from ifr.datasets.readers.folder import read_folder
from ifr.evaluation.protocols.folder import FOLDS, GENUINE, draw_protocol
from ifr.evaluation.protocols.published import run_protocol
from ifr.models import build_model


def people(*counts):
    """A folder of so many images of each person, in no order of people."""
    identity = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    return FaceSet("own", identity, identity, None, fingerprint="own")


@pytest.mark.parametrize("counts", [[2, 2, 1, 1], [5] * 12, [400, *[3] * 30, *[1] * 50]])
def test_pairs_are_what_they_say_and_folds_share_no_person(counts):
    faces = people(*counts)
    pairs, _ = draw_protocol(faces, seed=1)
    one, two = faces.identity[pairs.pairs.T]
    assert ((one == two) == pairs.same).all() and pairs.same.mean() == 0.5
    assert len(np.unique(pairs.pairs, axis=0)) == len(pairs.pairs)
    folds = [set(faces.identity[pairs.pairs[pairs.folds == k]].ravel()) for k in range(FOLDS)]
    folds = [fold for fold in folds if fold]
    assert len(folds) == min(FOLDS, sum(n > 1 for n in counts), len(counts) // 2)
    assert len(set.union(*folds)) == sum(map(len, folds))


def test_few_people_give_all_their_pairs_and_many_no_more_than_asked_for_spread_over_people():
    pairs, _ = draw_protocol(people(*[5] * 12))
    assert pairs.same.sum() == 12 * 10
    faces = people(400, *[6] * 399)
    pairs, _ = draw_protocol(faces)
    assert pairs.same.sum() == GENUINE
    shown = np.bincount(faces.identity[pairs.pairs[pairs.same][:, 0]], minlength=400)
    assert shown[0] <= 15  # the one with 400 images as little as any other
    again, _ = draw_protocol(faces)
    other, _ = draw_protocol(faces, seed=1)
    assert (again.pairs == pairs.pairs).all() and (other.pairs != pairs.pairs).any()


def test_templates_hold_one_person_each_and_no_image_is_in_two():
    faces = people(*[7] * 9, 1, 1)
    _, splits = draw_protocol(faces)
    assert len(splits) == 10
    for split in splits:
        [(probes, gallery)] = split.searches
        for part in (gallery, probes, split.verify):
            owner = np.repeat(part.subjects, np.diff(part.starts))
            assert (faces.identity[part.rows] == owner).all()
            assert len(np.unique(part.rows)) == len(part.rows)
        assert (np.diff(gallery.starts) == 2).all() and len(gallery) == 6
        assert set(np.diff(probes.starts)) <= {1, 2, 3}
        one, two = split.verify.subjects[split.pairs.T]
        assert ((one == two) == split.same).all() and split.same.sum() == len(probes)


@pytest.mark.parametrize("counts", [[9], [3, 3], [9, 1, 1, 1], [1] * 8])
def test_people_who_do_not_make_a_test_are_refused(counts):
    with pytest.raises(UserError, match="a test needs four people, two of them with two images"):
        draw_protocol(people(*counts))


@pytest.fixture(scope="module")
def own(photographs_root, tmp_path_factory):
    """A folder of people below a folder of another name, the set prepared of it, and features."""
    root = tmp_path_factory.mktemp("own")
    (root / "part").symlink_to(photographs_root / "people112")
    index = read_folder(root, level=2)
    done = prepare(index, tmp_path_factory.mktemp("sets"), name="own", method="none")
    return root, done.folder


def test_a_perfect_embedding_reaches_all_and_the_table_says_how_it_was_drawn(own, tmp_path):
    root, folder = own
    files = np.load(folder / "file.npy")
    features = np.eye(12)[np.load(folder / "identity.npy")] + 0.01
    np.savez(tmp_path / "f.npz", features=features, files=files)
    report = run_protocol("folder", root, folder, tmp_path / "f.npz", seed=5)
    measures = report.measures.set_index("measure")
    for name in ("accuracy_percent", "tar_01_percent", "rank_1_percent"):
        assert measures["value"][name] == 100
    assert "drawn with seed 5 from the folder, not published" in report.verdict()
    assert report.counts["lost"].sum() == 0 and report.about["seed"] == 5
    (tmp_path / "fewer").mkdir()
    keep = np.arange(len(files)) > 2
    np.savez(tmp_path / "fewer" / "f.npz", features=features[keep], files=files[keep])
    lossy = run_protocol("folder", root, folder, tmp_path / "fewer" / "f.npz", seed=5)
    assert lossy.counts["lost"].sum() > 0 and "lost" in lossy.verdict()
    assert (lossy.counts["listed"] == report.counts["listed"]).all()


def test_a_test_on_the_faces_a_network_was_trained_on_is_said_to_be_one(own, tmp_path):
    root, folder = own
    settings = dict(backbone="casianet", num_filters=8, width=0.05, num_classes=2)
    state = {
        name: value.contiguous() for name, value in build_model(**settings).state_dict().items()
    }
    save_file(state, tmp_path / "weights.safetensors")
    fingerprint = json.loads((folder / "set.json").read_text())["fingerprint"]
    verdicts = []
    for data in (fingerprint, "of other faces"):
        record = dict(network=settings, input_size=24, data=data)
        (tmp_path / "training.json").write_text(json.dumps(record))
        with torch.random.fork_rng():
            verdicts.append(run_protocol("folder", root, folder, tmp_path).verdict())
    words = "the network was trained on these very faces"
    assert words in verdicts[0] and words not in verdicts[1]
