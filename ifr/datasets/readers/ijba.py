"""IJB-A: both protocol trees, ten splits, images and video frames."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ifr.common.errors import UserError
from ifr.datasets.index import DatasetIndex, Issue, Templates
from ifr.datasets.readers import ijb
from ifr.datasets.readers.ijb import read_table
from ifr.datasets.readers.images import require

SPLITS = 10
VERIFICATION, IDENTIFICATION = "IJB-A_11_sets", "IJB-A_1N_sets"
# In the order of ARCFACE_TEMPLATE: the subject's right eye is on the left of the image. The mouth
# corners are not given.
POINTS = ("RIGHT_EYE_X", "RIGHT_EYE_Y", "LEFT_EYE_X", "LEFT_EYE_Y", "NOSE_BASE_X", "NOSE_BASE_Y")
FLAGS = ("FOREHEAD_VISIBLE", "EYES_VISIBLE", "NOSE_MOUTH_VISIBLE")
INTEGERS = ("TEMPLATE_ID", "SUBJECT_ID", "MEDIA_ID")
NUMBERS = ("FACE_YAW", *ijb.BOX, *POINTS, *FLAGS)
PARTS = {  # the table of each set of templates in a split
    "verify": f"{VERIFICATION}/split{{0}}/verify_metadata_{{0}}.csv",
    "gallery": f"{IDENTIFICATION}/split{{0}}/search_gallery_{{0}}.csv",
    "probes": f"{IDENTIFICATION}/split{{0}}/search_probe_{{0}}.csv",
}


@dataclass(frozen=True, eq=False)
class IjbaSplit:
    """One of the ten splits."""

    number: int  # 1 to 10
    verify: Templates  # of the verification protocol
    pairs: np.ndarray  # (P, 2) int32 indices of ``verify``
    same: np.ndarray  # (P,) bool, whether the two subjects are one
    gallery: Templates  # that are enrolled
    probes: Templates  # that are searched; some have no mate
    train_subjects: np.ndarray  # this split may train on


@dataclass(frozen=True, eq=False)
class IjbaProtocol:
    """The splits that are there, and how a missing visibility flag was counted."""

    splits: tuple[IjbaSplit, ...]
    missing_flag: str = "visible"


def read_ijba(root: Path, *, missing_flag: str = "visible") -> DatasetIndex:
    """Read ``IJB-A_11_sets/``, ``IJB-A_1N_sets/``, ``img/`` and ``frame/``.

    A face is naturally occluded when one of its three visibility flags is 0. The paper says "at
    least one occluded area" and not how a missing flag counts; we count it as visible; the released
    code takes faces whose flags do not sum to 3, so a missing one counts as occluded: pass
    ``missing_flag="occluded"`` to match. (The paper's 12,703 images of 466 subjects lie between the
    two rules: 12,454 of 468 and 12,944 of 474.)

    Each different box in each file is a face. Attributes ``image``, ``box``, ``five_points`` (the
    mouth corners NaN), ``yaw`` in degrees; ``protocol``: an IjbaProtocol.
    """
    root = require(root, f"give the one with {VERIFICATION}/", "folder")
    if missing_flag not in ("visible", "occluded"):
        raise UserError(f"missing_flag must be visible or occluded, got {missing_flag!r}")
    issues: list[Issue] = []
    numbers = _splits_there(root, issues)
    sets = [(number, part) for number in numbers for part in PARTS]
    tables = {f"split{k} {part}": root / PARTS[part].format(k) for k, part in sets}
    lines = ijb.read_lines(tables, texts=("FILE",), integers=INTEGERS, numbers=NUMBERS)
    lines["template"] = lines["source"] + ", template " + lines["TEMPLATE_ID"].astype(str)
    lines["occluded"] = (lines[list(FLAGS)] == 0).any(axis=1)
    if missing_flag == "occluded":
        lines["occluded"] |= lines[list(FLAGS)].isna().any(axis=1)
    lines = ijb.find_images(lines, root, issues)
    # Faces in the order of their images, so that a disk is read in order.
    by_image, faces = ijb.number_faces(lines.sort_values("image", kind="stable"))
    lines = by_image.sort_index()
    points = np.full((len(faces), 5, 2), np.nan, np.float32)
    points[:, :3] = faces[list(POINTS)].to_numpy().reshape(-1, 3, 2)
    yaw = faces["FACE_YAW"].to_numpy()
    splits = tuple(_split(root, number, lines, issues) for number in numbers)
    counts = dict(images=lines["image"].nunique(), faces=len(faces))
    counts |= dict(identities=lines["SUBJECT_ID"].nunique(), splits=len(splits))
    counts["occluded"] = lines["row"][lines["occluded"]].nunique()
    index = ijb.face_set("ijba", root, faces, five_points=points, yaw=yaw)
    return DatasetIndex(index, counts, tuple(issues), IjbaProtocol(splits, missing_flag))


def _splits_there(root: Path, issues: list[Issue]) -> list[int]:
    complete = []
    for number in range(1, SPLITS + 1):
        folders = [f"{tree}/split{number}" for tree in (VERIFICATION, IDENTIFICATION)]
        lacking = [folder for folder in folders if not (root / folder).is_dir()]
        issues += [Issue("missing split", name, "the mean is over ten splits") for name in lacking]
        if not lacking:
            complete.append(number)
    if not complete:
        trees = f"{VERIFICATION}/split1 to split{SPLITS} and {IDENTIFICATION}/split1 to"
        raise UserError(f"{root} holds no split: expected {trees} split{SPLITS}")
    return complete


def _split(root: Path, number: int, lines: pd.DataFrame, issues: list[Issue]) -> IjbaSplit:
    parts = {part: ijb.group_templates(lines, f"split{number} {part}") for part in PARTS}
    folder = root / VERIFICATION / f"split{number}"
    comparisons = folder / f"verify_comparisons_{number}.csv"
    pairs, same = ijb.read_pairs(comparisons, parts["verify"], root, issues)
    train, subjects = folder / f"train_{number}.csv", np.zeros(0, np.int64)
    if train.is_file():
        subjects = np.unique(read_table(train, integers=("SUBJECT_ID",)))
    else:
        impact = "its training subjects are unknown"
        issues.append(Issue("missing file", train.relative_to(root).as_posix(), impact))
    return IjbaSplit(number, pairs=pairs, same=same, train_subjects=subjects, **parts)
