"""What the readers of IJB-A and IJB-C share: from the lines of their tables to templates and pairs.

A line is one face in one template: TEMPLATE_ID, SUBJECT_ID, MEDIA_ID, FILE in the table and
``image`` on disk or ``""``, ``template`` in words, ``row`` in the set of faces, ``occluded``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ifr.common.errors import UserError
from ifr.datasets.face_set import FaceSet
from ifr.datasets.index import ABSENT, Issue, Templates
from ifr.datasets.readers.images import SUFFIXES, Files, photograph_set, require

NEEDED = "the set needs it"
BOX = ("FACE_X", "FACE_Y", "FACE_WIDTH", "FACE_HEIGHT")


def read_lines(tables: Mapping[str, Path], *columns: Sequence[str]) -> pd.DataFrame:
    """Return columns of tables as ``read_table``, with the key of a line's table as ``source``."""
    parts = {source: read_table(path, *columns) for source, path in tables.items()}
    return pd.concat(parts, names=["source"]).reset_index("source").reset_index(drop=True)


def find_faces(
    lines: pd.DataFrame, root: Path, issues: list[Issue]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return lines with ``image`` and ``row``, and the first of each box of an image; note gaps."""
    lines = lines.assign(image=_resolve_images(root, lines["FILE"].tolist()))
    there = lines["image"] != ""
    counts = lines[~there].drop_duplicates(["FILE", "template"])["FILE"].value_counts().sort_index()
    if not there.any():
        first = lines["FILE"].iloc[0] if len(lines) else "none"
        missing = f"none of the {len(counts)} images its tables name, such as {first}"
        raise UserError(f"{root} holds {missing}; put them there")
    lost = {str(file): f"{count} templates lose it" for file, count in counts.items()}
    empty = np.setdiff1d(lines["template"], lines["template"][there])
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
        fault = f"template {ids[mixed[0]]} is of subject {one} in one line and {two} in another"
        raise UserError(f"{source}: {fault}; a template is of one subject")
    rows, media = (lines[name].to_numpy(np.int64) for name in ("row", "MEDIA_ID"))
    starts = np.append(first, len(ids)).astype(np.int64)
    return Templates(known, subjects[first], rows, media, starts, lines["occluded"].to_numpy(bool))


def read_pairs(
    path: Path, verify: Templates, root: Path, issues: list[Issue], *, labelled: bool = False
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return comparisons, (P, 2) int32 templates, (P,) whether of one person, and unknown ones.

    By the templates' subjects, or by the third column, 0 or 1, of a file with white space.
    """
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
        label = f"label must be 0 or 1, got {wrong.iloc[0]}"
        raise UserError(f"{path}, line {wrong.index[0] + 1}: {label}")
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


def read_table(
    path: Path, texts: Sequence[str], integers: Sequence[str] = (), numbers: Sequence[str] = ()
) -> pd.DataFrame:
    """Read columns of a CSV file with a header; ``numbers`` become float32, NaN where none."""
    how: dict[str, Any] = dict(skipinitialspace=True, low_memory=False)
    try:
        table = pd.read_csv(require(path, NEEDED), dtype=dict.fromkeys(texts, str), **how)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: no CSV table ({error})") from None
    table.columns = table.columns.astype(str).str.strip()
    if absent := [name for name in (*texts, *integers, *numbers) if name not in table]:
        present = f"{', '.join(table.columns[:6])} and {max(0, len(table.columns) - 6)} more"
        lacking = f"lacks the column {absent[0]} ({len(absent)} missing)"
        raise UserError(f"{path} {lacking}; it has {present}")
    for name in integers:
        values = pd.to_numeric(table[name], errors="coerce")
        if len(wrong := np.flatnonzero(values.isna() | (values % 1 != 0))):
            value = f"{name} must be a whole number, got {table[name][wrong[0]]!r}"
            raise UserError(f"{path}, line {wrong[0] + 2}: {value}")
        table[name] = values.astype(np.int64)
    measured = table[list(numbers)].apply(pd.to_numeric, errors="coerce").astype(np.float32)
    words = table[list(texts)].fillna("").astype(str)
    return pd.concat([words, table[list(integers)], measured], axis=1)


def read_numbers(path: Path, kinds: Mapping[str, type], *, separator: str) -> pd.DataFrame:
    """Read a table without header, such as fifteen million comparisons, by names and types."""
    how: dict[str, Any] = dict(header=None, names=list(kinds), dtype=dict(kinds), index_col=False)
    require(path, NEEDED)
    try:
        return pd.read_csv(path, sep=separator, **how)
    except pd.errors.EmptyDataError:
        raise UserError(f"{path} is empty") from None
    except (ValueError, OverflowError) as error:  # of pandas and of decoding, too
        expected = f"{len(kinds)} fields a line ({', '.join(kinds)}) and no header"
        raise UserError(f"{path}: expected {expected}: {error}") from None
