"""Rendering sets to disk: same bytes however they come about, and nothing half done that loads."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from ifr.common.errors import UserError
from ifr.common.paths import PACKAGE
from ifr.datasets.rendered import (
    AR_SHOTS,
    SetSpec,
    fingerprint,
    plan_sets,
    render_set,
    renderer_hash,
    set_folder,
)
from ifr.datasets.rendered_people import COLUMNS
from ifr.faces import LIGHT_OCCLUDERS, OCCLUDERS, PARTS, draw_shot
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
    cameras = [draw_shot(50_000_000 + k // 3, k % 3).camera for k in range(12)]
    sharp = [not (camera.blur or camera.low_size) for camera in cameras]
    np.testing.assert_array_equal(faces.attributes["sharp"], sharp)
    assert not folder.with_name("tiny.partial").exists()


def test_croissant_metadata_tell_every_array(whole):
    folder = whole[1]
    about = json.loads((folder / "croissant.json").read_text(encoding="utf-8"))
    assert about["name"] == f"tiny-{fingerprint(TINY)[:12]}"
    assert {row["arrays/name"] for row in about["recordSet"][0]["data"]} == set(COLUMNS)
    for file in about["distribution"]:
        path = folder / file["contentUrl"]
        assert file["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert file["contentSize"] == f"{path.stat().st_size} B"


def test_croissant_metadata_validate(whole):
    mlcroissant = pytest.importorskip("mlcroissant", reason="pip install mlcroissant")
    dataset = mlcroissant.Dataset(jsonld=str(whole[1] / "croissant.json"))
    issues = dataset.metadata.ctx.issues
    assert not issues.errors
    # No date: a set has the same bytes whenever it is made.
    assert all("datePublished" in warning for warning in issues.warnings)
    rows = {row["arrays/name"]: row for row in dataset.records("arrays")}
    assert rows["images"]["arrays/shape"] == "12 × 112 × 112 × 3"


def test_two_workers_write_the_same_bytes(whole, tmp_path):
    render_set(TINY, tmp_path / "tiny", workers=2, progress=False)
    assert content(tmp_path / "tiny") == content(whole[1])


SCRIPT = """
import sys
from pathlib import Path
from ifr.datasets.rendered import SetSpec, render_set
render_set(SetSpec("tiny", 50_000_000, 4, 3, yaw="wide", natural_share=0.5), Path(sys.argv[1]),
           workers=1, progress=False)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_rendering_goes_on(whole, tmp_path):
    folder, shards = tmp_path / "tiny", tmp_path / "tiny.partial" / "shards"
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder)])
    end = time.monotonic() + 60
    while not any(shards.glob("*.npz")) and process.poll() is None and time.monotonic() < end:
        time.sleep(0.002)
    process.kill()
    process.wait()
    if not folder.exists():  # a fast machine may have been done before the signal
        assert not (tmp_path / "tiny.partial" / "set.json").exists()
    render_set(TINY, folder, workers=1, progress=False)
    assert content(folder) == content(whole[1])


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_folder_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="cannot write to"):
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


@pytest.fixture
def sources(tmp_path):
    """A copy of all that the renderer's hash covers."""
    names = ["landmarks.py", "common/seeding.py", "datasets/rendered_people.py"]
    names += ["assets/head.npz", "assets/faces.json"]
    faces = [f"faces/{path.name}" for path in (PACKAGE / "faces").glob("*.py")]
    for name in [*names, *faces]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(PACKAGE / name, tmp_path / name)
    return tmp_path


def test_the_hash_of_the_renderer_follows_what_it_does_and_not_what_is_said_of_it(sources):
    known = renderer_hash()
    assert renderer_hash(sources) == known
    shot, people = sources / "faces/shot.py", sources / "datasets/rendered_people.py"
    code = shot.read_text()
    shot.write_text(f"# A remark.\n\n{code}\n")
    people.write_text(people.read_text().replace('"""Render every', '"""Draw every'))
    renderer_hash.cache_clear()
    assert renderer_hash(sources) == known
    moved = re.sub(r"\b(\d+\.\d+)\b", lambda m: str(float(m[1]) + 1), code, count=1)
    assert moved != code
    for path, text in ((shot, moved), (people, people.read_text().replace("scream", "shout"))):
        whole = path.read_text()
        path.write_text(text)
        renderer_hash.cache_clear()
        assert renderer_hash(sources) != known
        path.write_text(whole)
    for asset in ("assets/head.npz", "assets/faces.json"):
        whole = (sources / asset).read_bytes()
        (sources / asset).write_bytes(b"another head or other colours")
        renderer_hash.cache_clear()
        assert renderer_hash(sources) != known
        (sources / asset).write_bytes(whole)
    renderer_hash.cache_clear()


def test_workers_do_without_torch():
    code = "import sys, ifr.datasets.rendered; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


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


def test_training_meets_some_light_occluders_and_some_studio_light():
    for spec in plan_sets(PROFILES["smoke"].faces)[:3]:
        people = range(spec.first, spec.first + 60)
        options = [spec.shot_options(person, shot)[1] for person in people for shot in range(30)]
        worn = np.array([option["occluder"] for option in options])
        lamps = np.array([option["lighting"] for option in options])
        assert set(worn) <= {"none", *LIGHT_OCCLUDERS}
        assert 0.03 < (worn != "none").mean() < 0.07
        assert 0.17 < (lamps != "natural").mean() < 0.23


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
    assert all(0.02 < shares[kind] < 0.05 for kind in OCCLUDERS[1:])


def test_ar_shots_follow_one_session(smoke_sets):
    kinds = [options.get("occluder", "none") for _, options in AR_SHOTS]
    assert kinds == ["none"] * 7 + ["sunglasses"] * 3 + ["scarf"] * 3
    ar = smoke_sets["ar"]
    people = PROFILES["smoke"].faces.ar_identities
    names = [name for name, _ in AR_SHOTS]
    np.testing.assert_array_equal(ar.attributes["condition"].reshape(people, 13), [names] * people)
    np.testing.assert_array_equal(ar.attributes["occluder"].reshape(people, 13), [kinds] * people)
    assert np.abs(ar.attributes["yaw"]).max() < 25
    assert ar.attributes["sharp"].all() and not (ar.attributes["parts"] == PARTS.index("hat")).any()
