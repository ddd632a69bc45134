"""The AR database by its file names: ``m-001-08.bmp``, zero-padded or not."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from ifr.common.errors import UserError
from ifr.datasets.face_set import FaceSet
from ifr.datasets.index import ABSENT, DatasetIndex, Issue
from ifr.datasets.readers.folder import list_images
from ifr.datasets.readers.images import Files, photograph_set, require

NAME = re.compile(r"(?P<sex>[mw])-(?P<person>\d+)-(?P<shot>\d+)", re.IGNORECASE)
SHOTS = 26  # 1 to 13 are session 1, 14 to 26 session 2, each in one order
SESSIONS = np.repeat([1, 2], SHOTS // 2)
OCCLUDERS = np.tile(np.repeat(["none", "sunglasses", "scarf"], [7, 3, 3]), 2)
_PLAIN = ("neutral", "smile", "anger", "scream", "light left", "light right", "light both")
_COVERED = [f"{what} {light}" for what in OCCLUDERS[7:13:3] for light in ("even", "left", "right")]
CONDITIONS = np.tile([*_PLAIN, *_COVERED], 2)


def read_ar(root: Path) -> DatasetIndex:
    """Read the AR database by its file names, in any folders below the root."""
    root = require(root, "give the one with AR's images", "folder")
    files, issues = dict[tuple[str, int], str](), list[Issue]()
    for file in list_images(root, root, issues):
        match = NAME.fullmatch(Path(file).stem)
        if not match or not 1 <= int(match["shot"]) <= SHOTS:
            issues.append(Issue("stray file", file, "not read"))
            continue
        key = (f"{match['sex'].lower()}-{int(match['person']):03d}", int(match["shot"]))
        if (first := files.setdefault(key, file)) != file:
            issues.append(Issue("duplicate", file, f"the same shot as {first}"))
    if not files:
        raise UserError(f"{root} holds no image named as AR's are: m-001-08.bmp, w-12-3.jpg, …")
    subjects, shot = map(np.array, zip(*sorted(files), strict=True))
    columns = dict(session=SESSIONS, condition=CONDITIONS, occluder=OCCLUDERS)
    labels = dict(shot=shot) | {name: column[shot - 1] for name, column in columns.items()}
    faces = photograph_set(
        "ar", Files(root, [files[key] for key in sorted(files)]), subjects, **labels
    )
    people = Counter(subjects.tolist())
    lost = {subject: SHOTS - count for subject, count in people.items() if count < SHOTS}
    impact = f"of its {SHOTS} shots are not there"
    issues += [Issue("missing shots", who, f"{count} {impact}") for who, count in lost.items()]
    counts = dict(images=len(faces), identities=len(people))
    counts["occluded"] = int((labels["occluder"] != "none").sum())
    # The paper takes "all 810 images with eyeglasses and scarfs occlusions"; the released code's
    # list names 135 people times shots 8 to 13, which is session 1.
    counts["paper_subset"] = int(((shot >= 8) & (shot <= 13)).sum())
    return DatasetIndex(faces, counts, tuple(issues))


def list_shots(faces: FaceSet, rows: np.ndarray) -> pd.DataFrame:
    """Return each shot of the sessions people sat for, with its row of ``rows``, or ABSENT."""
    known = pd.DataFrame({name: faces.attributes[name] for name in ("subject", "session", "shot")})
    every = pd.DataFrame(dict(shot=range(1, SHOTS + 1), session=SESSIONS, occluder=OCCLUDERS))
    listed = known[["subject", "session"]].drop_duplicates().merge(every, on="session")
    found = listed.merge(known.assign(row=rows), how="left")
    return found.fillna(dict(row=ABSENT)).astype(dict(row=np.int64))
