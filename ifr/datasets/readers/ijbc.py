"""IJB-C in NIST's layout and in that of ArcFace's release."""

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
        pairs: (P, 2) int32 indices of ``verify``.
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
    """
    root = Path(root)
    if layout is not None and layout not in LAYOUTS:
        raise UserError(f"layout must be nist or arcface, got {layout!r}")
    there = [name for name, file in LAYOUTS.items() if (root / file).is_file()]
    layout = layout or (there[0] if there else None)
    if layout not in there:
        files = LAYOUTS.values() if layout is None else [LAYOUTS[layout]]
        raise UserError(f"{root} lacks {' and '.join(map(str, files))}")
    issues: list[Issue] = []
    read_layout = _read_nist if layout == "nist" else _read_arcface
    faces, protocol, subjects, occluded = read_layout(root, issues)
    counts = dict(
        images=len(np.unique(faces.attributes["image"])),
        faces=len(faces),
        identities=subjects,
        templates=len(protocol.verify),
        comparisons=len(protocol.pairs),
        occluded=occluded,
    )
    return DatasetIndex(faces, counts, tuple(issues), protocol)


def _read_nist(root: Path, issues: list[Issue]) -> tuple[FaceSet, IjbcProtocol, int, int]:
    """Return faces, protocol, and the numbers of subjects and of occluded faces."""
    folder = root / "protocols"
    tables = {
        name: read_table(folder / name, COLUMNS, integers=INTEGERS) for name in (*GALLERIES, PROBES)
    }
    lines = pd.concat(tables, names=["table"]).reset_index(level=0)
    ids = lines["TEMPLATE_ID"].to_numpy()
    lines = ijb.find_images(lines, "FILENAME", ("TEMPLATE_ID",), root, issues)
    box = numbers_or_nan(lines, BOX)
    rows, first = ijb.number_faces(lines, box)
    still = pd.to_numeric(lines["FRAME_NUM"], errors="coerce").isna().to_numpy()
    # A still image is a medium by its place in the table, frames are one by their sighting.
    sighting = lines["SIGHTING_ID"].astype(str).to_numpy()
    own, video = np.char.add("still ", rows.astype(str)), np.char.add("video ", sighting)
    occluded = (numbers_or_nan(lines, FLAGS) > 0).any(axis=1)
    lines = lines.assign(
        row=rows, MEDIA_ID=pd.factorize(np.where(still, own, video))[0], occluded=occluded
    )
    parts = {
        name: ijb.group_templates(lines[lines["table"] == name], str(folder / name))
        for name in tables
    }
    # A template may be in several tables: it is verified as the first of them has it.
    first_table = lines.groupby("TEMPLATE_ID")["table"].transform("first")
    verify = ijb.group_templates(lines[lines["table"] == first_table], str(folder))
    ijb.note_empty(ids, verify, "", issues)
    table = read_numbers(folder / MATCHES, dict(first=np.int32, second=np.int32), separator=",")
    pairs, _ = ijb.find_pairs(table, verify, MATCHES, issues)
    same = verify.subjects[pairs[:, 0]] == verify.subjects[pairs[:, 1]]
    galleries = tuple(parts[name] for name in GALLERIES)
    images, subjects = (lines[name].to_numpy()[first] for name in ("image", "SUBJECT_ID"))
    images = images.astype(str)
    source = Files(root, images.tolist())
    faces = photograph_set(
        "ijbc", source, ijb.name_faces(images), subjects, image=images, box=box[first]
    )
    protocol = IjbcProtocol(verify, pairs, same, galleries, parts[PROBES])
    return faces, protocol, len(np.unique(subjects)), len(np.unique(rows[occluded]))


def _read_arcface(root: Path, issues: list[Issue]) -> tuple[FaceSet, IjbcProtocol, int, int]:
    """Return the same; this layout knows neither subjects nor occlusion."""
    folder = root / "meta"
    kinds = dict(name=str, TEMPLATE_ID=np.int64, MEDIA_ID=np.int64)
    lines = read_numbers(folder / MEDIA, kinds, separator=r"\s+")
    ids = lines["TEMPLATE_ID"].to_numpy()
    lines = lines.assign(FILE=f"{CROPS}/" + lines["name"], SUBJECT_ID=-1, occluded=False)
    lines = ijb.find_images(lines, "FILE", ("TEMPLATE_ID",), root, issues)
    lines["row"], first = ijb.number_faces(lines, np.zeros((len(lines), 0)))
    verify = ijb.group_templates(lines, str(folder / MEDIA))
    ijb.note_empty(ids, verify, "", issues)
    kinds = dict(first=np.int32, second=np.int32, label=np.int32)
    table = read_numbers(folder / PAIRS, kinds, separator=r"\s+")
    wrong = np.flatnonzero(~table["label"].isin((0, 1)))
    if len(wrong):
        raise UserError(
            f"{folder / PAIRS}, line {wrong[0] + 1}: label must be 0 or 1, got "
            f"{table['label'][wrong[0]]}"
        )
    pairs, kept = ijb.find_pairs(table, verify, PAIRS, issues)
    names, images = (lines[name].to_numpy(str)[first] for name in ("name", "image"))
    points = _five_points(folder / POINTS, names, issues)
    faces = photograph_set(
        "ijbc",
        Files(root, images.tolist()),
        images,
        lines["TEMPLATE_ID"].to_numpy()[first],
        image=images,
        five_points=points,
    )
    impact = "the occluded subset and the galleries need NIST's tables"
    issues.append(Issue("no subjects and no occlusion", "meta/", impact))
    same = table["label"].to_numpy()[kept].astype(bool)
    return faces, IjbcProtocol(verify, pairs, same, (), None), 0, 0


def _five_points(path: Path, names: np.ndarray, issues: list[Issue]) -> np.ndarray:
    """Return (N, 5, 2) points of named crops, NaN where the file has none."""
    points = [f"{axis}{k}" for k in range(5) for axis in "xy"]
    kinds = {"name": str} | dict.fromkeys([*points, "score"], np.float32)
    table = read_numbers(path, kinds, separator=r"\s+").drop_duplicates("name").set_index("name")
    values = table.reindex(names)[points].to_numpy(np.float32)
    impact = "it cannot be aligned by them"
    issues += [
        Issue("no five points", f"{path.name}, {name}", impact)
        for name in names[np.isnan(values).any(axis=1)]
    ]
    return values.reshape(-1, 5, 2)
