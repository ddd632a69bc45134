"""IJB-A, and IJB-C in NIST's layout and in that of ArcFace's release: templates and pairs.

A line of their tables is one face in one template: TEMPLATE_ID, SUBJECT_ID, MEDIA_ID, FILE there,
``image`` on disk or "", ``template`` in words, ``row`` in the set, ``occluded``, ``source`` table.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ifr.common.errors import UserError
from ifr.datasets.face_set import FaceSet
from ifr.datasets.index import ABSENT, DatasetIndex, Issue, Templates, TemplateTest
from ifr.datasets.readers.images import SUFFIXES, Files, photograph_set, require
from ifr.datasets.readers.tables import read_numbers, read_table

BOX = ("FACE_X", "FACE_Y", "FACE_WIDTH", "FACE_HEIGHT")

# ---- IJB-A

SPLITS = 10
VERIFICATION, IDENTIFICATION = "IJB-A_11_sets", "IJB-A_1N_sets"
# In the order of ARCFACE_TEMPLATE: the subject's right eye is on the left of the image. The mouth
# corners are not given.
POINTS = ("RIGHT_EYE_X", "RIGHT_EYE_Y", "LEFT_EYE_X", "LEFT_EYE_Y", "NOSE_BASE_X", "NOSE_BASE_Y")
LEAST_POINTS = 2  # that a face can be aligned by; 4.8 % of IJB-A's have fewer
VISIBLE = ("FOREHEAD_VISIBLE", "EYES_VISIBLE", "NOSE_MOUTH_VISIBLE")
INTEGERS = ("TEMPLATE_ID", "SUBJECT_ID", "MEDIA_ID")
NUMBERS = ("FACE_YAW", *BOX, *POINTS, *VISIBLE)
# The table of each set of templates in a split.
PARTS = dict(verify=f"{VERIFICATION}/split{{0}}/verify_metadata_{{0}}.csv")
PARTS |= dict(gallery=f"{IDENTIFICATION}/split{{0}}/search_gallery_{{0}}.csv")
PARTS |= dict(probes=f"{IDENTIFICATION}/split{{0}}/search_probe_{{0}}.csv")


def read_ijba(root: Path, *, missing_flag: str = "visible") -> DatasetIndex:
    """Read ``IJB-A_11_sets/``, ``IJB-A_1N_sets/``, ``img/`` and ``frame/``.

    A face is naturally occluded when one of its three visibility flags is 0. The paper says "at
    least one occluded area" and not how a missing flag counts; we count it as visible; the released
    code takes faces whose flags do not sum to 3: pass ``missing_flag="occluded"`` to match. Each
    different box in each file is a face; ``protocol``: a TemplateTest for each split that is there.
    """
    root, issues = require(root, f"give the one with {VERIFICATION}/", "folder"), list[Issue]()
    if missing_flag not in ("visible", "occluded"):
        raise UserError(f"missing_flag must be visible or occluded, got {missing_flag!r}")
    trees, every = (VERIFICATION, IDENTIFICATION), range(1, SPLITS + 1)
    lacking = [(k, f"{tree}/split{k}") for k in every for tree in trees]
    lacking = [(k, folder) for k, folder in lacking if not (root / folder).is_dir()]
    issues += [Issue("missing split", name, "the mean is over ten splits") for _, name in lacking]
    numbers = [k for k in every if k not in dict(lacking)]
    if not numbers:
        raise UserError(f"{root} holds no split: expected split1 to 10 in {' and '.join(trees)}")
    files = [(k, part, file) for k in numbers for part, file in PARTS.items()]
    tables = {f"split{k} {part}": root / file.format(k) for k, part, file in files}
    lines = _read_lines(tables, ("FILE",), INTEGERS, NUMBERS)
    lines["template"] = lines["source"] + ", " + lines["template"]
    flags = lines[list(VISIBLE)].fillna(float(missing_flag == "visible"))
    lines["occluded"] = (flags == 0).any(axis=1)
    lines, faces = _find_faces(lines, root, issues)
    points = np.full((len(faces), 5, 2), np.nan, np.float32)
    points[:, :3] = faces[list(POINTS)].to_numpy().reshape(-1, 3, 2)
    splits = []
    for k in numbers:
        verify, gallery, probes = (group_templates(lines, f"split{k} {part}") for part in PARTS)
        comparisons = root / VERIFICATION / f"split{k}/verify_comparisons_{k}.csv"
        pairs, same, unknown = _read_pairs(comparisons, verify, root, issues)
        splits.append(TemplateTest(verify, pairs, same, ((probes, gallery),), k, unknown))
    there = lines[lines["row"] >= 0]
    counts = dict(images=there["image"].nunique(), faces=len(faces))
    counts |= dict(identities=there["SUBJECT_ID"].nunique(), splits=len(splits))
    counts["occluded"] = there["row"][there["occluded"]].nunique()
    yaw = faces["FACE_YAW"].to_numpy()
    index = _boxed_set("ijba", root, faces, five_points=points, yaw=yaw)
    few = np.isfinite(points).all(axis=2).sum(axis=1) < LEAST_POINTS
    kind = "fewer than two of the three points"
    impact = "prepare leaves it out unless --landmarks or --detect has its points"
    issues += [Issue(kind, file, impact) for file in index.attributes["file"][few].tolist()]
    counts["without_two_points"] = int(few.sum())
    return DatasetIndex(index, counts, tuple(issues), tuple(splits))


# ---- IJB-C

FLAGS = [f"OCC{number}" for number in range(1, 19)]
# The two galleries, the mixed probes, and the comparisons, in protocols/.
TABLES = ("ijbc_1N_gallery_G1.csv", "ijbc_1N_gallery_G2.csv", "ijbc_1N_probe_mixed.csv")
MATCHES = "ijbc_11_G1_G2_matches.csv"
MEDIA, PAIRS = "ijbc_face_tid_mid.txt", "ijbc_template_pair_label.txt"  # in meta/
FIVE_POINTS = "ijbc_name_5pts_score.txt"
CROPS = "loose_crop"


def read_ijbc(root: Path) -> DatasetIndex:
    """Read IJB-C in NIST's layout or in ArcFace's, whichever is there, NIST's first.

    NIST's names no medium: frames of one ``SIGHTING_ID`` are taken for a video, a still for its
    own. A face is occluded when any of its 18 OCC flags is set, as in the released code (whose list
    names OCC18 twice and OCC8 never; we take all). ArcFace's names no subjects and no occlusion: no
    galleries, and every template is an identity. ``protocol``: a TemplateTest.
    """
    root, issues = Path(root), list[Issue]()
    layouts = {f"protocols/{MATCHES}": _read_nist, f"meta/{MEDIA}": _read_arcface}
    read_layout = next((read for file, read in layouts.items() if (root / file).is_file()), None)
    if read_layout is None:
        raise UserError(f"{root} lacks {' and '.join(layouts)}")
    faces, protocol, subjects, occluded = read_layout(root, issues)
    counts = dict(images=len(np.unique(faces.attributes["image"])), faces=len(faces))
    left, index = protocol.verify.subset(protocol.verify.rows >= 0)
    formed = (index[protocol.pairs] >= 0).all(axis=1).sum()
    counts |= dict(identities=subjects, templates=len(left), comparisons=int(formed))
    return DatasetIndex(faces, counts | dict(occluded=occluded), tuple(issues), protocol)


def _read_nist(root: Path, issues: list[Issue]) -> tuple[FaceSet, TemplateTest, int, int]:
    """Return faces, protocol, and the numbers of subjects and of occluded faces."""
    folder = root / "protocols"
    tables = {str(folder / name): folder / name for name in TABLES}
    texts, integers = ("FILENAME", "SIGHTING_ID"), ("TEMPLATE_ID", "SUBJECT_ID")
    lines = _read_lines(tables, texts, integers, ("FRAME_NUM", *BOX, *FLAGS))
    lines, faces = _find_faces(lines.rename(columns={"FILENAME": "FILE"}), root, issues)
    # A still image is a medium by itself, frames are one by their sighting.
    still, video = "still " + lines["row"].astype(str), "video " + lines["SIGHTING_ID"]
    lines["MEDIA_ID"] = pd.factorize(still.where(lines["FRAME_NUM"].isna(), video))[0]
    lines["occluded"] = (lines[FLAGS] > 0).any(axis=1)
    *galleries, probes = [group_templates(lines, source) for source in tables]
    # A template may be in several tables: it is verified as the first of them has it.
    first_table = lines.groupby("TEMPLATE_ID")["source"].transform("first")
    first = lines[lines["source"] == first_table].assign(source=str(folder))
    verify = group_templates(first, str(folder))
    pairs, same, unknown = _read_pairs(folder / MATCHES, verify, root, issues)
    searches = tuple((probes, gallery) for gallery in galleries)
    protocol = TemplateTest(verify, pairs, same, searches, unknown=unknown)
    occluded = lines["row"][lines["occluded"] & (lines["row"] >= 0)].nunique()
    return _boxed_set("ijbc", root, faces), protocol, faces["SUBJECT_ID"].nunique(), occluded


def _read_arcface(root: Path, issues: list[Issue]) -> tuple[FaceSet, TemplateTest, int, int]:
    """Return the same; this layout knows neither subjects nor occlusion."""
    folder = root / "meta"
    kinds = dict(name=str, TEMPLATE_ID=np.int64, MEDIA_ID=np.int64)
    lines = read_numbers(folder / MEDIA, kinds, separator=r"\s+")
    known = dict(SUBJECT_ID=-1, occluded=False, source=str(folder / MEDIA))
    lines = lines.assign(FILE=f"{CROPS}/" + lines["name"], **known)
    lines["template"] = "template " + lines["TEMPLATE_ID"].astype(str)
    lines, first = _find_faces(lines, root, issues)
    verify = group_templates(lines, str(folder / MEDIA))
    pairs, same, unknown = _read_pairs(folder / PAIRS, verify, root, issues, labelled=True)
    image, owners = first["image"].to_numpy(str), first["TEMPLATE_ID"].to_numpy()
    points = [f"{axis}{k}" for k in range(5) for axis in "xy"]
    kinds = {"name": str} | dict.fromkeys([*points, "score"], np.float32)
    table = read_numbers(folder / FIVE_POINTS, kinds, separator=r"\s+")
    known_points = table.drop_duplicates("name").set_index("name").reindex(first["name"])[points]
    without = known_points.index[known_points.isna().any(axis=1)].tolist()
    impact = "it cannot be aligned by them"
    issues += [Issue("no five points", f"{FIVE_POINTS}, {name}", impact) for name in without]
    five = known_points.to_numpy(np.float32).reshape(-1, 5, 2)
    faces = photograph_set("ijbc", Files(root, image), owners, image=image, five_points=five)
    impact = "the occluded subset and the galleries need NIST's tables"
    issues.append(Issue("no subjects and no occlusion", "meta/", impact))
    return faces, TemplateTest(verify, pairs, same, (), unknown=unknown), 0, 0


# ---- what they share


def _read_lines(tables: Mapping[str, Path], *columns: Sequence[str]) -> pd.DataFrame:
    """Return columns of tables as ``read_table``, with the key of a line's table as ``source``."""
    parts = {source: read_table(path, *columns) for source, path in tables.items()}
    lines = pd.concat(parts, names=["source"]).reset_index("source").reset_index(drop=True)
    return lines.assign(template="template " + lines["TEMPLATE_ID"].astype(str))


def _find_faces(
    lines: pd.DataFrame, root: Path, issues: list[Issue]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return lines with ``image`` and ``row``, and the first of each box of an image; note gaps."""
    lines = lines.assign(image=_resolve_images(root, lines["FILE"].tolist()))
    there = lines["image"] != ""
    counts = lines[~there].drop_duplicates(["FILE", "template"])["FILE"].value_counts().sort_index()
    if not there.any():
        missing = f"none of the {len(counts)} images its tables name, such as {[*counts.index[:1]]}"
        raise UserError(f"{root} holds {missing}; put them there")
    empty = np.setdiff1d(lines["template"], lines["template"][there])
    lost = {str(file): f"{count} templates lose it" for file, count in counts.items()}
    issues += [Issue("missing image", *where) for where in lost.items()]
    impact = "it is left out with its comparisons"
    issues += [Issue("template without images", template, impact) for template in empty.tolist()]
    # Faces in the order of their images, so that a disk is read in order.
    found = lines[there].sort_values("image", kind="stable")
    keys = [name for name in ("image", *BOX) if name in lines]
    row = found.groupby(keys, sort=False, dropna=False).ngroup()
    lines["row"] = row.reindex(lines.index, fill_value=ABSENT).astype(np.int64)
    return lines, lines.loc[row.drop_duplicates().index]


def _resolve_images(root: Path, names: Sequence[str]) -> np.ndarray:
    """Return each named image's path, of whatever ending and case, ``""`` where there is none."""
    names = [name.replace("\\", "/") for name in names]
    folders = {name[: name.rfind("/") + 1] for name in names}
    paths = [(folder, path) for folder in folders for path in (root / folder).glob("*")]
    files = sorted(folder + path.name for folder, path in paths if path.is_file())
    images = [file for file in reversed(files) if file.lower().endswith(SUFFIXES)]
    known = {_stem(file): file for file in images} | {file: file for file in files}
    return np.array([known.get(name) or known.get(_stem(name), "") for name in names], str)


def _stem(name: str) -> str:
    folder, slash, file = name.rpartition("/")
    return folder + slash + (file.rpartition(".")[0] or file).lower()


def _boxed_set(name: str, root: Path, faces: pd.DataFrame, **attributes: np.ndarray) -> FaceSet:
    """Return faces with boxes as a set; ``file`` is the image, ``#`` and its number there."""
    image, number = faces["image"], faces.groupby("image").cumcount().astype(str)
    known = dict(image=image.to_numpy(str), box=faces[list(BOX)].to_numpy(np.float32))
    known |= attributes | dict(file=(image + "#" + number).to_numpy(str))
    return photograph_set(
        name, Files(root, known["image"]), faces["SUBJECT_ID"].to_numpy(), **known
    )


def group_templates(lines: pd.DataFrame, source: str) -> Templates:
    """Put the lines of a table together into templates."""
    lines = lines[lines["source"] == source].sort_values("TEMPLATE_ID", kind="stable")
    ids, subjects = (lines[name].to_numpy(np.int64) for name in ("TEMPLATE_ID", "SUBJECT_ID"))
    known, first = np.unique(ids, return_index=True)
    mixed = np.flatnonzero((ids[1:] == ids[:-1]) & (subjects[1:] != subjects[:-1]))
    if len(mixed):
        one, two = subjects[mixed[0]], subjects[mixed[0] + 1]
        fault = f"template {ids[mixed[0]]} is of subject {one} in one line and {two} in another"
        raise UserError(f"{source}: {fault}")
    rows, media = (lines[name].to_numpy(np.int64) for name in ("row", "MEDIA_ID"))
    starts = np.append(first, len(ids)).astype(np.int64)
    return Templates(known, subjects[first], rows, media, starts, lines["occluded"].to_numpy(bool))


def _read_pairs(
    path: Path, verify: Templates, root: Path, issues: list[Issue], *, labelled: bool = False
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return comparisons (P, 2), whether of one person by subject or label, and unknown ones."""
    names = ["first", "second", "label"][: 3 if labelled else 2]
    separator = r"\s+" if labelled else ","
    table = read_numbers(path, dict.fromkeys(names, np.int32), separator=separator)
    pairs, kept, repeats = index_pairs(verify, *(table[name].to_numpy() for name in names[:2]))
    name, unknown = path.relative_to(root).as_posix(), len(table) - len(kept) - repeats
    if repeats:
        issues.append(Issue("duplicate comparisons", name, f"{repeats:,} are counted once"))
    if unknown:
        impact = f"{unknown:,} of {len(table):,} are left out"
        issues.append(Issue("comparisons of unknown templates", name, impact))
    if not labelled:
        return pairs, verify.subjects[pairs[:, 0]] == verify.subjects[pairs[:, 1]], unknown
    wrong = table["label"][~table["label"].isin((0, 1))]
    if len(wrong):
        line, label = wrong.index[0] + 1, wrong.iloc[0]
        raise UserError(f"{path}, line {line}: label must be 0 or 1, got {label}")
    return pairs, table["label"].to_numpy()[kept] == 1, unknown


def index_pairs(
    templates: Templates, first: np.ndarray, second: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the indices, (P, 2) int32, of each known pair once, (P,) which, and the repeats."""
    ids = pd.Index(templates.ids)
    pairs = np.stack([ids.get_indexer(side).astype(np.int32) for side in (first, second)], axis=1)
    known = np.flatnonzero((pairs >= 0).all(axis=1))
    low, high = np.sort(pairs[known], axis=1).astype(np.int64).T
    again = pd.Series(low * len(ids) + high).duplicated().to_numpy()  # the first of a pair stays
    return pairs[known[~again]], known[~again], int(again.sum())
