"""The photographs a run trains and tests on: any folders of people, and LFW for the test."""

import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from ifr.common.errors import UserError
from ifr.common.files import value_hash
from ifr.datasets.face_set import FaceSet, load_set
from ifr.datasets.index import DatasetIndex, PairList
from ifr.datasets.prepare import prepare
from ifr.datasets.readers.folder import read_folder
from ifr.datasets.readers.landmark_files import read_landmarks
from ifr.datasets.readers.lfw import FOLDERS, pair_list, read_lfw, read_pairs
from ifr.landmarks import FACE_SIZE, NUM_LANDMARKS
from ifr.profiles import PhotographsPlan

LANDMARKS = "_landmarks68.npz"  # beside a folder of images, after its name


def ensure_photographs(
    plan: PhotographsPlan, root: Path, folder: Path, *, progress: bool = True
) -> dict[str, FaceSet]:
    """Return the sets of a run on photographs, aligned and cached in ``folder`` on first use.

    ``train`` is of people that LFW's pairs do not name, ``closed`` further images of them, ``lfw``
    the images of the pairs. Whether two data sets show one person cannot be known.
    """
    lfw_folder, training = find_folders(root)
    indices = {name: read_folder(root / name, name=name) for name in training}
    indices[lfw_folder] = read_lfw(root)
    sources = {
        name: _aligned(index, root / name, folder, progress) for name, index in indices.items()
    }
    shown = read_pairs(root / "pairs.txt")[["first", "second"]].to_numpy().ravel()
    tested = {file.partition("/")[0] for file in shown}
    people = [
        (name, subject, rows)
        for name, faces in sources.items()
        for subject in sorted(set(faces.attributes["subject"].tolist()) - tested)
        if len(rows := np.flatnonzero(faces.attributes["subject"] == subject)) >= plan.least_images
    ]
    if plan.identities is not None:
        people = sorted(people, key=lambda person: -len(person[2]))[: plan.identities]
    if len(people) < 2:
        few = f"{len(people)} identities to train on (of at least {plan.least_images} images"
        remedy = f"add a folder NAME/identity/image.jpg with NAME{LANDMARKS} beside it"
        raise UserError(f"{root} holds {few}, and not in LFW's pairs); {remedy}")
    every = slice(plan.held_out - 1, None, plan.held_out)  # so many images are held out
    prints, sets = [asdict(plan), [sources[source].fingerprint for source in sorted(sources)]], {}
    for name in ("train", "closed"):
        chosen = [
            rows[every] if name == "closed" else np.delete(rows, every) for *_, rows in people
        ]
        parts = [sources[one][rows] for (one, *_), rows in zip(people, chosen, strict=True)]
        sizes = [len(part) for part in parts]
        images = np.concatenate([np.asarray(part.images) for part in parts])
        landmarks = np.concatenate([np.asarray(part.landmarks) for part in parts])
        subjects = np.repeat([f"{source}/{subject}" for source, subject, _ in people], sizes)
        identity, key = np.repeat(np.arange(len(people)), sizes), value_hash([name, *prints])[:16]
        sets[name] = FaceSet(name, images, identity, landmarks, {"subject": subjects}, key)
    # LFW's are the images that its pairs need, with their people numbered from 0 on.
    lfw = sources[lfw_folder]
    compared = lfw[np.unique(lfw_test_pairs(lfw, root, plan.pairs).pairs)]
    identity = np.unique(compared.identity, return_inverse=True)[1].astype(np.int64)
    return sets | {"lfw": replace(compared, name="lfw", identity=identity)}


def find_folders(root: Path) -> tuple[str, list[str]]:
    """Return the name of LFW's image folder and those of the training folders with landmarks."""
    if not root.is_dir():
        remedy = "set IFR_REAL_FACES to a folder of photographs laid out as data/README.md says"
        raise UserError(f"{root} is not a folder; {remedy}")
    lfw = next((name for name in FOLDERS if (root / name).is_dir()), None)
    if lfw is None or not (root / "pairs.txt").is_file():
        raise UserError(f"{root} lacks LFW: expected a folder {' or '.join(FOLDERS)} and pairs.txt")
    names = sorted(path.name.removesuffix(LANDMARKS) for path in root.glob(f"*{LANDMARKS}"))
    return lfw, [name for name in names if name not in FOLDERS and (root / name).is_dir()]


def lfw_test_pairs(lfw: FaceSet, root: Path, count: int | None = None) -> PairList:
    """Return the pairs of ``root/pairs.txt`` that a set has, or a count, alike of fold and kind."""
    listed = read_pairs(root / "pairs.txt")
    if count is not None:
        kinds = listed.groupby(["fold", "same"])
        listed = kinds.head(max(1, round(count / kinds.ngroups)))
    pairs = pair_list(lfw, listed)[0]
    return PairList(*(array[pairs.formed] for array in (pairs.pairs, pairs.same, pairs.folds)))


def _aligned(index: DatasetIndex, images: Path, folder: Path, progress: bool) -> FaceSet:
    file = images.with_name(f"{images.name}{LANDMARKS}")
    if not file.is_file():
        remedy = (
            "the run needs 68 landmarks of each image; data/README.md says how they are laid out"
        )
        raise UserError(f"{file} is missing: {remedy}")
    method = "none" if index.faces.images.shape[1:3] == (FACE_SIZE, FACE_SIZE) else "five"
    given, name = read_landmarks(file, index.faces), f"photographs-{images.name}"
    if given.points.shape[1] != NUM_LANDMARKS:
        raise UserError(f"{file} holds {given.points.shape[1]} points a face; the run needs 68")
    done = prepare(index, folder, name=name, landmarks=given, method=method, progress=progress)
    for doubt in done.doubts:
        print(f"{images}: {doubt}", file=sys.stderr)
    return load_set(done.folder)
