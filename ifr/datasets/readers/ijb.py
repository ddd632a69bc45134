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
from ifr.datasets.index import Issue, Templates
from ifr.datasets.readers.images import SUFFIXES, Files, photograph_set, require

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


def number_faces(lines: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return lines with their ``row`` and the first of each face: a different box or image."""
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
        fault = f"template {ids[mixed[0]]} is of subject {one} in one line and {two} in another"
        raise UserError(f"{source}: {fault}; a template is of one subject")
    rows, media = (lines[name].to_numpy(np.int64) for name in ("row", "MEDIA_ID"))
    starts = np.append(first, len(ids)).astype(np.int64)
    return Templates(known, subjects[first], rows, media, starts, lines["occluded"].to_numpy(bool))


def read_pairs(
    path: Path, verify: Templates, root: Path, issues: list[Issue], *, labelled: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return a file's comparisons, (P, 2) int32 templates, and whether each is of one person.

    By the templates' subjects, or by the third column, 0 or 1, of a file with white space.
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
    """Turn P pairs of template numbers into indices, (P', 2) int32, each known pair once.

    Also returned: (P',) which of the P pairs they are, and how many were repeats.
    """
    ids = pd.Index(templates.ids)
    pairs = np.stack([ids.get_indexer(side).astype(np.int32) for side in (first, second)], axis=1)
    known = np.flatnonzero((pairs >= 0).all(axis=1))
    low, high = np.sort(pairs[known], axis=1).astype(np.int64).T
    again = pd.Series(low * len(ids) + high).duplicated().to_numpy()  # the first of a pair stays
    return pairs[known[~again]], known[~again], int(again.sum())


def read_table(
    path: Path,
    *,
    texts: Sequence[str] = (),
    integers: Sequence[str] = (),
    numbers: Sequence[str] = (),
) -> pd.DataFrame:
    """Read columns of a CSV file with a header; ``numbers`` become float32, NaN where none."""
    require(path, "the set needs it")
    try:
        kinds = dict.fromkeys(texts, str)
        table = pd.read_csv(path, skipinitialspace=True, low_memory=False, dtype=kinds)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: no CSV table ({error})") from None
    table.columns = [str(name).strip() for name in table.columns]
    absent = [name for name in (*texts, *integers, *numbers) if name not in table]
    if absent:
        present = f"{', '.join(table.columns[:6])} and {max(0, len(table.columns) - 6)} more"
        lacking = f"lacks the column {absent[0]} ({len(absent)} missing)"
        raise UserError(f"{path} {lacking}; it has {present}")
    for name in integers:
        values = pd.to_numeric(table[name], errors="coerce")
        wrong = values.isna() | (values % 1 != 0)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            value = f"{name} must be a whole number, got {table[name][row]!r}"
            raise UserError(f"{path}, line {row + 2}: {value}")
        table[name] = values.astype(np.int64)
    measured = table[list(numbers)].apply(pd.to_numeric, errors="coerce").astype(np.float32)
    words = table[list(texts)].fillna("").astype(str)
    return pd.concat([words, table[list(integers)], measured], axis=1)


def read_numbers(path: Path, kinds: Mapping[str, type], *, separator: str) -> pd.DataFrame:
    """Read a table without header, such as fifteen million comparisons, by names and types."""
    require(path, "the set needs it")
    names, kinds = list(kinds), dict(kinds)
    try:
        return pd.read_csv(
            path, header=None, names=names, dtype=kinds, index_col=False, sep=separator
        )
    except pd.errors.EmptyDataError:
        raise UserError(f"{path} is empty") from None
    except (ValueError, OverflowError, pd.errors.ParserError, UnicodeDecodeError) as error:
        expected = f"{len(names)} fields a line ({', '.join(names)}) and no header"
        raise UserError(f"{path}: expected {expected}: {error}") from None
