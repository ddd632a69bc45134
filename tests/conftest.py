"""Shared set-up: few threads, and one smoke-size home that all tests of the session share."""

import os
import signal
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("IFR_PROGRESS", "0")

import numpy as np
import pytest
from PIL import Image

from ifr.common import paths
from ifr.datasets.rendered import ensure_sets
from ifr.profiles import get_profile

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it


@pytest.fixture(scope="session")
def smoke_home(tmp_path_factory):
    """A home folder with its own data, models and results."""
    home = tmp_path_factory.mktemp("home")
    before = os.environ.get("IFR_HOME")
    os.environ["IFR_HOME"] = str(home)
    yield home
    os.environ.pop("IFR_HOME")
    if before:
        os.environ["IFR_HOME"] = before


@pytest.fixture(scope="session")
def smoke_sets(smoke_home):
    """The procedural sets of the smoke profile."""
    return ensure_sets(get_profile("smoke").faces, paths.data(), progress=False)


@pytest.fixture(scope="session")
def train_folder(smoke_sets):
    """Where the smoke profile's training set lies, for a process of its own."""
    return next(paths.data().glob(f"train-{smoke_sets['train'].fingerprint[:12]}"))


@pytest.fixture(scope="session")
def real_faces():
    """The folder of real photographs that IFR_REAL_FACES names; a test without it is skipped."""
    folder = os.environ.get("IFR_REAL_FACES")
    if not folder:
        pytest.skip("IFR_REAL_FACES names no folder of photographs; data/README.md says how")
    return Path(folder)


def write_people(root, faces, names, quality=95):
    """Write a set as ROOT/name/name_0001.jpg; return the relative names in the set's order."""
    written, seen = [], {}
    for image, who in zip(faces.images, faces.identity, strict=True):
        name = names[int(who)]
        seen[name] = seen.get(name, 0) + 1
        relative = f"{name}/{name}_{seen[name]:04d}.jpg"
        (root / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(image)).save(root / relative, quality=quality)
        written.append(relative)
    return written


@pytest.fixture
def wide_people(smoke_sets, tmp_path):
    """Faces pasted into 250-pixel pictures, as LFW's are, with the landmarks there."""
    faces = smoke_sets["validation"]
    faces = faces[faces.identity < 3]
    root = tmp_path / "some people"
    files = write_people(root, faces, ["Ana", "Björn", "Cy D"])
    points = []
    for k, file in enumerate(files):
        wide = np.full((250, 250, 3), 90, np.uint8)
        x, y = 60 + k, 70 - k
        wide[y : y + 112, x : x + 112] = np.asarray(faces.images[k])
        Image.fromarray(wide).save(root / file, quality=95)
        points.append(np.asarray(faces.landmarks[k]) + [x, y])
    order = np.argsort(files)
    files, points = [files[k] for k in order], np.array(points, np.float32)[order]
    return root, files, points, np.asarray(faces.images)[order], np.asarray(faces.landmarks)[order]


@pytest.fixture(scope="session")
def photographs_root(smoke_sets, tmp_path_factory):
    """A folder laid out as IFR_REAL_FACES, of procedural faces: LFW with ten folds, one more set.

    LFW's people are those of ``templates`` and ``ar``, two in each fold, and those of
    ``validation``, whom no pair shows.
    """
    root = tmp_path_factory.mktemp("photographs of people")
    files, points = [], []
    for group in ("templates", "ar", "validation"):
        faces = smoke_sets[group]
        names = [f"{group}_{who}" for who in range(int(faces.identity.max()) + 1)]
        files += write_people(root / "lfw112", faces, names)
        points.append(np.asarray(faces.landmarks))
    np.savez(root / "lfw112_landmarks68.npz", names=files, landmarks=np.concatenate(points))
    train = smoke_sets["train"]
    files = write_people(root / "people112", train, [f"{who:04d}" for who in range(12)])
    np.savez(root / "people112_landmarks68.npz", names=files, landmarks=np.asarray(train.landmarks))
    people = [f"templates_{k}" for k in range(12)] + [f"ar_{k}" for k in range(8)]
    lines = ["10\t3"]
    for fold in range(10):
        a, b = people[2 * fold : 2 * fold + 2]
        lines += [f"{a}\t1\t2", f"{a}\t3\t4", f"{b}\t1\t2"]
        lines += [f"{a}\t{k}\t{b}\t{k}" for k in (1, 2, 3)]
    (root / "pairs.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root
