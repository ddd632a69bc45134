"""The AR database by its file names: ``m-001-08.bmp``, zero-padded or not."""

import re
from collections import Counter
from pathlib import Path

import numpy as np

from ifr.datasets import FaceSet
from ifr.datasets.index import DatasetIndex, Issue
from ifr.datasets.readers.folder import is_image
from ifr.datasets.readers.images import Files, LazyImages

NAME = re.compile(r"(?P<sex>[mw])-(?P<person>\d+)-(?P<shot>\d+)", re.IGNORECASE)
SESSION_SHOTS = 13
SHOTS = 2 * SESSION_SHOTS
CONDITIONS = (
    "neutral",
    "smile",
    "anger",
    "scream",
    "light left",
    "light right",
    "light both",
    "sunglasses even",
    "sunglasses left",
    "sunglasses right",
    "scarf even",
    "scarf left",
    "scarf right",
)
RAW = ".raw"


def read_ar(root: Path) -> DatasetIndex:
    """Read the AR database; folders below the root do not matter, names do.

    Shots 1 to 13 are session 1 and 14 to 26 session 2; in each the 1st is neutral, 2 to 4 are
    expressions, 5 to 7 lights, 8 to 10 sunglasses and 11 to 13 a scarf. Which of the expressions
    and lights a number is follows AR's own list.

    Args:
        root: folder.

    Returns:
        Attributes ``file``, ``subject`` (``m-001``), ``shot``, ``session``, ``condition`` and
        ``occluder`` (``none``, ``sunglasses``, ``scarf``). ``counts``: images, identities,
        occluded, paper_subset (sunglasses or scarf in session 1).

    Raises:
        FileNotFoundError: if no file is named as AR's are.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder; give the one with AR's images")
    found, problems = _files(root)
    if not found:
        raise FileNotFoundError(
            f"{root} holds no image named as AR's are: m-001-08.bmp, w-12-3.jpg and so on"
        )
    keys = sorted(found)
    subjects = np.array([subject for subject, _ in keys])
    shots = np.array([shot for _, shot in keys], np.int64)
    place = (shots - 1) % SESSION_SHOTS
    conditions = np.array([CONDITIONS[k] for k in place])
    worn = np.where(place < 7, "none", np.where(place < 10, "sunglasses", "scarf"))
    people, identity = np.unique(subjects, return_inverse=True)
    files = [found[key] for key in keys]
    attributes = {
        "file": np.array(files),
        "subject": subjects,
        "shot": shots,
        "session": (shots - 1) // SESSION_SHOTS + 1,
        "condition": conditions,
        "occluder": worn,
    }
    faces = FaceSet(
        "ar", LazyImages(Files(root, files)), identity.astype(np.int64), None, attributes
    )
    per_person = Counter(subjects.tolist())
    problems += [
        Issue("missing shots", subject, f"{SHOTS - count} of its {SHOTS} shots are not there")
        for subject, count in sorted(per_person.items())
        if count < SHOTS
    ]
    counts = dict(
        images=len(files),
        identities=len(people),
        occluded=int((worn != "none").sum()),
        paper_subset=int(paper_subset(faces).sum()),
    )
    return DatasetIndex(faces, counts, tuple(problems))


def paper_subset(faces: FaceSet) -> np.ndarray:
    """Return (N,) bool: sunglasses or scarf in session 1.

    The paper takes "all 810 images with eyeglasses and scarfs occlusions"; the list of the released
    code names 135 people times shots 8 to 13, which is session 1.
    """
    shot = np.asarray(faces.attributes["shot"])
    return (shot >= 8) & (shot <= SESSION_SHOTS)


def _files(root: Path) -> tuple[dict[tuple[str, int], str], list[Issue]]:
    """Return the file of each (subject, shot), and what is wrong with the others."""
    found, problems = {}, []
    for path in sorted(root.rglob("*")):
        if path.is_dir():
            continue
        relative = path.relative_to(root).as_posix()
        match = NAME.fullmatch(path.stem)
        if match and path.suffix.lower() == RAW:
            impact = "not read: convert it from 768x576 raw RGB to .png first"
            problems.append(Issue("raw image", relative, impact))
            continue
        shot = int(match["shot"]) if match else 0
        if not match or not is_image(path) or not 1 <= shot <= SHOTS:
            problems.append(Issue("stray file", relative, "not read"))
            continue
        key = (f"{match['sex'].lower()}-{int(match['person']):03d}", shot)
        if key in found:
            problems.append(Issue("duplicate", relative, f"the same shot as {found[key]}"))
        elif path.stat().st_size == 0:
            problems.append(Issue("empty file", relative, f"{key[0]} has a shot less"))
        else:
            found[key] = relative
    return found, problems
