"""The tables of protocols: read fast, and refused by file and column when they are broken."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ifr.datasets.readers.images import SUFFIXES


def read_table(path: Path, columns: Sequence[str], *, integers: Sequence[str] = ()) -> pd.DataFrame:
    """Read a CSV file with a header, the wanted columns in any order.

    Args:
        path: of the file.
        columns: that must be there.
        integers: those of them that hold a whole number in every line.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if a column is missing, or a value is not of its kind.
    """
    require_file(path)
    try:
        table = pd.read_csv(path, skipinitialspace=True, low_memory=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: no CSV table ({error})") from None
    table.columns = [str(name).strip() for name in table.columns]
    absent = [name for name in columns if name not in table]
    if absent:
        raise ValueError(
            f"{path} lacks the column {absent[0]} ({len(absent)} missing); it has "
            f"{', '.join(table.columns[:6])} and {max(0, len(table.columns) - 6)} more"
        )
    for name in integers:
        values = pd.to_numeric(table[name], errors="coerce")
        wrong = values.isna() | (values % 1 != 0)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise ValueError(
                f"{path}, line {row + 2}: {name} must be a whole number, got {table[name][row]!r}"
            )
        table[name] = values.astype(np.int64)
    return table[list(columns)]


def read_numbers(path: Path, names: Sequence[str], *, separator: str) -> pd.DataFrame:
    """Read a table of whole numbers without header, such as fifteen million comparisons.

    Args:
        path: of the file.
        names: of its columns.
        separator: between them: ``","`` or white space, ``r"\\s+"``.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if a line has another number of fields or one is no whole number.
    """
    require_file(path)
    try:
        return pd.read_csv(
            path, header=None, names=list(names), dtype=np.int32, index_col=False, sep=separator
        )
    except pd.errors.EmptyDataError:
        raise ValueError(f"{path} is empty") from None
    except (ValueError, OverflowError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path}: expected {len(names)} whole numbers a line ({', '.join(names)}) and no "
            f"header: {error}"
        ) from None


def require_file(path: Path) -> None:
    """Refuse a missing file by its name."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} is missing")


def numbers_or_nan(table: pd.DataFrame, names: Sequence[str]) -> np.ndarray:
    """Return columns as (N, C) float32, NaN where a value is missing or no number."""
    return np.column_stack(
        [pd.to_numeric(table[name], errors="coerce").to_numpy(np.float32) for name in names]
    )


class ImageFolders:
    """Which images lie in folders, whatever the case and kind of their endings.

    Args:
        root: the files' names are relative to it.
    """

    def __init__(self, root: Path):
        self.root = root
        self.listed: dict[str, dict[str, str]] = {}

    def resolve(self, names: Sequence[str]) -> np.ndarray:
        """Return the path below the root of each named image that is there, ``""`` of others.

        A file with another ending than the one named is taken when its stem is the same.
        """
        found = []
        for name in names:
            folder, _, file = name.replace("\\", "/").rpartition("/")
            here = self._list(folder)
            stem = file.rpartition(".")[0] or file
            hit = here.get(file) or here.get(stem.lower())
            found.append("" if hit is None else f"{folder}/{hit}" if folder else hit)
        return np.array(found, dtype=str) if found else np.zeros(0, "U1")

    def _list(self, folder: str) -> dict[str, str]:
        if folder not in self.listed:
            names: dict[str, str] = {}
            place = self.root / folder
            if place.is_dir():
                with os.scandir(place) as entries:
                    files = sorted(e.name for e in entries if e.is_file())
                for file in files:
                    stem, _, ending = file.rpartition(".")
                    if f".{ending}".lower() in SUFFIXES:
                        names.setdefault(stem.lower(), file)
                names |= {file: file for file in files}
            self.listed[folder] = names
        return self.listed[folder]
