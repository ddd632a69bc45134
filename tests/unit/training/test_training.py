from dataclasses import replace

import numpy as np
import pytest
import torch

from ifr import training
from ifr.common import paths
from ifr.common.errors import OutOfTime, Stopped, UserError
from ifr.common.files import alone
from ifr.profiles import PRETRAIN, VARIANTS, LossWeights, get_profile, resized
from ifr.training import Batcher, Session, batch_indices, train

STEPS = 6
QUIET = Session(progress=False)
LATE = Session(progress=False, deadline=0.0)
TINY = resized(get_profile("smoke"), pretrain_steps=STEPS, steps=STEPS, precision="fp32", batch=8)
TINY = resized(TINY, pretrain_threads=1)  # tests run side by side


@pytest.fixture
def faces(smoke_sets):
    return smoke_sets["train"]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.values(), b.values(), strict=True))


def test_every_epoch_visits_each_image_once_in_a_new_order():
    found = list(batch_indices(20, 5, 8, seed=0))
    first, second = np.concatenate(found[:4]), np.concatenate(found[4:])
    assert sorted(first) == sorted(second) == list(range(20))
    assert (first != second).any()
    assert all(
        (a == b).all() for a, b in zip(found[3:], batch_indices(20, 5, 8, 0, first=3), strict=True)
    )
    with pytest.raises(UserError, match="the set has 3"):
        next(batch_indices(3, 5, 1, 0))


def test_twins_differ_from_the_clean_faces_only_inside_the_mask(faces):
    images, labels = Batcher(faces, VARIANTS["full"], 48, 0, torch.device("cpu"))(np.arange(8), 0)
    clean, twins = images.chunk(2)
    changed = (clean != twins).any(dim=1)
    assert images.shape == (16, 3, 48, 48) and labels.tolist() == faces.identity[:8].tolist()
    assert changed.flatten(1).any(dim=1).all()
    assert (twins.permute(0, 2, 3, 1)[changed] == -1).all()
    assert changed.float().mean() < 0.2  # 32 x 12 of 96 x 96 is 4 %


def test_one_seed_gives_identical_weights_and_another_seed_others(faces):
    a, b, c = (train(VARIANTS["full"], TINY, faces, seed=s, session=QUIET)[0] for s in (1, 1, 2))
    assert same(a.state_dict(), b.state_dict())
    assert not same(a.state_dict(), c.state_dict())


@pytest.mark.parametrize("name", ["augmented", "full_gaud"])
def test_a_run_cut_short_resumes_to_the_same_weights(faces, tmp_path, name):
    whole, at_once = train(VARIANTS[name], TINY, faces, session=QUIET)
    checkpoint = tmp_path / "checkpoint.pt"
    for step in range(1, 4):  # of which each begins late
        with pytest.raises(Stopped, match=f"step {step} of {STEPS} is saved"):
            train(VARIANTS[name], TINY, faces, checkpoint=checkpoint, session=LATE)
    again, resumed = train(VARIANTS[name], TINY, faces, checkpoint=checkpoint, session=QUIET)
    assert same(whole.state_dict(), again.state_dict())
    assert at_once.history == resumed.history


def test_variants_start_from_the_pretrained_extractor_with_new_layers_after_it(faces):
    base, _ = train(PRETRAIN, TINY, faces, session=QUIET)
    state = base.state_dict()
    model = training.build_network(TINY, VARIANTS["full"], 12, seed=0)
    fresh = {k: v.clone() for k, v in model.state_dict().items()}
    model.load_extractor(state)
    taken = {k for k, v in model.state_dict().items() if torch.equal(v, state[k])}
    assert {"backbone.conv11", "backbone.conv53"} <= {".".join(k.split(".")[:2]) for k in taken}
    assert torch.equal(model.filters, fresh["backbone.psi.conv.weight"])
    assert torch.equal(model.classifier.weight, fresh["classifier.weight"])


def test_a_recipe_trains_once_and_keys_on_what_matters(faces, smoke_home):
    first, second = (training.Recipe(VARIANTS["sad"], TINY, faces).follow(QUIET) for _ in range(2))
    assert not first.loaded and second.loaded and first.key == second.key
    assert same(first.model.state_dict(), second.model.state_dict())
    assert not list(paths.models().rglob("*.partial"))
    other = resized(TINY, learning_rate=1e-4)
    seldom = resized(TINY, checkpoint_seconds=1.0)
    keys = [training.Recipe(VARIANTS["sad"], p, faces).key for p in (TINY, other, seldom)]
    assert keys[0] == keys[2] == first.key != keys[1]


CPU = dict(processes=1, device="cpu", precision="32-true")


def test_what_decides_the_weights_is_in_the_key(faces, tmp_path, monkeypatch):
    monkeypatch.setenv("IFR_HOME", str(tmp_path))
    hardware = [CPU | change for change in ({}, dict(processes=2), dict(precision="bf16-mixed"))]
    profiles = [TINY, resized(TINY, threads=2), resized(TINY, pretrain_threads=2)]
    recipes = [training.Recipe(VARIANTS["sad"], TINY, faces, 0, one) for one in hardware]
    recipes += [training.Recipe(VARIANTS["sad"], one, faces, 0, CPU) for one in profiles[1:]]
    assert len({recipe.key for recipe in recipes}) == 5 == len({one.folder for one in recipes})
    assert all(recipe.base.key != recipes[0].base.key for recipe in recipes[1:])
    namesake = replace(faces, fingerprint="of other faces")
    assert training.Recipe(VARIANTS["sad"], TINY, namesake, 0, CPU).key != recipes[0].key
    as_used = [resized(TINY, precision=one) for one in ("auto", "bf16")]
    monkeypatch.setattr("ifr.training.session.computes_in_bfloat16", lambda: True)
    keys = {training.Recipe(PRETRAIN, one, faces).key for one in as_used}
    monkeypatch.setattr("ifr.training.session.computes_in_bfloat16", lambda: False)
    assert len(keys) == 1 and training.Recipe(PRETRAIN, as_used[0], faces).key not in keys


def test_what_was_begun_on_other_hardware_is_refused_and_what_was_finished_is_taken(
    faces, tmp_path, monkeypatch
):
    monkeypatch.setenv("IFR_HOME", str(tmp_path))
    begun = training.Recipe(PRETRAIN, TINY, faces, 0, CPU)
    with pytest.raises(Stopped):
        begun.follow(LATE)
    two = CPU | dict(processes=2)
    with pytest.raises(UserError, match=r"begun with 1xcpu-32-true .*this is 2xcpu-32-true"):
        training.Recipe(VARIANTS["base"], TINY, faces, 0, two)
    done = begun.follow(QUIET)
    found = training.Recipe(PRETRAIN, TINY, faces, 0, two)
    assert found.key == done.key and found.follow(QUIET).loaded
    assert training.Recipe(VARIANTS["base"], TINY, faces, 0, two).config["start"] == done.key


def test_a_set_that_cannot_be_told_from_others_is_not_trained_on(faces):
    for unnamed in (replace(faces, fingerprint=""), replace(faces, fingerprint="")[:9]):
        with pytest.raises(UserError, match="has no fingerprint"):
            training.Recipe(VARIANTS["base"], TINY, unnamed)


def test_batch_norm_is_settled_on_the_final_weights(faces):
    model, _ = train(VARIANTS["base"], TINY, faces, session=QUIET)
    with torch.no_grad():
        images, _ = Batcher(faces, VARIANTS["base"], 48, 0, torch.device("cpu"))(np.arange(64), 0)
        response = model.response(images)
    assert abs(float(response.mean())) < 0.2 and 0.5 < float(response.std()) < 1.5


def test_bad_settings_are_refused(faces):
    with pytest.raises(UserError, match="unknown optimiser 'lion'"):
        train(PRETRAIN, resized(TINY, optimiser="lion"), faces, session=QUIET)
    with pytest.raises(UserError, match="unknown precision 'fp8'"):
        train(PRETRAIN, resized(TINY, precision="fp8"), faces, session=QUIET)
    wrong = replace(VARIANTS["fad"], keep_share=1.5)
    with pytest.raises(ValueError, match="keep"):
        train(wrong, TINY, faces, session=QUIET)
    endless = replace(VARIANTS["base"], weights=LossWeights(identity=float("inf")))
    with pytest.raises(UserError, match="loss part id"):
        train(endless, TINY, faces, session=QUIET)


@pytest.mark.parametrize("name", ["base", "full", "full_gaud"])
def test_faces_read_from_disk_make_the_batches_of_faces_in_memory(faces, name):
    cpu, order = torch.device("cpu"), list(batch_indices(len(faces), 8, 7, seed=0))
    kept, read = (
        Batcher(faces, VARIANTS[name], 48, 0, cpu, flip=True, resident=resident)
        for resident in (True, False)
    )
    assert read.images is None and kept.images is not None
    for (a, labels), (b, same_labels) in zip(kept.iterate(order), read.iterate(order), strict=True):
        assert torch.equal(a, b) and torch.equal(labels, same_labels)


def test_flipping_changes_about_half_of_the_faces_and_the_mask_follows(faces):
    cpu, where = torch.device("cpu"), np.arange(64)
    plain, _ = Batcher(faces, VARIANTS["base"], 48, 0, cpu)(where, 0)
    flipped, _ = Batcher(faces, VARIANTS["base"], 48, 0, cpu, flip=True)(where, 0)
    turned = (plain.flip(3) == flipped).flatten(1).all(dim=1)
    kept = (plain == flipped).flatten(1).all(dim=1)
    assert (turned ^ kept).all() and 0.3 < turned.float().mean() < 0.7


def test_margin_heads_train(faces):
    for head in ("arcface", "cosface"):
        profile = replace(TINY, network=replace(TINY.network, head=head, head_scale=16.0))
        _, done = train(VARIANTS["full"], profile, faces, session=QUIET)
        assert all(np.isfinite(value) for value in done.history[-1].values())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["base", "full", "full_gaud"])
def test_a_gpu_makes_the_batches_and_losses_of_the_cpu(faces, name):
    found = {}
    for device in (torch.device("cpu"), torch.device("cuda")):
        batch = Batcher(faces, VARIANTS[name], 48, 0, device, flip=True)
        images, labels = batch(np.arange(16), 3)
        model = training.build_network(TINY, VARIANTS[name], 12, seed=0).to(device).eval()
        parts, _ = training.loss_parts(model, images, labels, VARIANTS[name])
        found[device.type] = images.cpu(), {k: v.item() for k, v in parts.items()}
    differs = (found["cpu"][0] - found["cuda"][0]).abs()
    assert (differs > 1e-5).float().mean() < 1e-4  # a pixel on the border of a mask may change side
    for part, value in found["cpu"][1].items():
        assert found["cuda"][1][part] == pytest.approx(value, rel=1e-2)


def test_threads_are_those_of_the_profile_and_given_back(faces, monkeypatch):
    before = torch.get_num_threads()

    def look(*_):
        raise RuntimeError(f"{torch.get_num_threads()} threads")

    monkeypatch.setattr(training.loop, "build_network", look)
    for variant, setting in ((PRETRAIN, "pretrain_threads"), (VARIANTS["base"], "threads")):
        for threads in (1, before + 1):
            with pytest.raises(RuntimeError, match=f"^{threads} threads"):
                train(variant, resized(TINY, **{setting: threads}), faces, session=QUIET)
            assert torch.get_num_threads() == before


def test_sgd_decays_weights_as_its_settings_say():
    layer = torch.nn.Linear(2, 2)
    for decay in (0.0, 0.5):
        settings = resized(TINY, optimiser="sgd", weight_decay=decay, learning_rate=0.1)
        optimiser, _ = training.make_optimiser(layer, settings.optimisation, 10)
        layer.weight.grad, before = torch.zeros(2, 2), layer.weight.detach().clone()
        optimiser.step()
        torch.testing.assert_close(layer.weight.detach(), before * (1 - 0.1 * decay))
    assert get_profile("paper").optimisation.weight_decay == 0


def test_training_lowers_the_loss_and_the_history_tells_it_and_the_accuracy(faces):
    longer = resized(TINY, pretrain_steps=60, batch=16, dropout=0.0)
    log = train(PRETRAIN, longer, faces, session=QUIET)[1]
    accuracy = [row["accuracy"] for row in log.history]
    assert [row["step"] for row in log.history] == list(range(10, 61, 10))
    assert all(0 <= value <= 1 and (16 * value) % 1 == 0 for value in accuracy)
    assert max(accuracy[3:]) > accuracy[0]
    assert log.history[-1]["id"] < 0.8 * log.history[0]["id"]


def test_who_waits_for_another_process_stops_as_training_would(faces, tmp_path, monkeypatch):
    monkeypatch.setenv("IFR_HOME", str(tmp_path))
    recipe, stop = training.Recipe(PRETRAIN, TINY, faces), tmp_path / "stop"
    stop.touch()
    recipe.folder.mkdir(parents=True)
    (recipe.folder / "weights.safetensors.ab.partial").write_text("of a run that was killed")
    with alone(recipe.folder / "training.lock"):
        with pytest.raises(OutOfTime, match="time is up while another process trains"):
            recipe.follow(Session(progress=False, deadline=0.0))
        with pytest.raises(Stopped, match="stopped while another process trains"):
            recipe.follow(Session(progress=False, stop_file=stop))
    assert not recipe.follow(QUIET).loaded
    names = sorted(path.name for path in recipe.folder.iterdir())
    assert names == ["training.json", "weights.safetensors"]
