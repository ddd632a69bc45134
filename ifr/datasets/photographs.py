"""The photographs a run trains and tests on: any folders of people, and LFW for the test."""

import hashlib
import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ifr.datasets import FaceSet, load_set
from ifr.datasets.index import DatasetIndex
from ifr.datasets.pairs import PairList
from ifr.datasets.prepare import prepare
from ifr.datasets.readers.folder import read_folder
from ifr.datasets.readers.landmark_files import read_landmarks
from ifr.datasets.readers.lfw import FOLDERS, pair_list, read_lfw, read_pairs
from ifr.profiles import PhotographsPlan

LANDMARKS = "_landmarks68.npz"  # beside a folder of images, after its name


def ensure_photographs(
    plan: PhotographsPlan, root: Path, folder: Path, *, progress: bool = True
) -> dict[str, FaceSet]:
    """Return the sets of a run on photographs, aligned and cached on first use.

    Args:
        plan: which of them are taken.
        root: holds LFW (``lfw112/`` or another of its folder names, ``pairs.txt``), one or more
            training folders ``NAME/identity/image.jpg``, and beside each folder its landmarks
            ``NAME_landmarks68.npz``.
        folder: where the aligned sets are cached.
        progress: show progress bars.

    Returns:
        ``train``: people that LFW's pairs do not show, from the training folders and from LFW;
        ``closed``: images of the same people that are not trained on; ``lfw``: the images of
        LFW's pairs. A training identity that carries the name of a test identity is left out.
        Whether two data sets show one person under two names cannot be known.

    Raises:
        FileNotFoundError: if the folder lacks LFW, its pairs, or a training folder with landmarks.
    """
    lfw_folder, training = find_folders(root)
    pairs = read_pairs(root / "pairs.txt")
    tested = {name for pair in pairs for name in (pair.name1, pair.name2)}
    lfw = _aligned(read_lfw(root, images=lfw_folder), root, lfw_folder, folder, progress)
    sources = {
        name: _aligned(read_folder(root / name, name=name), root, name, folder, progress)
        for name in training
    }
    sources[lfw_folder] = lfw
    people = [
        (name, subject, np.flatnonzero(faces.attributes["subject"] == subject))
        for name, faces in sources.items()
        for subject, count in sorted(Counter(faces.attributes["subject"].tolist()).items())
        if subject not in tested and count >= plan.least_images
    ]
    if plan.identities is not None:
        people = sorted(people, key=lambda person: -len(person[2]))[: plan.identities]
    if len(people) < 2:
        raise FileNotFoundError(
            f"{root} holds {len(people)} identities to train on (of at least {plan.least_images} "
            "images, and not in LFW's pairs); add a folder NAME/identity/image.jpg with "
            f"NAME{LANDMARKS} beside it"
        )
    held = [np.arange(len(rows)) % plan.held_out == plan.held_out - 1 for _, _, rows in people]
    sets = {
        name: _joined(name, plan, sources, people, [mask == flag for mask in held])
        for name, flag in (("train", False), ("closed", True))
    }
    return sets | {"lfw": _test_set(lfw, lfw_test_pairs(lfw, root, plan.pairs))}


def find_folders(root: Path) -> tuple[str, list[str]]:
    """Return the name of LFW's image folder and those of the training folders with landmarks."""
    if not root.is_dir():
        raise FileNotFoundError(
            f"{root} is not a folder; set IFR_REAL_FACES to one with LFW and training photographs "
            "(data/README.md says how it is laid out)"
        )
    lfw = next((name for name in FOLDERS if (root / name).is_dir()), None)
    if lfw is None or not (root / "pairs.txt").is_file():
        raise FileNotFoundError(
            f"{root} lacks LFW: expected a folder {' or '.join(FOLDERS)} and pairs.txt"
        )
    names = sorted(path.name.removesuffix(LANDMARKS) for path in root.glob(f"*{LANDMARKS}"))
    training = [name for name in names if name not in FOLDERS and (root / name).is_dir()]
    return lfw, training


def lfw_test_pairs(lfw: FaceSet, root: Path, count: int | None = None) -> PairList:
    """Return those of LFW's pairs whose two images are in a set.

    Args:
        lfw: aligned faces with the attribute ``file``.
        root: holds ``pairs.txt``.
        count: a part of them, as many of each fold and kind; None for all.
    """
    listed = read_pairs(root / "pairs.txt")
    if count is not None:
        kinds = Counter((pair.fold, pair.same) for pair in listed)
        share, taken, kept = count / len(listed), Counter(), []
        for pair in listed:
            kind = (pair.fold, pair.same)
            if taken[kind] < max(1, round(share * kinds[kind])):
                taken[kind] += 1
                kept.append(pair)
        listed = kept
    return pair_list(lfw, listed)[0]


def _aligned(reading: DatasetIndex, root: Path, name: str, folder: Path, progress: bool) -> FaceSet:
    file = root / f"{name}{LANDMARKS}"
    if not file.is_file():
        raise FileNotFoundError(
            f"{file} is missing: the run needs 68 landmarks of each image; ifr data prepare "
            "--detect finds them, and data/README.md says how the file is laid out"
        )
    aligned = reading.faces.images.shape[1:3] == (112, 112)
    done = prepare(
        reading,
        folder,
        name=f"photographs-{name}",
        landmarks=read_landmarks(file, reading.faces),
        method="none" if aligned else "five",
        progress=progress,
    )
    return load_set(done.folder)


def _joined(
    name: str, plan: PhotographsPlan, sources: dict[str, FaceSet], people: list, chosen: list
) -> FaceSet:
    """Put the chosen images of all people into one set, in memory."""
    parts, identity, subjects = [], [], []
    for number, ((source, subject, rows), mask) in enumerate(zip(people, chosen, strict=True)):
        parts.append(sources[source][rows[mask]])
        identity += [number] * int(mask.sum())
        subjects += [f"{source}/{subject}"] * int(mask.sum())
    what = json.dumps([name, asdict(plan), [sources[s].fingerprint for s in sorted(sources)]])
    return FaceSet(
        name,
        np.concatenate([np.asarray(part.images) for part in parts]),
        np.array(identity, np.int64),
        np.concatenate([np.asarray(part.landmarks) for part in parts]),
        {"subject": np.array(subjects)},
        hashlib.sha256(what.encode()).hexdigest()[:16],
    )


def _test_set(lfw: FaceSet, pairs: PairList) -> FaceSet:
    """Return the images that pairs need, with their people numbered from 0 on."""
    shown = lfw[np.unique(pairs.pairs)]
    identity = np.unique(shown.identity, return_inverse=True)[1].astype(np.int64)
    return FaceSet(
        "lfw", shown.images, identity, shown.landmarks, shown.attributes, shown.fingerprint
    )
