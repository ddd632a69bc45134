"""Any embedding: checkpoints, ONNX models, ArcFace weights and files of features."""

import dataclasses
import json
import shutil
import sys

import numpy as np
import pytest
import torch

from ifr.common import paths
from ifr.common.errors import UserError
from ifr.datasets import FaceSet
from ifr.evaluation import random_rectangles, set_features
from ifr.evaluation.features import check_features, load_embedding, read_features
from ifr.evaluation.onnx_model import InputConvention
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
    with pytest.raises(UserError, match=r"is no whole network \(KeyError\('network'\)\)"):
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


IMAGE = (3, CROP_SIZE, CROP_SIZE)


def write_onnx(
    path,
    *,
    batch="N",
    shape=(3, CROP_SIZE, CROP_SIZE),
    kind="FLOAT",
    before=(),
    after=(),
    outputs=1,
):
    """A model that averages each channel, between other nodes: (operator, constants, settings)."""
    helper, number = onnx.helper, onnx.TensorProto
    nodes, constants, last = [], [], "images"
    for operator, values, settings in (*before, ("GlobalAveragePool", (), {}), *after):
        names = [f"c{len(constants) + k}" for k in range(len(values))]
        named = zip(names, values, strict=True)
        constants += [onnx.numpy_helper.from_array(np.array(value), name) for name, value in named]
        made = [f"n{len(nodes)}", *(["mean", "variance"] if "training_mode" in settings else [])]
        nodes.append(helper.make_node(operator, [last, *names], made, **settings))
        last = made[0]
    given = helper.make_tensor_value_info("images", getattr(number, kind), [batch, *shape])
    made = [helper.make_empty_tensor_value_info(f"n{len(nodes) - 1 - k}") for k in range(outputs)]
    graph = helper.make_graph(nodes, "mean", [given], made, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(onnx.shape_inference.infer_shapes(model), str(path))
    return path


def single(*values):
    return np.array(values, np.float32)


def per_channel(*values):
    return single(*values).reshape(1, 3, 1, 1)


def channel_means(faces):
    """Means of each channel of the crop, 0 to 255."""
    return np.asarray(faces.images)[:, CROP, CROP].astype(np.float64).mean(axis=(1, 2))


@pytest.mark.parametrize("batch", ["N", 1, 5])
def test_an_onnx_model_is_run_whatever_batch_it_was_exported_for(tmp_path, faces, batch):
    network = load_embedding(write_onnx(tmp_path / "mean.onnx", batch=batch))
    assert network.size == CROP_SIZE and network.name == "mean"
    assert np.allclose(set_features(network, faces), channel_means(faces) / 127.5 - 1, atol=1e-4)


TO_FLOAT = ("Cast", (), dict(to=1))
FIRST = ("Transpose", (), dict(perm=[0, 3, 1, 2]))  # channels
LAST_SHAPE = (CROP_SIZE, CROP_SIZE, 3)
LESS_GREY, BY_GREY = ("Sub", [single(127.5)], {}), ("Div", [single(127.5)], {})
MOMENTS = [single(*[value] * 3) for value in (1, 0, 127.5, 127.5**2)]
MODELS = [
    dict(kind="FLOAT16"),
    dict(kind="DOUBLE", before=[TO_FLOAT]),
    dict(shape=LAST_SHAPE, before=[FIRST]),
    dict(after=[("Reshape", [np.array([0, 1, 3])], {})]),  # (N, 1, 3)
    dict(before=[LESS_GREY, ("Mul", [single(1 / 127.5)], {})]),
    dict(before=[BY_GREY, ("Add", [single(-1)], {})]),
    dict(before=[("Mul", [single(2)], {}), ("Sub", [single(1)], {})]),  # of 0 to 1
    dict(before=[("Sub", [per_channel(0.5, 0.5, 0.5)], {}), ("Div", [single(0.5)], {})]),
    dict(kind="UINT8", shape=LAST_SHAPE, before=[TO_FLOAT, FIRST, LESS_GREY, BY_GREY]),
    dict(before=[("BatchNormalization", MOMENTS, dict(epsilon=0.0))]),
]


@pytest.mark.parametrize("model", MODELS)
def test_what_an_onnx_model_takes_is_read_from_its_file(tmp_path, faces, model):
    network = load_embedding(write_onnx(tmp_path / "m.onnx", **model))
    assert np.allclose(set_features(network, faces), channel_means(faces) / 127.5 - 1, atol=2e-3)


def test_scaling_alone_and_an_imagenet_mean_tell_the_range_too(tmp_path, faces):
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = (channel_means(faces) / 255 - mean) / std
    nodes = [("Sub", [per_channel(*mean)], {}), ("Div", [per_channel(*std)], {})]
    network = load_embedding(write_onnx(tmp_path / "unit.onnx", before=nodes))
    assert np.allclose(set_features(network, faces), expected, atol=1e-3)
    nodes = [("Div", [single(255)], {})]
    network = load_embedding(write_onnx(tmp_path / "bytes.onnx", before=nodes))
    assert np.allclose(set_features(network, faces), channel_means(faces) / 255, atol=1e-4)


def test_what_an_onnx_model_takes_may_be_stated(tmp_path, faces):
    path, means = write_onnx(tmp_path / "mean.onnx"), channel_means(faces)

    def found(**stated):
        return set_features(load_embedding(path, InputConvention(**stated)), faces)

    assert np.allclose(found(pixels=(0, 255)), means, atol=1e-2)
    assert np.allclose(found(channels="bgr"), means[:, ::-1] / 127.5 - 1, atol=1e-4)
    assert np.allclose(found(mean=(127.5,), std=(128.0,)), (means - 127.5) / 128, atol=1e-4)
    mean, std = (0.406, 0.456, 0.485), (0.225, 0.224, 0.229)  # of blue, green, red
    stated = found(pixels=(0, 1), mean=mean, std=std, channels="bgr")
    assert np.allclose(stated, (means[:, ::-1] / 255 - mean) / std, atol=1e-3)
    nodes = [("Sub", [single(127.5)], {})]
    path = write_onnx(tmp_path / "sub.onnx", before=nodes)  # what is stated is not overruled
    assert np.allclose(found(pixels=(-1, 1)), means / 127.5 - 1 - 127.5, atol=1e-3)


@pytest.mark.parametrize(
    "stated",
    [
        dict(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),  # not of 0 to 255
        dict(pixels=(0.0, 1.0), mean=(127.5,), std=(128.0,)),
        dict(std=(0.0,)),
        dict(mean=(1.0, 2.0)),
        dict(pixels=(255.0, 0.0)),
        dict(pixels=(1.0,)),
        dict(mean=(float("nan"),)),
        dict(channels="gbr"),
    ],
)
def test_a_convention_that_cannot_be_meant_is_refused(stated):
    with pytest.raises(UserError, match="expected --input-range LOW,HIGH"):
        InputConvention(**stated)


@pytest.mark.parametrize("sides", [("s", "s"), (None, None), ("h", "w")])
def test_a_size_that_is_not_in_the_file_must_be_stated(tmp_path, faces, sides):
    path = write_onnx(tmp_path / "any.onnx", shape=(3, *sides))
    with pytest.raises(UserError, match=r"any\.onnx: expected one size in its input or stated"):
        load_embedding(path)
    network = load_embedding(path, InputConvention(size=CROP_SIZE))
    assert np.allclose(set_features(network, faces), channel_means(faces) / 127.5 - 1, atol=1e-4)


@pytest.mark.parametrize(
    ("nodes", "found"),
    [
        ([("Reshape", [np.array([1, -1])], {})], r"found 1 rows: \(1, 36\)"),
        ([("Reshape", [np.array([-1])], {})], r"found no rows: \(36,\)"),
        ([("Flatten", [], {}), ("Transpose", [], {})], r"found 3 rows: \(3, 12\)"),
        ([("Tile", [np.array([1, 1, 2, 2])], {})], r"found 12 rows: \(12, 3, 2, 2\)"),
    ],
)
def test_output_without_a_row_for_each_image_is_refused(tmp_path, faces, nodes, found):
    network = load_embedding(write_onnx(tmp_path / "m.onnx", after=nodes))
    words = rf"m\.onnx: expected features \(12, K\) of 12 images, {found}"
    with pytest.raises(UserError, match=words):
        set_features(network, faces)


def test_a_model_for_one_image_that_says_any_number_and_one_that_mixes_images(tmp_path, faces):
    one = [("Flatten", [], {}), ("Reshape", [np.array([1, 3])], {})]
    with pytest.raises(UserError, match=r"one\.onnx fails on images \(12, 3, 96, 96\)"):
        set_features(load_embedding(write_onnx(tmp_path / "one.onnx", after=one)), faces)
    for batch in ("N", 4):
        nodes = [("Flatten", [], {}), ("MeanVarianceNormalization", [], dict(axes=[0]))]
        network = load_embedding(write_onnx(tmp_path / "mixed.onnx", batch=batch, after=nodes))
        with pytest.raises(UserError, match=r"mixed\.onnx: the features of an image depend on"):
            set_features(network, faces)


def test_of_several_outputs_the_features_are_found_or_must_be_named(tmp_path, faces):
    path = write_onnx(tmp_path / "two.onnx", before=[("Relu", [], {})], outputs=2)
    assert load_embedding(path).output == "n1"  # the other gives maps
    path = write_onnx(tmp_path / "two.onnx", after=[("Neg", [], {})], outputs=2)
    with pytest.raises(UserError, match=r"two\.onnx: --output must name one of n1 .*, n0 "):
        load_embedding(path)
    with pytest.raises(UserError, match="--output must name one of"):
        load_embedding(path, InputConvention(output="logits"))
    network = load_embedding(path, InputConvention(output="n1"))
    assert np.allclose(set_features(network, faces), 1 - channel_means(faces) / 127.5, atol=1e-4)


def test_a_wrong_onnx_file_is_refused(tmp_path, monkeypatch):
    whole = write_onnx(tmp_path / "mean.onnx").read_bytes()
    for content in (b"no model", b"", whole[: len(whole) // 2]):
        (tmp_path / "broken.onnx").write_bytes(content)
        with pytest.raises(UserError, match=r"broken\.onnx: not an ONNX model"):
            load_embedding(tmp_path / "broken.onnx")
    for shape in ((1, 96, 96), (27648,), ("c", 96, 96)):
        path = write_onnx(tmp_path / "other.onnx", shape=shape)
        with pytest.raises(UserError, match=r"other\.onnx: expected one input \(N, 3, S, S\)"):
            load_embedding(path)
    for shape in ((3, 96, 112), (3, 224, 224)):
        path = write_onnx(tmp_path / "other.onnx", shape=shape)
        with pytest.raises(UserError, match=r"other\.onnx: .*size"):
            load_embedding(path)
    path = write_onnx(tmp_path / "int8.onnx", kind="INT8", before=[TO_FLOAT])
    with pytest.raises(UserError, match=r"int8\.onnx: .*found images .*tensor\(int8\)"):
        load_embedding(path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"needs onnx and onnxruntime: pip install 'ifr\[onnx\]'"):
        load_embedding(path)


def people(faces):
    """The same faces as of twelve people."""
    return dataclasses.replace(faces, identity=np.arange(12))


def test_features_of_people_that_hardly_differ_are_doubted(tmp_path, faces):
    same = [("Mul", [single(1e-4)], {}), ("Add", [single(1)], {})]
    path, rows = write_onnx(tmp_path / "alike.onnx", after=same), np.arange(12)
    features = set_features(load_embedding(path), faces)
    [doubt] = check_features(features, people(faces), rows, path)
    assert doubt.startswith("features of different people hardly differ, cosine 1.0")
    assert check_features(features, faces, rows[:4], path) == []  # of one person
    values = np.random.default_rng(0).normal(size=(12, 7))
    assert check_features(values, people(faces), rows, path) == []


def test_features_are_matched_by_name_in_any_order(tmp_path, faces):
    values = np.random.default_rng(0).normal(size=(12, 7)).astype(np.float32)
    order = np.random.default_rng(1).permutation(12)
    files = faces.attributes["file"][order]
    np.savez(tmp_path / "f.npz", features=values[order], files=files)
    found, there = read_features(tmp_path / "f.npz", faces)
    assert np.array_equal(found, values) and there.all()


def test_wrong_features_are_refused_with_the_reason(tmp_path, faces):
    values, files = np.ones((12, 7), np.float32), faces.attributes["file"]
    path = tmp_path / "f.npz"

    def refused(match, **arrays):
        np.savez(path, **arrays)
        with pytest.raises(UserError, match=match):
            read_features(path, faces)

    refused(r"f\.npz: expected .*files is not a file", features=values)
    refused(
        r"features \(M, K\) and files \(M,\).*; got \(11,\) and \(12, 7\) float32",
        features=values,
        files=files[:11],
    )
    refused(
        "1 names come twice, first person 0", features=values, files=np.append(files[:11], files[0])
    )
    names = np.char.replace(files, "/", "_")
    refused("no features of person 0/0.jpg: it begins with person 0_", features=values, files=names)
    refused("Object arrays cannot be loaded", features=values, files=files.astype(object))
    refused("Object arrays cannot be loaded", features=values.astype(object), files=files)
    refused(r"features \(M, K\) .* <U", features=values.astype(str), files=files)
    np.savez_compressed(path, features=values, files=files)
    whole = path.read_bytes()
    for content in (b"PK\x03\x04 broken", b"", whole[:200], bytes(200) + whole[200:]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"f\.npz: expected an \.npz"):
            read_features(path, faces)
    with open(path, "wb") as file:
        np.save(file, values)
    with pytest.raises(UserError, match=r"f\.npz: expected an \.npz"):
        read_features(path, faces)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0, 1e39])
def test_features_that_have_no_direction_are_refused(tmp_path, faces, value):
    values, path, rows = np.ones((12, 7)), tmp_path / "f.npz", np.arange(12)
    values[[3, 5]] = value
    np.savez(path, features=values, files=faces.attributes["file"])
    words = r"f\.npz: zero, NaN, infinite .* features of 2 of 12 faces, first person 3/3\.jpg"
    features = read_features(path, faces)[0]
    with pytest.raises(UserError, match=words):
        check_features(features, faces, rows, path)
    with pytest.raises(UserError, match="one-number features of 12 of 12 faces"):
        check_features(np.ones((12, 1)), faces, rows, path)
    check_features(features, faces, np.setdiff1d(rows, [3, 5]), path)


def test_faces_without_features_are_told(tmp_path, faces):
    values, files = np.random.default_rng(0).normal(size=(12, 7)), faces.attributes["file"]
    np.savez(tmp_path / "f.npz", features=values[2:], files=files[2:])
    found, there = read_features(tmp_path / "f.npz", faces)
    assert np.flatnonzero(~there).tolist() == [0, 1] and np.allclose(found[2:], values[2:])


def test_rows_of_a_set_have_the_features_and_the_rectangles_they_have_in_the_whole(tmp_path, faces):
    network, rows = load_embedding(write_onnx(tmp_path / "mean.onnx")), np.array([7, 2, 11])
    for boxes in (None, random_rectangles(12, 0)):
        whole = set_features(network, faces, rectangles=boxes)
        some = set_features(network, faces, rows=rows, rectangles=boxes, batch=2)
        assert np.allclose(some, whole[rows], atol=1e-6)


def test_a_network_of_ours_that_is_not_whole_is_refused(tmp_path, smoke_sets):
    run = start("test", profile="smoke")
    run.progress = False
    for name, cut in (("weights.safetensors", 100), ("training.json", 20), ("training.json", 0)):
        folder = shutil.copytree(run.trained("full").folder, tmp_path / f"{name}{cut}")
        (folder / name).write_bytes((folder / name).read_bytes()[:cut])
        with pytest.raises(UserError, match=rf"{name}{cut} is no whole network"):
            load_embedding(folder)
    with pytest.raises(UserError, match="--size and --output are of ONNX models"):
        load_embedding(run.trained("full").folder, InputConvention(size=112))


def test_the_record_of_a_network_names_what_rebuilds_it(smoke_sets):
    run = start("test", profile="smoke")
    run.progress = False
    facts = json.loads((run.trained("full").folder / "training.json").read_text())
    assert facts["network"]["num_filters"] == 32 and facts["input_size"] == 48
    assert load_embedding(run.trained("full").folder).name.startswith("smoke-full")
    assert run.trained("full").folder.is_relative_to(paths.models())
