"""Rendering sets to disk: same bytes however they come about, and nothing half done that loads."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from ifr.common.errors import Stopped
from ifr.common.paths import ASSETS
from ifr.datasets import load_set
from ifr.datasets import rendered as module
from ifr.datasets.rendered import (
    AR_SHOTS,
    SetSpec,
    fingerprint,
    mean_frontal_landmarks,
    plan_sets,
    render_set,
    set_folder,
)
from ifr.evaluation import baselines as quality
from ifr.faces import OCCLUDERS
from ifr.landmarks import mirror
from ifr.profiles import PROFILES

TINY = SetSpec("tiny", 50_000_000, 4, 3, yaw="wide", natural_share=0.5)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The tiny set, rendered at one go by one process."""
    folder = tmp_path_factory.mktemp("whole") / "tiny"
    return render_set(TINY, folder, workers=1, progress=False), folder


def content(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_what_a_set_holds(whole):
    faces, folder = whole
    assert len(faces) == 12
    assert faces.fingerprint == fingerprint(TINY)
    np.testing.assert_array_equal(faces.identity, np.repeat(np.arange(4), 3))
    np.testing.assert_array_equal(
        faces.attributes["identity_seed"], np.repeat(50_000_000 + np.arange(4), 3)
    )
    assert faces.images.dtype == np.uint8 and faces.images.shape[1:] == (112, 112, 3)
    assert faces.landmarks.shape == (12, 68, 2) and np.isfinite(faces.landmarks).all()
    assert set(faces.attributes["occluder"]) <= set(OCCLUDERS)
    masks = np.unpackbits(faces.attributes["occluder_mask"], axis=2).astype(bool)
    assert masks.shape == (12, 112, 112)
    worn = faces.attributes["occluder"] != "none"
    np.testing.assert_array_equal(masks.any(axis=(1, 2)), worn)
    assert 0 < worn.sum() < 12
    assert not folder.with_name("tiny.partial").exists()


def test_two_workers_write_the_same_bytes(whole, tmp_path):
    render_set(TINY, tmp_path / "tiny", workers=2, progress=False)
    assert content(tmp_path / "tiny") == content(whole[1])


def stop_after(monkeypatch, count: int, error: type[BaseException]) -> None:
    """Make the renderer fail once ``count`` identities are rendered."""
    real, calls = module.render_identity, []

    def render_identity(spec, index):
        if len(calls) == count:
            raise error
        calls.append(index)
        return real(spec, index)

    monkeypatch.setattr(module, "render_identity", render_identity)


def test_interrupted_rendering_goes_on(whole, tmp_path, monkeypatch):
    folder = tmp_path / "tiny"
    with monkeypatch.context() as patch:
        stop_after(patch, 2, KeyboardInterrupt)
        with pytest.raises(Stopped, match="6 of 12 images are kept; run the same command again"):
            render_set(TINY, folder, workers=1, progress=True)
    assert not folder.exists()
    with pytest.raises(FileNotFoundError):
        load_set(folder.with_name("tiny.partial"))
    done = []
    real = module.render_identity
    monkeypatch.setattr(module, "render_identity", lambda s, i: done.append(i) or real(s, i))
    render_set(TINY, folder, workers=1, progress=False)
    assert done == [2, 3]  # what was kept is not drawn again
    assert content(folder) == content(whole[1])


def test_stop_between_identities_goes_on(whole, tmp_path, monkeypatch):
    folder, real, asked = tmp_path / "tiny", module._render_all, []

    def stopped(spec, todo, workers):
        yield next(real(spec, todo, workers))
        raise KeyboardInterrupt

    def counted(spec, todo, workers):
        asked.extend(todo)
        return real(spec, todo, workers)

    with monkeypatch.context() as patch:
        patch.setattr(module, "_render_all", stopped)
        with pytest.raises(Stopped, match="3 of 12 images are kept"):
            render_set(TINY, folder, workers=1, progress=False)
    with pytest.raises(FileNotFoundError, match="no data set at"):
        load_set(folder)
    with open(tmp_path / "tiny.partial" / "done.txt", "a") as journal:
        journal.write("2")  # a line that a kill cut short says nothing, now or after the next stop
    with monkeypatch.context() as patch:
        patch.setattr(module, "_render_all", stopped)
        with pytest.raises(Stopped, match="6 of 12 images are kept"):
            render_set(TINY, folder, workers=1, progress=False)
    monkeypatch.setattr(module, "_render_all", counted)
    render_set(TINY, folder, workers=1, progress=False)
    assert asked == [2, 3]
    assert content(folder) == content(whole[1])
    render_set(TINY, folder, workers=1, progress=False)
    assert asked == [2, 3]  # a finished set is loaded


SCRIPT = """
import sys
from pathlib import Path
from ifr.datasets.rendered import SetSpec, render_set
render_set(SetSpec("tiny", 50_000_000, 4, 3, yaw="wide", natural_share=0.5), Path(sys.argv[1]),
           workers=1, progress=False)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_rendering_goes_on(whole, tmp_path):
    folder, journal = tmp_path / "tiny", tmp_path / "tiny.partial" / "done.txt"
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder)])
    end = time.monotonic() + 60
    while not journal.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.002)
    process.kill()
    process.wait()
    if not folder.exists():  # a fast machine may have been done before the signal
        assert not (tmp_path / "tiny.partial" / "set.json").exists()
    render_set(TINY, folder, workers=1, progress=False)
    assert content(folder) == content(whole[1])


def test_leftovers_of_another_set_are_not_used(whole, tmp_path, monkeypatch):
    folder = tmp_path / "tiny"
    with monkeypatch.context() as patch:
        stop_after(patch, 1, KeyboardInterrupt)
        with pytest.raises(Stopped):
            render_set(replace(TINY, first=60_000_000), folder, workers=1, progress=False)
    render_set(TINY, folder, workers=1, progress=False)
    assert content(folder) == content(whole[1])


def test_a_fault_of_the_renderer_is_not_hidden(tmp_path, monkeypatch):
    stop_after(monkeypatch, 1, ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):
        render_set(TINY, tmp_path / "tiny", workers=1, progress=False)
    assert not (tmp_path / "tiny").exists()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_folder_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OSError, match="cannot write to"):
        render_set(TINY, tmp_path / "tiny", workers=1, progress=False)


@pytest.mark.parametrize("name", [name for name, profile in PROFILES.items() if profile.faces])
def test_people_of_one_set_are_in_no_other(name):
    plan = PROFILES[name].faces
    specs = {spec.name: spec for spec in plan_sets(plan)}
    assert set(specs) == {"train", "closed", "validation", "templates", "ar"}
    spans = {key: range(s.first, s.first + s.identities) for key, s in specs.items()}
    assert spans["train"] == spans["closed"]
    apart = [spans[key] for key in ("train", "validation", "templates", "ar")]
    for k, one in enumerate(apart):
        assert not any(set(one) & set(other) for other in apart[k + 1 :])
    train, closed = specs["train"], specs["closed"]
    assert train.first_shot + train.shots <= closed.first_shot
    # Another seed of the plan draws other people everywhere.
    moved = {spec.name: spec.first for spec in plan_sets(replace(plan, seed=1))}
    assert not any(moved[key] in span for key in specs for span in spans.values())


def test_folder_and_fingerprint_follow_the_specification(tmp_path):
    names = {set_folder(spec, tmp_path).name for spec in (TINY, replace(TINY, shots=4))}
    assert len(names) == 2 and all(name.startswith("tiny-") for name in names)
    assert fingerprint(TINY) == fingerprint(replace(TINY))


def test_closed_shots_are_new_pictures_of_the_training_people(smoke_sets):
    train, closed = smoke_sets["train"], smoke_sets["closed"]
    seeds = [np.unique(one.attributes["identity_seed"]) for one in (train, closed)]
    np.testing.assert_array_equal(*seeds)
    assert not set(train.attributes["shot"]) & set(closed.attributes["shot"])
    known = {image.tobytes() for image in train.images}
    assert not any(image.tobytes() in known for image in closed.images)


def test_training_shots_carry_no_occluder():
    train = plan_sets(PROFILES["smoke"].faces)[0]
    options = [train.shot_options(person, shot)[1] for person in range(20) for shot in range(5)]
    assert {option["occluder"] for option in options} == {"none"}


def test_every_natural_occluder_occurs_in_templates():
    spec = plan_sets(PROFILES["classroom"].faces)[3]
    worn = np.array(
        [
            spec.shot_options(spec.first + person, shot)[1]["occluder"]
            for person in range(80)
            for shot in range(24)
        ]
    )
    shares = {kind: (worn == kind).mean() for kind in OCCLUDERS}
    assert 0.55 < shares["none"] < 0.65
    assert all(0.05 < shares[kind] < 0.11 for kind in OCCLUDERS[1:])


def test_ar_shots_follow_one_session(smoke_sets):
    kinds = [options.get("occluder", "none") for _, options in AR_SHOTS]
    assert kinds == ["none"] * 7 + ["sunglasses"] * 3 + ["scarf"] * 3
    ar = smoke_sets["ar"]
    people = PROFILES["smoke"].faces.ar_identities
    names = [name for name, _ in AR_SHOTS]
    np.testing.assert_array_equal(ar.attributes["condition"].reshape(people, 13), [names] * people)
    np.testing.assert_array_equal(ar.attributes["occluder"].reshape(people, 13), [kinds] * people)
    assert np.abs(ar.attributes["yaw"]).max() < 25


def test_mean_frontal_landmarks_are_symmetric():
    few = mean_frontal_landmarks(3)
    assert few.shape == (68, 2) and few.dtype == np.float32
    np.testing.assert_allclose(mirror(few, 112), few, atol=1e-3)


def test_packaged_template_is_what_the_function_computes():
    template = np.load(ASSETS / "frontal68.npy")
    assert template.shape == (68, 2) and template.dtype == np.float32
    np.testing.assert_allclose(mirror(template, 112), template, atol=1e-3)
    np.testing.assert_allclose(mean_frontal_landmarks(), template, atol=1e-2)


@pytest.mark.parametrize("name", quality.BASELINES)
def test_shortcut_descriptors(smoke_sets, name):
    images = np.asarray(smoke_sets["closed"].images[:4])
    found = quality.BASELINES[name](images)
    assert found.ndim == 2 and len(found) == 4 and np.isfinite(found).all()
    np.testing.assert_allclose(quality.BASELINES[name](images[2:3])[0], found[2], rtol=1e-6)


def test_hair_and_border_ignore_the_face(smoke_sets):
    images = np.array(smoke_sets["closed"].images[:2])
    painted = images.copy()
    painted[:, 30:100, 20:92] = 255  # inside the border and below the top strip
    for name in ("hair only (top strip)", "border only"):
        describe = quality.BASELINES[name]
        np.testing.assert_array_equal(describe(painted), describe(images))


def test_shortcut_baselines_table(smoke_sets):
    train, closed = smoke_sets["train"], smoke_sets["closed"]
    table = quality.shortcut_baselines(train, closed, resamples=20)
    assert list(table["baseline"]) == list(quality.BASELINES)
    accuracy = table["accuracy_percent"]
    assert ((table["low"] <= accuracy) & (accuracy <= table["high"])).all()
    people = PROFILES["smoke"].faces.train[0]
    np.testing.assert_allclose(table["chance_percent"], 100 / people)
    again = quality.shortcut_baselines(train, closed, resamples=20)
    np.testing.assert_array_equal(table["accuracy_percent"], again["accuracy_percent"])


def test_alignment_error_is_small(smoke_sets):
    error = quality.alignment_error(smoke_sets["train"])
    assert error.shape == (len(smoke_sets["train"]),)
    assert error.mean() < 6
