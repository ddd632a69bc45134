"""IJB-A: both protocol trees, ten splits, images and video frames."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ifr.common.errors import UserError
from ifr.datasets.face_set import FaceSet
from ifr.datasets.index import DatasetIndex, Issue
from ifr.datasets.readers import ijb
from ifr.datasets.readers.images import Files, photograph_set
from ifr.datasets.readers.tables import numbers_or_nan, read_numbers, read_table
from ifr.datasets.templates import Templates

SPLITS = 10
VERIFICATION, IDENTIFICATION = "IJB-A_11_sets", "IJB-A_1N_sets"
BOX = ("FACE_X", "FACE_Y", "FACE_WIDTH", "FACE_HEIGHT")
# In the order of ARCFACE_TEMPLATE: the subject's right eye is on the left of the image. The mouth
# corners are not given.
POINTS = ("RIGHT_EYE_X", "RIGHT_EYE_Y", "LEFT_EYE_X", "LEFT_EYE_Y", "NOSE_BASE_X", "NOSE_BASE_Y")
FLAGS = ("FOREHEAD_VISIBLE", "EYES_VISIBLE", "NOSE_MOUTH_VISIBLE")
INTEGERS = ("TEMPLATE_ID", "SUBJECT_ID", "MEDIA_ID")
COLUMNS = (*INTEGERS, "FILE", "FACE_YAW", *BOX, *POINTS, *FLAGS)
PARTS = {  # the table of each set of templates in a split
    "verify": f"{VERIFICATION}/split{{0}}/verify_metadata_{{0}}.csv",
    "gallery": f"{IDENTIFICATION}/split{{0}}/search_gallery_{{0}}.csv",
    "probes": f"{IDENTIFICATION}/split{{0}}/search_probe_{{0}}.csv",
}
MISSING_FLAG = ("visible", "occluded")


@dataclass(frozen=True, eq=False)
class IjbaSplit:
    """One of the ten splits.

    Attributes:
        number: 1 to 10.
        verify: templates of the verification protocol.
        pairs: (P, 2) int32 indices of ``verify``.
        same: (P,) bool, whether the two subjects are one.
        gallery: templates that are enrolled.
        probes: templates that are searched; some have no mate.
        train_subjects: subjects this split may train on.
    """

    number: int
    verify: Templates
    pairs: np.ndarray
    same: np.ndarray
    gallery: Templates
    probes: Templates
    train_subjects: np.ndarray


@dataclass(frozen=True, eq=False)
class IjbaProtocol:
    """The splits that are there, and how a missing visibility flag was counted."""

    splits: tuple[IjbaSplit, ...]
    missing_flag: str = "visible"


def read_ijba(root: Path, *, missing_flag: str = "visible") -> DatasetIndex:
    """Read IJB-A.

    A face is naturally occluded when one of its three visibility flags is 0. The paper says "at
    least one occluded area" and not how a missing flag counts; we count it as visible; the released
    code takes faces whose flags do not sum to 3, so a missing one counts as occluded: pass
    ``missing_flag="occluded"`` to match. (The paper's 12,703 images of 466 subjects lie between the
    two rules: 12,454 of 468 and 12,944 of 474.)

    Args:
        root: holds ``IJB-A_11_sets/``, ``IJB-A_1N_sets/`` (each with ``split1`` to ``split10``),
            ``img/`` and ``frame/``.
        missing_flag: ``"visible"`` or ``"occluded"``.

    Returns:
        Faces: each different box in each file once. Attributes ``file`` (the image with ``#`` and
        the number of the face in it), ``image``, ``subject``, ``box``, ``five_points`` (the mouth
        corners NaN), ``yaw`` in degrees. ``protocol``: an IjbaProtocol. ``counts``: images, faces,
        identities, splits, occluded.
    """
    root = Path(root)
    if missing_flag not in MISSING_FLAG:
        raise UserError(f"missing_flag must be visible or occluded, got {missing_flag!r}")
    issues: list[Issue] = []
    numbers = _splits_there(root, issues)
    tables = {
        (number, part): read_table(root / file.format(number), COLUMNS, integers=INTEGERS)
        for number in numbers
        for part, file in PARTS.items()
    }
    lines = pd.concat(tables, names=["number", "part"]).reset_index(level=[0, 1])
    lines = ijb.find_images(lines, "FILE", ("number", "part", "TEMPLATE_ID"), root, issues)
    faces, rows = _faces(lines, root)
    lines = lines.assign(row=rows, occluded=_occluded(lines, missing_flag))
    splits = []
    for number in numbers:
        parts = {}
        for part in PARTS:
            source = f"split{number} {part}"
            mine = lines[(lines["number"] == number) & (lines["part"] == part)]
            parts[part] = ijb.group_templates(mine, source)
            everyone = tables[number, part]["TEMPLATE_ID"].to_numpy()
            ijb.note_empty(everyone, parts[part], f"{source}, ", issues)
        splits.append(_split(root, number, parts, issues))
    counts = dict(
        images=lines["image"].nunique(),
        faces=len(faces),
        identities=lines["SUBJECT_ID"].nunique(),
        splits=len(splits),
        occluded=int(lines.groupby("row")["occluded"].any().sum()),
    )
    protocol = IjbaProtocol(tuple(splits), missing_flag)
    return DatasetIndex(faces, counts, tuple(issues), protocol)


def _splits_there(root: Path, issues: list[Issue]) -> list[int]:
    if not root.is_dir():
        raise UserError(f"{root} is not a folder; give the one with {VERIFICATION}/")
    complete = []
    for number in range(1, SPLITS + 1):
        folders = [f"{tree}/split{number}" for tree in (VERIFICATION, IDENTIFICATION)]
        lacking = [folder for folder in folders if not (root / folder).is_dir()]
        issues += [Issue("missing split", name, "the mean is over ten splits") for name in lacking]
        if not lacking:
            complete.append(number)
    if not complete:
        raise UserError(
            f"{root} holds no split: expected {VERIFICATION}/split1 to split{SPLITS} and "
            f"{IDENTIFICATION}/split1 to split{SPLITS}"
        )
    return complete


def _occluded(lines: pd.DataFrame, missing_flag: str) -> np.ndarray:
    flags = numbers_or_nan(lines, FLAGS)
    hidden = (flags == 0).any(axis=1)
    return hidden | np.isnan(flags).any(axis=1) if missing_flag == "occluded" else hidden


def _faces(lines: pd.DataFrame, root: Path) -> tuple[FaceSet, np.ndarray]:
    """Return the different faces of all tables, and the face of each line."""
    box = numbers_or_nan(lines, BOX)
    rows, first = ijb.number_faces(lines, box)
    # Faces in the order of their images, so that a disk is read in order.
    order = np.argsort(lines["image"].to_numpy(str)[first], kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    first = first[order]
    images = lines["image"].to_numpy(str)[first]
    points = np.full((len(first), 5, 2), np.nan, np.float32)
    points[:, :3] = numbers_or_nan(lines.iloc[first], POINTS).reshape(-1, 3, 2)
    faces = photograph_set(
        "ijba",
        Files(root, images.tolist()),
        ijb.name_faces(images),
        lines["SUBJECT_ID"].to_numpy()[first],
        image=images,
        box=box[first],
        five_points=points,
        yaw=numbers_or_nan(lines.iloc[first], ["FACE_YAW"])[:, 0],
    )
    return faces, rank[rows]


def _split(root: Path, number: int, parts: dict[str, Templates], issues: list[Issue]) -> IjbaSplit:
    folder, verify = root / VERIFICATION / f"split{number}", parts["verify"]
    path = folder / f"verify_comparisons_{number}.csv"
    table = read_numbers(path, dict(first=np.int32, second=np.int32), separator=",")
    pairs, _ = ijb.find_pairs(table, verify, path.relative_to(root).as_posix(), issues)
    train = folder / f"train_{number}.csv"
    subjects = np.zeros(0, np.int64)
    if train.is_file():
        subjects = np.unique(read_table(train, ("SUBJECT_ID",), integers=("SUBJECT_ID",)))
    else:
        impact = "its training subjects are unknown"
        issues.append(Issue("missing file", train.relative_to(root).as_posix(), impact))
    same = verify.subjects[pairs[:, 0]] == verify.subjects[pairs[:, 1]]
    return IjbaSplit(number, pairs=pairs, same=same, train_subjects=subjects, **parts)
