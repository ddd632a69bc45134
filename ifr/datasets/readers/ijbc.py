"""IJB-C in NIST's layout and in that of ArcFace's release."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ifr.datasets import FaceSet
from ifr.datasets.index import DatasetIndex, Issue
from ifr.datasets.readers.images import Files, LazyImages
from ifr.datasets.readers.tables import (
    ImageFolders,
    numbers_or_nan,
    read_numbers,
    read_table,
    require_file,
)
from ifr.datasets.templates import Templates, group_templates, place_pairs

BOX = ("FACE_X", "FACE_Y", "FACE_WIDTH", "FACE_HEIGHT")
FLAGS = tuple(f"OCC{number}" for number in range(1, 19))
COLUMNS = ("TEMPLATE_ID", "SUBJECT_ID", "FILENAME", "SIGHTING_ID", "FRAME_NUM", "YAW", *BOX, *FLAGS)
INTEGERS = ("TEMPLATE_ID", "SUBJECT_ID")
GALLERIES = ("ijbc_1N_gallery_G1.csv", "ijbc_1N_gallery_G2.csv")
PROBES, MATCHES = "ijbc_1N_probe_mixed.csv", "ijbc_11_G1_G2_matches.csv"
MEDIA, PAIRS, POINTS = (
    "ijbc_face_tid_mid.txt",
    "ijbc_template_pair_label.txt",
    "ijbc_name_5pts_score.txt",
)
LAYOUTS = {"nist": Path("protocols") / MATCHES, "arcface": Path("meta") / MEDIA}
CROPS = "loose_crop"


@dataclass(frozen=True, eq=False)
class IjbcProtocol:
    """IJB-C's 1:1 and 1:N protocols.

    Attributes:
        verify: templates of the 1:1 protocol.
        pairs: (P, 2) int32 places among ``verify``.
        same: (P,) bool.
        galleries: the two galleries of the 1:N protocol; empty where the layout has none.
        probes: templates that are searched in each gallery, or None.
    """

    verify: Templates
    pairs: np.ndarray
    same: np.ndarray
    galleries: tuple[Templates, ...]
    probes: Templates | None


def read_ijbc(root: Path, *, layout: str | None = None) -> DatasetIndex:
    """Read IJB-C.

    NIST's layout: ``protocols/`` with the comparisons (``ijbc_11_G1_G2_matches.csv``, no header),
    both galleries and the mixed probes; images below ``root`` by their ``FILENAME``. The tables
    name no medium: frames of a template with the same ``SIGHTING_ID`` are taken for one video,
    and a still image for a medium of its own. A face is occluded when any of its 18 OCC flags is
    set, as in the released code (whose list names OCC18 twice and OCC8 never; we take all).

    ArcFace's layout: ``meta/`` with media, pairs with their labels, and five points; crops in
    ``loose_crop/``. It names neither subjects nor occlusion: there are no galleries, every template
    is an identity of its own, and there is no occluded subset.

    Args:
        root: folder.
        layout: ``"nist"`` or ``"arcface"``; what is there if None, NIST's first.

    Returns:
        Faces with the attributes ``file``, ``image``, ``subject``, ``box`` or ``five_points``.
        ``protocol``: an IjbcProtocol. ``counts``: images, faces, identities, templates,
        comparisons, occluded.

    Raises:
        FileNotFoundError: if a table is missing, or every image.
        ValueError: if a table is broken, naming file and column.
    """
    root = Path(root)
    if layout is not None and layout not in LAYOUTS:
        raise ValueError(f"layout must be nist or arcface, got {layout!r}")
    there = [name for name, file in LAYOUTS.items() if (root / file).is_file()]
    layout = layout or (there[0] if there else None)
    if layout not in there:
        wanted = LAYOUTS.values() if layout is None else [LAYOUTS[layout]]
        raise FileNotFoundError(f"{root} lacks {' and '.join(map(str, wanted))}")
    return _read_nist(root) if layout == "nist" else _read_arcface(root)


def _read_nist(root: Path) -> DatasetIndex:
    folder, problems = root / "protocols", []
    names = (*GALLERIES, PROBES)
    tables = [read_table(folder / name, COLUMNS, integers=INTEGERS) for name in names]
    lines = pd.concat(tables, keys=range(len(names)), names=["part"]).reset_index(level=0)
    lines["image"] = ImageFolders(root).resolve(lines["FILENAME"].astype(str).tolist())
    all_ids = np.unique(lines["TEMPLATE_ID"])
    lines = _present(lines, "FILENAME", root, problems)
    box = numbers_or_nan(lines, BOX)
    places = pd.DataFrame(np.nan_to_num(box, nan=-1.0)).assign(image=lines["image"].to_numpy())
    rows, first = _numbered(places.groupby([*places.columns[:4], "image"], sort=False).ngroup())
    still = pd.to_numeric(lines["FRAME_NUM"], errors="coerce").isna().to_numpy()
    # A still image is a medium by its place in the table, frames are one by their sighting.
    sighting = lines["SIGHTING_ID"].astype(str).to_numpy()
    own = np.where(still, np.char.add("still ", rows.astype(str)), np.char.add("video ", sighting))
    media = pd.factorize(own)[0]
    hidden = (numbers_or_nan(lines, FLAGS) > 0).any(axis=1)
    parts = [lines["part"].to_numpy() == number for number in range(len(names))]
    masks = dict(zip((*GALLERIES, PROBES, "all"), (*parts, _once(lines, parts)), strict=True))
    group = {
        key: group_templates(
            lines["TEMPLATE_ID"].to_numpy()[mask],
            lines["SUBJECT_ID"].to_numpy()[mask],
            rows[mask],
            media[mask],
            hidden[mask],
            str(folder),
        )
        for key, mask in masks.items()
    }
    verify = group["all"]
    path = folder / MATCHES
    table = read_numbers(path, ("first", "second"), separator=",")
    pairs = _pairs(table, verify, path, problems)[0]
    _note_empty(all_ids, verify, problems)
    images = lines["image"].to_numpy(str)[first]
    subjects = lines["SUBJECT_ID"].to_numpy()[first]
    number = pd.Series(images).groupby(images).cumcount().astype(str).to_numpy(str)
    attributes = {
        "file": np.char.add(np.char.add(images, "#"), number),
        "image": images,
        "subject": subjects.astype(str),
        "box": box[first],
    }
    identity = np.unique(subjects, return_inverse=True)[1].astype(np.int64)
    faces = FaceSet("ijbc", LazyImages(Files(root, images.tolist())), identity, None, attributes)
    same = verify.subjects[pairs[:, 0]] == verify.subjects[pairs[:, 1]]
    protocol = IjbcProtocol(
        verify, pairs, same, tuple(group[name] for name in GALLERIES), group[PROBES]
    )
    occluded = np.zeros(len(faces), bool)
    occluded[rows[hidden]] = True
    return _reading(faces, protocol, len(np.unique(subjects)), int(occluded.sum()), problems)


def _once(lines: pd.DataFrame, parts: list[np.ndarray]) -> np.ndarray:
    """Mark the lines of templates at their first table: a template may be in several."""
    seen, mask = np.zeros(0, np.int64), np.zeros(len(lines), bool)
    ids = lines["TEMPLATE_ID"].to_numpy()
    for part in parts:
        mask |= part & ~np.isin(ids, seen)
        seen = np.union1d(seen, ids[part])
    return mask


def _read_arcface(root: Path) -> DatasetIndex:
    folder, problems = root / "meta", []
    media_path, points_path = folder / MEDIA, folder / POINTS
    require_file(media_path)
    try:
        lines = pd.read_csv(
            media_path,
            sep=r"\s+",
            header=None,
            names=["name", "id", "media"],
            dtype={"name": str, "id": np.int64, "media": np.int64},
        )
    except (ValueError, pd.errors.ParserError) as error:
        raise ValueError(f"{media_path}: expected 'name template media' a line: {error}") from None
    all_ids = np.unique(lines["id"])
    lines["FILE"] = f"{CROPS}/" + lines["name"]
    lines["image"] = ImageFolders(root).resolve(lines["FILE"].tolist())
    lines = _present(lines, "FILE", root, problems)
    rows, first = _numbered(lines.groupby("image", sort=False).ngroup())
    ids = lines["id"].to_numpy()
    unknown = np.full(len(lines), -1)
    verify = group_templates(
        ids, unknown, rows, lines["media"].to_numpy(), np.zeros(len(lines), bool), str(media_path)
    )
    path = folder / PAIRS
    table = read_numbers(path, ("first", "second", "label"), separator=r"\s+")
    label = table["label"].to_numpy()
    if not np.isin(label, (0, 1)).all():
        line = int(np.flatnonzero(~np.isin(label, (0, 1)))[0]) + 1
        raise ValueError(f"{path}, line {line}: label must be 0 or 1, got {label[line - 1]}")
    pairs, kept = _pairs(table, verify, path, problems)
    _note_empty(all_ids, verify, problems)
    images = lines["image"].to_numpy(str)[first]
    attributes = {
        "file": images,
        "image": images,
        "subject": ids[first].astype(str),
        "five_points": _five_points(points_path, lines["name"].to_numpy(str)[first], problems),
    }
    identity = np.unique(ids[first], return_inverse=True)[1].astype(np.int64)
    faces = FaceSet("ijbc", LazyImages(Files(root, images.tolist())), identity, None, attributes)
    impact = "the occluded subset and the galleries need NIST's tables"
    problems.append(Issue("no subjects and no occlusion", "meta/", impact))
    protocol = IjbcProtocol(verify, pairs, label[kept].astype(bool), (), None)
    return _reading(faces, protocol, 0, 0, problems)


def _five_points(path: Path, names: np.ndarray, problems: list[Issue]) -> np.ndarray:
    """Return (N, 5, 2) points of named crops, NaN where the file has none."""
    require_file(path)
    columns = ["name", *(f"v{k}" for k in range(11))]
    kinds = {"name": str} | dict.fromkeys(columns[1:], np.float32)
    try:
        table = pd.read_csv(
            path, sep=r"\s+", header=None, names=columns, index_col="name", dtype=kinds
        )
    except (ValueError, pd.errors.ParserError) as error:
        raise ValueError(
            f"{path}: expected a name, ten coordinates and a score a line: {error}"
        ) from None
    table = table[~table.index.duplicated()]
    found = table.reindex(names)[columns[1:11]].to_numpy(np.float32)
    for name in names[np.isnan(found).any(axis=1)]:
        impact = "it cannot be aligned by them"
        problems.append(Issue("no five points", f"{path.name}, {name}", impact))
    return found.reshape(-1, 5, 2)


def _present(lines: pd.DataFrame, column: str, root: Path, problems: list) -> pd.DataFrame:
    """Return the lines whose image is there; note the others."""
    gone = lines[lines["image"] == ""]
    for file, count in gone[column].astype(str).value_counts(sort=False).sort_index().items():
        problems.append(Issue("missing image", str(file), f"{count} lines of templates lose it"))
    lines = lines[lines["image"] != ""].reset_index(drop=True)
    if not len(lines):
        named = gone[column].iloc[0] if len(gone) else "none"
        raise FileNotFoundError(
            f"{root} holds none of the images its tables name, such as {named}; put them there"
        )
    return lines


def _numbered(groups: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the group of each line, numbered by first appearance, and each one's first line."""
    rows = groups.to_numpy().astype(np.int64)
    return rows, np.unique(rows, return_index=True)[1]


def _pairs(
    table: pd.DataFrame, verify: Templates, path: Path, problems: list[Issue]
) -> tuple[np.ndarray, np.ndarray]:
    first, second = table["first"].to_numpy(), table["second"].to_numpy()
    pairs, kept, repeats = place_pairs(verify, first, second)
    if repeats:
        impact = f"{repeats:,} are counted once"
        problems.append(Issue("duplicate comparisons", path.name, impact))
    unknown = len(table) - len(kept) - repeats
    if unknown:
        impact = f"{unknown:,} of {len(table):,} are left out"
        problems.append(Issue("comparisons of unknown templates", path.name, impact))
    return pairs, kept


def _note_empty(all_ids: np.ndarray, verify: Templates, problems: list[Issue]) -> None:
    for template in np.setdiff1d(all_ids, verify.ids):
        impact = "it is left out with its comparisons"
        problems.append(Issue("template without images", f"template {template}", impact))


def _reading(
    faces: FaceSet, protocol: IjbcProtocol, subjects: int, occluded: int, problems: list[Issue]
) -> DatasetIndex:
    counts = dict(
        images=len(np.unique(faces.attributes["image"])),
        faces=len(faces),
        identities=subjects,
        templates=len(protocol.verify),
        comparisons=len(protocol.pairs),
        occluded=occluded,
    )
    return DatasetIndex(faces, counts, tuple(problems), protocol)
