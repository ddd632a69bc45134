"""The tables of protocols: read fast, and refused by file and column when they are broken."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ifr.common.errors import UserError
from ifr.datasets.readers.images import SUFFIXES


def read_table(path: Path, columns: Sequence[str], *, integers: Sequence[str] = ()) -> pd.DataFrame:
    """Read a CSV file with a header, the wanted columns in any order.

    Args:
        path: of the file.
        columns: that must be there.
        integers: those of them that hold a whole number in every line.
    """
    _require_file(path)
    try:
        table = pd.read_csv(path, skipinitialspace=True, low_memory=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: no CSV table ({error})") from None
    table.columns = [str(name).strip() for name in table.columns]
    absent = [name for name in columns if name not in table]
    if absent:
        raise UserError(
            f"{path} lacks the column {absent[0]} ({len(absent)} missing); it has "
            f"{', '.join(table.columns[:6])} and {max(0, len(table.columns) - 6)} more"
        )
    for name in integers:
        values = pd.to_numeric(table[name], errors="coerce")
        wrong = values.isna() | (values % 1 != 0)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise UserError(
                f"{path}, line {row + 2}: {name} must be a whole number, got {table[name][row]!r}"
            )
        table[name] = values.astype(np.int64)
    return table[list(columns)]


def read_numbers(path: Path, kinds: Mapping[str, type], *, separator: str) -> pd.DataFrame:
    """Read a table without header, such as fifteen million comparisons.

    Args:
        path: of the file.
        kinds: the type of each column, by a name for it.
        separator: between them: ``","`` or white space, ``r"\\s+"``.
    """
    _require_file(path)
    names, kinds = list(kinds), dict(kinds)
    try:
        return pd.read_csv(
            path, header=None, names=names, dtype=kinds, index_col=False, sep=separator
        )
    except pd.errors.EmptyDataError:
        raise UserError(f"{path} is empty") from None
    except (ValueError, OverflowError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: expected {len(names)} fields a line ({', '.join(names)}) and no header: "
            f"{error}"
        ) from None


def _require_file(path: Path) -> None:
    if not Path(path).is_file():
        raise UserError(f"{path} is missing")


def numbers_or_nan(table: pd.DataFrame, names: Sequence[str]) -> np.ndarray:
    """Return columns as (N, C) float32, NaN where a value is missing or no number."""
    return np.column_stack(
        [pd.to_numeric(table[name], errors="coerce").to_numpy(np.float32) for name in names]
    )


def resolve_images(root: Path, names: Sequence[str]) -> np.ndarray:
    """Return the path below the root of each named image that is there, ``""`` of others.

    A file with another ending than the one named is taken when its stem is the same; case does not
    matter there.
    """
    folders: dict[str, dict[str, str]] = {}
    paths = []
    for name in names:
        folder, _, file = name.replace("\\", "/").rpartition("/")
        if folder not in folders:
            folders[folder] = _list_images(root / folder)
        files = folders[folder]
        hit = files.get(file) or files.get((file.rpartition(".")[0] or file).lower())
        paths.append("" if hit is None else f"{folder}/{hit}" if folder else hit)
    return np.array(paths, dtype=str)


def _list_images(folder: Path) -> dict[str, str]:
    """Return the files of a folder by name, and its images by lower-case stem, too."""
    if not folder.is_dir():
        return {}
    files = sorted(entry.name for entry in os.scandir(folder) if entry.is_file())
    stems: dict[str, str] = {}
    for file in files:
        stem, _, ending = file.rpartition(".")
        if f".{ending}".lower() in SUFFIXES:
            stems.setdefault(stem.lower(), file)
    return stems | {file: file for file in files}
