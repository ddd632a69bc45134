from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ifr.common import paths
from ifr.common.errors import UserError
from ifr.datasets import FaceSet
from ifr.experiment.run import Run, filter_peaks, show_source, start
from ifr.profiles import get_profile, get_variant, resized
from ifr.training import Recipe, stand_in
from ifr.training.store import save_half


@pytest.fixture(scope="module")
def run(smoke_sets, smoke_home) -> Run:
    return start("99_test", profile="smoke")


def test_unknown_data_set_is_refused(run):
    with pytest.raises(ValueError, match=r"'train2': choose one of train, closed, validation"):
        run.data("train2")


def test_features_are_cached_by_network_data_and_occlusion(run):
    faces = run.data("ar")[:6]
    clean = run.features("base", faces)
    assert clean.shape == (6, run.profile.network.filters) and np.isfinite(clean).all()
    assert (run.features("base", faces) == clean).all()
    np.testing.assert_allclose(run.features("base", faces[2:4]), clean[2:4], rtol=1e-4, atol=1e-5)
    boxed = run.features("base", faces, occlusion=(30, 55, 32, 12))
    random = run.features("base", faces, occlusion="synthetic")
    assert (boxed != clean).any() and (random != boxed).any()
    some = run.features("base", faces, occlusion="synthetic", rows=np.array([1, 4]))
    assert (some[[1, 4]] == random[[1, 4]]).all() and np.isnan(some[[0, 2, 3, 5]]).all()
    kept = list(run.trained("base").folder.glob("features/*.npy"))
    assert len(kept) >= 4 and not list(run.folder.rglob("*.partial"))


def test_sets_without_a_fingerprint_share_no_cached_features(run):
    faces = run.data("ar")[:6]
    one, two = (
        FaceSet("made here", faces.images[rows], faces.identity[rows], faces.landmarks[rows])
        for rows in (slice(0, 3), slice(3, 6))
    )
    assert (run.features("base", one) != run.features("base", two)).any()
    assert (run.features("base", one[:2]) != run.features("base", two[:2])).any()


def test_variants_that_share_a_name_are_different_networks(run):
    other = replace(get_variant("base"), title="Another")
    assert run.trained("base") is run.trained(get_variant("base"))
    assert run.trained(other) is not run.trained("base")


def test_maps_and_peaks_may_be_the_first_that_need_a_network(run):
    untrained = replace(get_variant("base"), keep_share=0.5)  # of a key that no test has trained
    faces = run.data("ar")[:2]
    maps = run.responses(untrained, run.images(faces))
    assert not run.trained(untrained).loaded and not maps.requires_grad
    assert maps.shape == (2, run.profile.network.filters, run.size // 4, run.size // 4)
    assert filter_peaks(run, untrained, faces).weights.shape[1:] == maps.shape[:2]


def test_points_and_images_agree(run):
    faces = run.data("ar")[:3]
    scale = run.size / 96
    np.testing.assert_allclose(
        run.points(faces).numpy(), run.crop_landmarks(faces) * scale, rtol=1e-5
    )
    covered = run.occluded_images(faces, (32, 60, 32, 12)) != run.images(faces)
    nose = run.points(faces)[:, 30].long()  # the tip of the nose lies in that box
    for mask, (x, y) in zip(covered, nose, strict=True):
        assert mask[:, y, x].any()


def test_a_table_is_written_whole_and_evidence_is_replaced_not_repeated(run):
    run.save_table(pd.DataFrame({"a": [1.23456789]}), "some")
    path = run.folder / "tables" / "some.csv"
    assert path.read_text() == "a\n1.23457\n"
    for value in (1.0, 2.0):
        run.evidence("C01", quantity="d̄, sad − base (pixels)", value=value, low=0, high=3)
    rows = pd.read_csv(run.folder / "tables" / "evidence_99.csv")
    assert len(rows) == 1 and rows["value"][0] == 2.0
    for left in (path, run.folder / "tables" / "evidence_99.csv"):
        left.unlink()


class Shown:
    """What a notebook shows.

    More words.
    """

    def outer(self):
        """One line."""

        def inner():
            """First.

            Second.
            """
            return 1

        return inner

    def last(self):
        """Last
        of all."""
        return 2


def test_source_shown_in_a_notebook_is_the_librarys_with_docstrings_of_one_line(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    show_source(start, Run.features, Shown)
    assert shown[0].data.startswith("def start(") and shown[1].data.startswith("def features(")
    assert 'cached by network, data and occlusion."""\n    faces = ' in shown[1].data
    blocks = [line.strip() for line in shown[2].data.splitlines() if line.strip()]
    assert blocks == [
        "class Shown:",
        '"""What a notebook shows."""',
        "def outer(self):",
        '"""One line."""',
        "def inner():",
        '"""First."""',
        "return 1",
        "return inner",
        "def last(self):",
        '"""Last"""',
        "return 2",
    ]
    for one in shown:
        compile(one.data, "shown", "exec")


def test_networks_kept_with_a_reference_are_taken_in_place_of_training(
    smoke_sets, smoke_home, capsys, tmp_path, monkeypatch
):
    monkeypatch.setattr(paths, "SOURCE", tmp_path)
    trained = start("99_test", profile="smoke")
    folder = paths.reference_weights("smoke")
    folder.mkdir(parents=True)
    save_half(trained.trained("base"), folder / "base.safetensors", "a recipe")
    kept = start("99_test", profile="smoke", weights="reference")
    faces = kept.data("ar")[:6]
    found, whole = kept.features("base", faces), trained.features("base", faces)
    cosine = (found * whole).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(whole, axis=1)
    assert (cosine > 0.999).all() and (found != whole).any()
    assert kept.trained("base").history.equals(trained.trained("base").history)
    assert "base: kept with the reference run" in capsys.readouterr().out
    assert kept.available_variants(("base", "full")) == ["base"]
    assert trained.available_variants(("base", "pretrain", "full")) == ["base", "full"]
    with pytest.raises(UserError, match=r"these networks are kept: base"):
        kept.model("full")
    assert not list(folder.glob("*.partial"))


def test_networks_kept_are_of_their_seed_and_say_when_their_faces_were_others(
    smoke_sets, smoke_home, capsys, tmp_path, monkeypatch
):
    monkeypatch.setattr(paths, "SOURCE", tmp_path)
    trained = start("99_test", profile="smoke").trained("base")
    save_half(trained, paths.reference_weights("smoke") / "base.safetensors", "a recipe")
    with pytest.raises(UserError, match="is of seed 0, not 1"):
        start("99_test", profile="smoke", seed=1, weights="reference").trained("base")
    start("99_test", profile="smoke", weights="reference").trained("base")
    assert "other faces" not in capsys.readouterr().out
    monkeypatch.setattr("ifr.datasets.rendered.renderer_hash", lambda: "another")
    start("99_test", profile="smoke", weights="reference").trained("base")
    assert "trained on other faces than this version's" in capsys.readouterr().out


def test_a_kept_network_stands_in_while_its_recipe_is_this_ones(
    smoke_sets, smoke_home, tmp_path, monkeypatch
):
    monkeypatch.setattr(paths, "SOURCE", tmp_path)
    profile, base = get_profile("smoke"), get_variant("base")
    run = start("99_test", profile="smoke")
    trained, what = run.trained("base"), (base, profile, run.data("train"), 0)
    save_half(
        trained, paths.reference_weights("smoke") / "base.safetensors", Recipe(*what).anywhere
    )
    assert stand_in(*what) is None  # the profile trains all of its variants
    keeping = replace(profile, kept=("base",))
    assert stand_in(base, keeping, *what[2:]) is None  # it is trained here
    monkeypatch.setattr(paths, "models", lambda: tmp_path / "models")
    assert stand_in(base, keeping, *what[2:]).key.startswith("reference-")
    run = replace(start("99_test", profile="smoke"), profile=keeping)
    run.train_together(["base"])
    assert run.trained("base").key.startswith("reference-")
    assert stand_in(base, keeping, run.data("train"), 1) is None  # another seed's
    longer = resized(keeping, steps=13)
    assert stand_in(base, longer, *what[2:]) is None
    # Where it was trained is no part of the recipe.
    new = (base, longer, *what[2:])
    elsewhere = Recipe(*new, dict(processes=2, device="cuda", precision="32-true"))
    assert elsewhere.anywhere == Recipe(*new).anywhere and elsewhere.key != Recipe(*new).key


def test_each_seed_has_a_folder_of_results(smoke_home):
    folders = [start("99_test", profile="smoke", seed=seed).folder for seed in (0, 1, 10)]
    assert [folder.name for folder in folders] == ["seed-0", "seed-1", "seed-10"]
    assert {folder.parent for folder in folders} == {paths.results("smoke")}


def test_other_weights_are_refused(smoke_home):
    with pytest.raises(ValueError, match="one of trained, reference, got 'best'"):
        start("99_test", profile="smoke", weights="best")


def test_a_set_is_rendered_without_the_others(smoke_home, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "ifr.datasets.rendered.render_set", lambda spec, *_, **__: asked.append(spec.name)
    )
    run = start("99_test", profile="smoke")
    run.data("ar")
    assert asked == ["ar"] and set(run.fingerprints) == {
        "train",
        "closed",
        "validation",
        "templates",
        "ar",
    }
