"""IJB-A: both protocol trees, ten splits, images and video frames."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ifr.datasets import FaceSet
from ifr.datasets.index import DatasetIndex, Issue
from ifr.datasets.readers.images import Files, LazyImages
from ifr.datasets.readers.tables import ImageFolders, numbers_or_nan, read_numbers, read_table
from ifr.datasets.templates import Templates, group_templates, place_pairs

SPLITS = 10
VERIFICATION, IDENTIFICATION = "IJB-A_11_sets", "IJB-A_1N_sets"
BOX = ("FACE_X", "FACE_Y", "FACE_WIDTH", "FACE_HEIGHT")
# In the order of ARCFACE_TEMPLATE: the subject's right eye is on the left of the image. The mouth
# corners are not given.
POINTS = ("RIGHT_EYE_X", "RIGHT_EYE_Y", "LEFT_EYE_X", "LEFT_EYE_Y", "NOSE_BASE_X", "NOSE_BASE_Y")
FLAGS = ("FOREHEAD_VISIBLE", "EYES_VISIBLE", "NOSE_MOUTH_VISIBLE")
INTEGERS = ("TEMPLATE_ID", "SUBJECT_ID", "MEDIA_ID")
COLUMNS = (*INTEGERS, "FILE", "FACE_YAW", *BOX, *POINTS, *FLAGS)
MISSING_FLAG = ("visible", "occluded")


@dataclass(frozen=True, eq=False)
class IjbaSplit:
    """One of the ten splits.

    Attributes:
        number: 1 to 10.
        verify: templates of the verification protocol.
        pairs: (P, 2) int32 places among ``verify``.
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

    Raises:
        FileNotFoundError: if there is no complete split.
        ValueError: if a table is broken, naming file and column.
    """
    root = Path(root)
    if missing_flag not in MISSING_FLAG:
        raise ValueError(f"missing_flag must be visible or occluded, got {missing_flag!r}")
    problems: list[Issue] = []
    numbers = _splits_there(root, problems)
    tables = {}
    for number in numbers:
        one, many = (root / tree / f"split{number}" for tree in (VERIFICATION, IDENTIFICATION))
        for key, path in (
            ("verify", one / f"verify_metadata_{number}.csv"),
            ("gallery", many / f"search_gallery_{number}.csv"),
            ("probes", many / f"search_probe_{number}.csv"),
        ):
            tables[number, key] = read_table(path, COLUMNS, integers=INTEGERS)
    lines = pd.concat(tables, names=["number", "key"]).reset_index(level=[0, 1])
    lines["image"] = ImageFolders(root).resolve(lines["FILE"].astype(str).tolist())
    gone = lines[lines["image"] == ""]
    for file, rows in gone.groupby("FILE", sort=True):
        impact = (
            f"{rows[['number', 'key', 'TEMPLATE_ID']].drop_duplicates().shape[0]} templates lose it"
        )
        problems.append(Issue("missing image", str(file), impact))
    lines = lines[lines["image"] != ""].reset_index(drop=True)
    if not len(lines):
        raise FileNotFoundError(
            f"{root} holds none of the {gone['FILE'].nunique()} images its tables name, such as "
            f"{gone['FILE'].iloc[0]}; put img/ and frame/ there"
        )
    faces, rows = _faces(lines, root)
    lines["row"], lines["hidden"] = rows, _occluded(lines, missing_flag)
    lost = {
        key: set(gone[(gone["number"] == key[0]) & (gone["key"] == key[1])]["TEMPLATE_ID"])
        for key in tables
    }
    splits = tuple(
        _split(root, number, lines[lines["number"] == number], lost, problems) for number in numbers
    )
    counts = dict(
        images=lines["image"].nunique(),
        faces=len(faces),
        identities=lines["SUBJECT_ID"].nunique(),
        splits=len(splits),
        occluded=int(lines.groupby("row")["hidden"].any().sum()),
    )
    return DatasetIndex(faces, counts, tuple(problems), IjbaProtocol(splits, missing_flag))


def _splits_there(root: Path, problems: list[Issue]) -> list[int]:
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder; give the one with {VERIFICATION}/")
    there = []
    for number in range(1, SPLITS + 1):
        lacks = [
            f"{tree}/split{number}"
            for tree in (VERIFICATION, IDENTIFICATION)
            if not (root / tree / f"split{number}").is_dir()
        ]
        there += [] if lacks else [number]
        problems += [
            Issue("missing split", place, "the mean is over ten splits") for place in lacks
        ]
    if not there:
        raise FileNotFoundError(
            f"{root} holds no split: expected {VERIFICATION}/split1 to split{SPLITS} and "
            f"{IDENTIFICATION}/split1 to split{SPLITS}"
        )
    return there


def _occluded(lines: pd.DataFrame, missing_flag: str) -> np.ndarray:
    flags = numbers_or_nan(lines, FLAGS)
    hidden = (flags == 0).any(axis=1)
    return hidden | np.isnan(flags).any(axis=1) if missing_flag == "occluded" else hidden


def _faces(lines: pd.DataFrame, root: Path) -> tuple[FaceSet, np.ndarray]:
    """Return the different faces of all tables, and the face of each line."""
    box = numbers_or_nan(lines, BOX)
    places = pd.DataFrame(np.nan_to_num(box, nan=-1.0)).assign(image=lines["image"])
    row = places.groupby([*places.columns[:4], "image"], sort=False).ngroup().to_numpy()
    first = np.unique(row, return_index=True)[1]
    # Faces in the order of their images, so that a disk is read in order.
    order = np.lexsort([np.arange(len(first)), lines["image"].to_numpy(str)[first]])
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    first = first[order]
    images = lines["image"].to_numpy(str)[first]
    number = pd.Series(images).groupby(images).cumcount().astype(str)
    points = np.full((len(first), 5, 2), np.nan, np.float32)
    points[:, :3] = numbers_or_nan(lines.iloc[first], POINTS).reshape(-1, 3, 2)
    subjects = lines["SUBJECT_ID"].to_numpy()[first]
    attributes = {
        "file": np.char.add(np.char.add(images, "#"), number.to_numpy(str)),
        "image": images,
        "subject": subjects.astype(str),
        "box": box[first],
        "five_points": points,
        "yaw": numbers_or_nan(lines.iloc[first], ["FACE_YAW"])[:, 0],
    }
    identity = np.unique(subjects, return_inverse=True)[1].astype(np.int64)
    faces = FaceSet("ijba", LazyImages(Files(root, images.tolist())), identity, None, attributes)
    return faces, rank[row]


def _split(
    root: Path, number: int, lines: pd.DataFrame, lost: dict, problems: list[Issue]
) -> IjbaSplit:
    parts = {}
    for key in ("verify", "gallery", "probes"):
        part = lines[lines["key"] == key]
        source = f"split{number} {key}"
        parts[key] = group_templates(
            part["TEMPLATE_ID"].to_numpy(),
            part["SUBJECT_ID"].to_numpy(),
            part["row"].to_numpy(),
            part["MEDIA_ID"].to_numpy(),
            part["hidden"].to_numpy(bool),
            source,
        )
        empty = lost[number, key] - set(parts[key].ids.tolist())
        problems += [
            Issue(
                "template without images",
                f"{source}, template {template}",
                "it is left out with its comparisons",
            )
            for template in sorted(empty)
        ]
    folder = root / VERIFICATION / f"split{number}"
    path = folder / f"verify_comparisons_{number}.csv"
    table = read_numbers(path, ("first", "second"), separator=",")
    verify, (first, second) = parts["verify"], table.to_numpy().T
    pairs, kept, repeats = place_pairs(verify, first, second)
    name = path.relative_to(root).as_posix()
    if repeats:
        problems.append(Issue("duplicate comparisons", name, f"{repeats} are counted once"))
    unknown = len(table) - len(kept) - repeats
    if unknown:
        impact = f"{unknown} of {len(table)} are left out"
        problems.append(Issue("comparisons of unknown templates", name, impact))
    train = folder / f"train_{number}.csv"
    subjects = np.zeros(0, np.int64)
    if train.is_file():
        subjects = np.unique(read_table(train, ("SUBJECT_ID",), integers=("SUBJECT_ID",)))
    else:
        impact = "its training subjects are unknown"
        problems.append(Issue("missing file", train.relative_to(root).as_posix(), impact))
    same = verify.subjects[pairs[:, 0]] == verify.subjects[pairs[:, 1]]
    return IjbaSplit(number, verify, pairs, same, parts["gallery"], parts["probes"], subjects)
