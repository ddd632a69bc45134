"""The AR database by its file names: ``m-001-08.bmp``, zero-padded or not."""

import re
from collections import Counter
from pathlib import Path

import numpy as np

from ifr.common.errors import UserError
from ifr.datasets.face_set import FaceSet
from ifr.datasets.index import DatasetIndex, Issue
from ifr.datasets.readers.images import Files, is_image, photograph_set, require

NAME = re.compile(r"(?P<sex>[mw])-(?P<person>\d+)-(?P<shot>\d+)", re.IGNORECASE)
SESSION_SHOTS = 13
SHOTS = 2 * SESSION_SHOTS
CONDITIONS = (
    *("neutral", "smile", "anger", "scream", "light left", "light right", "light both"),
    *(f"{what} {light}" for what in ("sunglasses", "scarf") for light in ("even", "left", "right")),
)
RAW = ".raw"


def read_ar(root: Path) -> DatasetIndex:
    """Read the AR database; folders below the root do not matter, names do.

    Shots 1 to 13 are session 1 and 14 to 26 session 2, each in the order of ``CONDITIONS``, AR's
    own. Attributes ``shot``, ``session``, ``condition`` and ``occluder``; ``counts``: images,
    identities, occluded, paper_subset.
    """
    root = require(root, "give the one with AR's images", "folder")
    shots, issues = _shots(root)
    if not shots:
        names = "m-001-08.bmp, w-12-3.jpg and so on"
        raise UserError(f"{root} holds no image named as AR's are: {names}")
    keys = sorted(shots)
    subjects, shot = [subject for subject, _ in keys], np.array([number for _, number in keys])
    condition = np.array(CONDITIONS)[(shot - 1) % SESSION_SHOTS]
    kind = np.char.partition(condition, " ")[:, 0]
    occluder = np.where(np.isin(kind, ("sunglasses", "scarf")), kind, "none")
    session = (shot - 1) // SESSION_SHOTS + 1
    labels = dict(shot=shot, session=session, condition=condition, occluder=occluder)
    faces = photograph_set("ar", Files(root, [shots[key] for key in keys]), subjects, **labels)
    people = Counter(subjects)
    issues += [
        Issue("missing shots", subject, f"{SHOTS - count} of its {SHOTS} shots are not there")
        for subject, count in people.items()
        if count < SHOTS
    ]
    counts = dict(images=len(faces), identities=len(people))
    counts["occluded"] = int((occluder != "none").sum())
    counts["paper_subset"] = int(paper_subset(faces).sum())
    return DatasetIndex(faces, counts, tuple(issues))


def paper_subset(faces: FaceSet) -> np.ndarray:
    """Return (N,) bool: sunglasses or scarf in session 1.

    The paper takes "all 810 images with eyeglasses and scarfs occlusions"; the list of the released
    code names 135 people times shots 8 to 13, which is session 1.
    """
    shot = np.asarray(faces.attributes["shot"])
    return (shot >= 8) & (shot <= SESSION_SHOTS)


def _shots(root: Path) -> tuple[dict[tuple[str, int], str], list[Issue]]:
    """Return the file of each (subject, shot), and what is wrong with the others."""
    files: dict[tuple[str, int], str] = {}
    issues = []
    for path in sorted(path for path in root.rglob("*") if not path.is_dir()):
        relative, match = path.relative_to(root).as_posix(), NAME.fullmatch(path.stem)
        if match and path.suffix.lower() == RAW:
            impact = "not read: convert it from 768x576 raw RGB to .png first"
            issues.append(Issue("raw image", relative, impact))
            continue
        if not match or not is_image(path) or not 1 <= int(match["shot"]) <= SHOTS:
            issues.append(Issue("stray file", relative, "not read"))
            continue
        key = (f"{match['sex'].lower()}-{int(match['person']):03d}", int(match["shot"]))
        if key in files:
            issues.append(Issue("duplicate", relative, f"the same shot as {files[key]}"))
        elif path.stat().st_size == 0:
            issues.append(Issue("empty file", relative, f"{key[0]} has a shot less"))
        else:
            files[key] = relative
    return files, issues
