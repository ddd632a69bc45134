"""Any embedding: checkpoints, ONNX models, ArcFace weights and files of features."""

import json

import numpy as np
import pytest
import torch

from ifr.common import paths
from ifr.common.errors import UserError
from ifr.datasets import FaceSet
from ifr.evaluation import random_rectangles, set_features
from ifr.evaluation.features import load_embedding, read_features
from ifr.experiment.run import start
from ifr.landmarks import CROP_OFFSET, CROP_SIZE, FACE_SIZE
from ifr.models import IResNet50
from ifr.models.inputs import center_crop

CROP = slice(CROP_OFFSET, CROP_OFFSET + CROP_SIZE)


@pytest.fixture(scope="module")
def faces(smoke_sets):
    found = smoke_sets["templates"][:12]
    names = np.array([f"person {k}/{k}.jpg" for k in range(12)])
    return FaceSet("t", found.images, found.identity, found.landmarks, {"file": names}, "t")


def test_a_checkpoint_gives_the_features_of_the_run_that_trained_it(smoke_sets):
    run = start("test", profile="smoke")
    run.progress = False
    trained = run.trained("full")
    network = load_embedding(trained.folder)
    assert network.size == 48 and network.name == trained.folder.name
    own = run.features("full", "templates")
    faces = run.data("templates")
    assert np.allclose(set_features(network, faces), own, atol=1e-4)
    occluded = set_features(network, faces, rectangles=random_rectangles(len(faces), run.seed))
    own = run.features("full", "templates", occlusion="synthetic")
    assert np.allclose(occluded, own, atol=1e-4)


def test_what_is_no_embedding_is_refused_by_name(tmp_path, smoke_home):
    with pytest.raises(UserError, match=r"nothing is not there; give a folder"):
        load_embedding(tmp_path / "nothing")
    with pytest.raises(UserError, match=r"training\.json is missing: .* is no trained"):
        load_embedding(tmp_path)
    (tmp_path / "training.json").write_text("{}")
    with pytest.raises(UserError, match="does not say which network it is of"):
        load_embedding(tmp_path)
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    with pytest.raises(UserError, match=r"notes\.txt: expected a folder of models/, an \.onnx"):
        load_embedding(text)


def test_an_arcface_backbone_is_read_with_its_head(tmp_path, faces):
    torch.manual_seed(0)
    whole = IResNet50(embedding_layers=True).eval()
    own = {"psi", "hypercolumn"}
    trunk = {k: v for k, v in whole.state_dict().items() if k.split(".")[0] not in own}
    torch.save(trunk, tmp_path / "backbone.pth")
    network = load_embedding(tmp_path / "backbone.pth")
    some = faces[:2]
    with torch.no_grad():
        expected = whole.embedding(center_crop(some.images, FACE_SIZE)).numpy()
    assert np.allclose(set_features(network, some), expected, atol=1e-4) and expected.shape == (
        2,
        512,
    )


onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def write_onnx(path, *, batch="N", channels=3, size=CROP_SIZE):
    """A model that averages each channel, made without PyTorch."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    node = helper.make_node("GlobalAveragePool", ["images"], ["features"])
    shape = [batch, channels, size, size]
    graph = helper.make_graph(
        [node],
        "mean",
        [helper.make_tensor_value_info("images", kind, shape)],
        [helper.make_tensor_value_info("features", kind, [batch, channels, 1, 1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize("batch", ["N", 1, 5])
def test_an_onnx_model_is_run_whatever_batch_it_was_exported_for(tmp_path, faces, batch):
    network = load_embedding(write_onnx(tmp_path / "mean.onnx", batch=batch))
    crop = np.asarray(faces.images)[:, CROP, CROP].astype(np.float64) / 127.5 - 1
    assert network.size == CROP_SIZE and network.name == "mean"
    assert np.allclose(set_features(network, faces), crop.mean(axis=(1, 2)), atol=1e-4)


def test_a_wrong_onnx_file_is_refused(tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(UserError, match=r"broken\.onnx: not an ONNX model"):
        load_embedding(tmp_path / "broken.onnx")
    grey = write_onnx(tmp_path / "grey.onnx", channels=1)
    with pytest.raises(UserError, match=r"expected one input \(N, 3, S, S\), found images"):
        load_embedding(grey)


def test_features_are_matched_by_name_in_any_order(tmp_path, faces):
    values = np.random.default_rng(0).normal(size=(12, 7)).astype(np.float32)
    order = np.random.default_rng(1).permutation(12)
    files = faces.attributes["file"][order]
    np.savez(tmp_path / "f.npz", features=values[order], files=files)
    assert np.array_equal(read_features(tmp_path / "f.npz", faces), values)


def test_wrong_features_are_refused_with_the_reason(tmp_path, faces):
    values, files = np.ones((12, 7), np.float32), faces.attributes["file"]
    path = tmp_path / "f.npz"

    def refused(match, **arrays):
        np.savez(path, **arrays)
        with pytest.raises(UserError, match=match):
            read_features(path, faces)

    refused(r"f\.npz is no .*files is not a file", features=values)
    refused(
        r"must be \(M, K\) and files \(M,\), got \(12, 7\) and \(11,\)",
        features=values,
        files=files[:11],
    )
    refused(
        "1 names come twice, first person 0", features=values, files=np.append(files[:11], files[0])
    )
    refused("no features of 2 of 12 faces, first person 10", features=values[:10], files=files[:10])
    broken = values.copy()
    broken[3, 2] = np.nan
    refused("features of 1 faces are NaN", features=broken, files=files)
    path.write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(UserError, match=r"f\.npz is no \.npz"):
        read_features(path, faces)


def test_the_record_of_a_network_names_what_rebuilds_it(smoke_sets):
    run = start("test", profile="smoke")
    run.progress = False
    facts = json.loads((run.trained("full").folder / "training.json").read_text())
    assert facts["network"]["num_filters"] == 32 and facts["input_size"] == 48
    assert load_embedding(run.trained("full").folder).name.startswith("smoke-full")
    assert run.trained("full").folder.is_relative_to(paths.models())
