"""What the readers of IJB-A and IJB-C share: from the lines of their tables to templates and pairs.

A line is one face in one template: TEMPLATE_ID, SUBJECT_ID, MEDIA_ID, FILE as the table names the
image, and ``template``, what issues call it; then ``image``, its path below the root, ``row`` in
the set of different faces, and whether it is ``occluded``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ifr.common.errors import UserError
from ifr.datasets.face_set import FaceSet
from ifr.datasets.index import Issue
from ifr.datasets.readers.images import SUFFIXES, Files, photograph_set
from ifr.datasets.readers.tables import read_numbers, read_table
from ifr.datasets.templates import Templates

BOX = ("FACE_X", "FACE_Y", "FACE_WIDTH", "FACE_HEIGHT")


def read_lines(tables: Mapping[str, Path], **columns: Sequence[str]) -> pd.DataFrame:
    """Return the lines of several tables, with the key of each line's table as ``source``."""
    parts = {source: read_table(path, **columns) for source, path in tables.items()}
    return pd.concat(parts, names=["source"]).reset_index(level=0)


def find_images(lines: pd.DataFrame, root: Path, issues: list[Issue]) -> pd.DataFrame:
    """Return the lines whose image is there; note the others, and templates left without any."""
    lines = lines.assign(image=_resolve_images(root, lines["FILE"].tolist()))
    there = lines["image"] != ""
    counts = lines[~there].drop_duplicates(["FILE", "template"])["FILE"].value_counts().sort_index()
    if not there.any():
        first = lines["FILE"].iloc[0] if len(lines) else "none"
        missing = f"none of the {len(counts)} images its tables name, such as {first}"
        raise UserError(f"{root} holds {missing}; put them there")
    lost = [(str(file), f"{count} templates lose it") for file, count in counts.items()]
    issues += [Issue("missing image", *where) for where in lost]
    left = lines["template"].isin(lines["template"][there])
    impact = "it is left out with its comparisons"
    empty = lines["template"][~left].unique()
    issues += [Issue("template without images", template, impact) for template in empty]
    return lines[there].reset_index(drop=True)


def _resolve_images(root: Path, names: Sequence[str]) -> np.ndarray:
    """Return the path below the root of each named image that is there, ``""`` of others.

    An image with another ending than the one named is taken, in any case.
    """
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


def number_faces(lines: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the lines with their ``row``, by first appearance, and the first line of each face.

    Each different box of an image is a face; without boxes each image is one.
    """
    keys = [name for name in ("image", *BOX) if name in lines]
    row = lines.groupby(keys, sort=False, dropna=False).ngroup().astype(np.int64)
    lines = lines.assign(row=row)
    return lines, lines.drop_duplicates("row")


def face_set(name: str, root: Path, faces: pd.DataFrame, **attributes: np.ndarray) -> FaceSet:
    """Return faces with boxes as a set; ``file`` is the image, ``#`` and its number there."""
    image = faces["image"].to_numpy(str)
    number = faces.groupby("image").cumcount().to_numpy().astype(str)
    attributes |= dict(image=image, box=faces[list(BOX)].to_numpy(np.float32))
    attributes["file"] = np.char.add(np.char.add(image, "#"), number)
    return photograph_set(name, Files(root, image), faces["SUBJECT_ID"].to_numpy(), **attributes)


def group_templates(lines: pd.DataFrame, source: str) -> Templates:
    """Put the lines of a table together into templates."""
    lines = lines[lines["source"] == source].sort_values("TEMPLATE_ID", kind="stable")
    ids, subjects = (lines[name].to_numpy(np.int64) for name in ("TEMPLATE_ID", "SUBJECT_ID"))
    known, first = np.unique(ids, return_index=True)
    mixed = np.flatnonzero((ids[1:] == ids[:-1]) & (subjects[1:] != subjects[:-1]))
    if len(mixed):
        one, two = subjects[mixed[0]], subjects[mixed[0] + 1]
        raise UserError(
            f"{source}: template {ids[mixed[0]]} is of subject {one} in one line and {two} in "
            "another; a template is of one subject"
        )
    rows, media = (lines[name].to_numpy(np.int64) for name in ("row", "MEDIA_ID"))
    starts = np.append(first, len(ids)).astype(np.int64)
    return Templates(known, subjects[first], rows, media, starts, lines["occluded"].to_numpy(bool))


def read_pairs(
    path: Path, verify: Templates, root: Path, issues: list[Issue], *, labelled: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return the comparisons of a file, (P, 2) int32 templates, and whether each is of one person.

    By the subjects of the templates, or by a third column, which is 0 or 1, of a file with white
    space in place of commas.
    """
    names = ["first", "second", "label"] if labelled else ["first", "second"]
    separator = r"\s+" if labelled else ","
    table = read_numbers(path, dict.fromkeys(names, np.int32), separator=separator)
    pairs, kept, repeats = index_pairs(verify, *(table[name].to_numpy() for name in names[:2]))
    name = path.relative_to(root).as_posix()
    if repeats:
        issues.append(Issue("duplicate comparisons", name, f"{repeats:,} are counted once"))
    if unknown := len(table) - len(kept) - repeats:
        impact = f"{unknown:,} of {len(table):,} are left out"
        issues.append(Issue("comparisons of unknown templates", name, impact))
    if not labelled:
        return pairs, verify.subjects[pairs[:, 0]] == verify.subjects[pairs[:, 1]]
    wrong = table["label"][~table["label"].isin((0, 1))]
    if len(wrong):
        label = f"label must be 0 or 1, got {wrong.iloc[0]}"
        raise UserError(f"{path}, line {wrong.index[0] + 1}: {label}")
    return pairs, table["label"].to_numpy()[kept] == 1


def index_pairs(
    templates: Templates, first: np.ndarray, second: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int]:
    """Turn P pairs of template numbers into indices, (P', 2) int32, each pair in one order once.

    Also returned: (P',) which of the P pairs they are, of templates that are there, and how many
    were left out as repeats.
    """
    ids = pd.Index(templates.ids)
    pairs = np.stack([ids.get_indexer(side).astype(np.int32) for side in (first, second)], axis=1)
    known = np.flatnonzero((pairs >= 0).all(axis=1))
    low, high = np.sort(pairs[known], axis=1).astype(np.int64).T
    again = pd.Series(low * len(ids) + high).duplicated().to_numpy()  # the first of a pair stays
    return pairs[known[~again]], known[~again], int(again.sum())
