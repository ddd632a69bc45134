"""IJB-A: both protocol trees, ten splits, images and video frames."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ifr.common.errors import UserError
from ifr.datasets.index import DatasetIndex, Issue, Templates
from ifr.datasets.readers import ijb
from ifr.datasets.readers.images import require

SPLITS = 10
VERIFICATION, IDENTIFICATION = "IJB-A_11_sets", "IJB-A_1N_sets"
# In the order of ARCFACE_TEMPLATE: the subject's right eye is on the left of the image. The mouth
# corners are not given.
POINTS = ("RIGHT_EYE_X", "RIGHT_EYE_Y", "LEFT_EYE_X", "LEFT_EYE_Y", "NOSE_BASE_X", "NOSE_BASE_Y")
LEAST_POINTS = 2  # that a face can be aligned by; 4.8 % of IJB-A's have fewer
FLAGS = ("FOREHEAD_VISIBLE", "EYES_VISIBLE", "NOSE_MOUTH_VISIBLE")
INTEGERS = ("TEMPLATE_ID", "SUBJECT_ID", "MEDIA_ID")
NUMBERS = ("FACE_YAW", *ijb.BOX, *POINTS, *FLAGS)
# The table of each set of templates in a split.
PARTS = dict(verify=f"{VERIFICATION}/split{{0}}/verify_metadata_{{0}}.csv")
PARTS |= dict(gallery=f"{IDENTIFICATION}/split{{0}}/search_gallery_{{0}}.csv")
PARTS |= dict(probes=f"{IDENTIFICATION}/split{{0}}/search_probe_{{0}}.csv")


@dataclass(frozen=True, eq=False)
class IjbaSplit:
    """One of the ten splits."""

    number: int  # 1 to 10
    verify: Templates  # of the verification protocol
    pairs: np.ndarray  # (P, 2) int32 indices of ``verify``
    same: np.ndarray  # (P,) bool, whether the two subjects are one
    gallery: Templates  # that are enrolled
    probes: Templates  # that are searched; some have no mate
    unknown: int = 0  # comparisons of templates that no table names


@dataclass(frozen=True, eq=False)
class IjbaProtocol:
    """The splits that are there."""

    splits: tuple[IjbaSplit, ...]


def read_ijba(root: Path, *, missing_flag: str = "visible") -> DatasetIndex:
    """Read ``IJB-A_11_sets/``, ``IJB-A_1N_sets/``, ``img/`` and ``frame/``.

    A face is naturally occluded when one of its three visibility flags is 0. The paper says "at
    least one occluded area" and not how a missing flag counts; we count it as visible; the released
    code takes faces whose flags do not sum to 3: pass ``missing_flag="occluded"`` to match. (The
    paper's 12,703 images of 466 subjects lie between: 12,454 of 468 and 12,944 of 474.)

    Each different box in each file is a face with ``image``, ``box``, ``five_points`` (the mouth
    corners NaN) and ``yaw``; ``protocol``: an IjbaProtocol.
    """
    root = require(root, f"give the one with {VERIFICATION}/", "folder")
    if missing_flag not in ("visible", "occluded"):
        raise UserError(f"missing_flag must be visible or occluded, got {missing_flag!r}")
    issues: list[Issue] = []
    numbers = _splits_there(root, issues)
    files = [(k, part, file) for k in numbers for part, file in PARTS.items()]
    tables = {f"split{k} {part}": root / file.format(k) for k, part, file in files}
    lines = ijb.read_lines(tables, ("FILE",), INTEGERS, NUMBERS)
    lines["template"] = lines["source"] + ", template " + lines["TEMPLATE_ID"].astype(str)
    flags = lines[list(FLAGS)].fillna(float(missing_flag == "visible"))
    lines["occluded"] = (flags == 0).any(axis=1)
    lines, faces = ijb.find_faces(lines, root, issues)
    points = np.full((len(faces), 5, 2), np.nan, np.float32)
    points[:, :3] = faces[list(POINTS)].to_numpy().reshape(-1, 3, 2)
    splits = tuple(_split(root, number, lines, issues) for number in numbers)
    there = lines[lines["row"] >= 0]
    counts = dict(images=there["image"].nunique(), faces=len(faces))
    counts |= dict(identities=there["SUBJECT_ID"].nunique(), splits=len(splits))
    counts["occluded"] = there["row"][there["occluded"]].nunique()
    index = ijb.face_set("ijba", root, faces, five_points=points, yaw=faces["FACE_YAW"].to_numpy())
    few = np.isfinite(points).all(axis=2).sum(axis=1) < LEAST_POINTS
    kind = "fewer than two of the three points"
    impact = "prepare leaves it out unless --landmarks or --detect has its points"
    issues += [Issue(kind, file, impact) for file in index.attributes["file"][few].tolist()]
    counts["without_two_points"] = int(few.sum())
    return DatasetIndex(index, counts, tuple(issues), IjbaProtocol(splits))


def _splits_there(root: Path, issues: list[Issue]) -> list[int]:
    trees, numbers = (VERIFICATION, IDENTIFICATION), range(1, SPLITS + 1)
    lacking = [(k, f"{tree}/split{k}") for k in numbers for tree in trees]
    lacking = [(k, folder) for k, folder in lacking if not (root / folder).is_dir()]
    issues += [Issue("missing split", name, "the mean is over ten splits") for _, name in lacking]
    complete = [k for k in numbers if k not in dict(lacking)]
    if not complete:
        expected = " and ".join(f"{tree}/split1 to split{SPLITS}" for tree in trees)
        raise UserError(f"{root} holds no split: expected {expected}")
    return complete


def _split(root: Path, number: int, lines: pd.DataFrame, issues: list[Issue]) -> IjbaSplit:
    verify, gallery, probes = (
        ijb.group_templates(lines, f"split{number} {part}") for part in PARTS
    )
    comparisons = root / VERIFICATION / f"split{number}/verify_comparisons_{number}.csv"
    pairs, same, unknown = ijb.read_pairs(comparisons, verify, root, issues)
    return IjbaSplit(number, verify, pairs, same, gallery, probes, unknown)
