"""Tables of text and of arrays; what is wrong is told with the file and the line."""

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ifr.common.errors import UserError
from ifr.datasets.readers.images import require

NEEDED = "the set needs it"


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
        lacking = f"lacks the column {absent[0]} ({len(absent)} missing)"
        raise UserError(f"{path} {lacking}; it has {', '.join(table.columns[:6])}, …")
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


def read_named(path: Path, names: str, values: str, shapes: str) -> tuple[pd.Index, np.ndarray]:
    """Read names (M,), none twice, and what each has from an ``.npz``; ``shapes`` say of what."""
    wanted = f"{path}: expected an .npz of {shapes}, as np.savez writes it"
    try:
        with zipfile.ZipFile(path), np.load(path) as stored:
            keys, found = pd.Index(stored[names].astype(str)), stored[values]
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, KeyError, TypeError) as error:
        raise UserError(f"{wanted}: {error}") from None
    except ValueError as error:  # Python objects could run code
        remedy = "save text as np.array(names, dtype=str) and numbers as float32"
        raise UserError(f"{wanted}: {error}; {remedy}") from None
    if keys.shape != found.shape[:1] or found.dtype.kind not in "fiu":
        raise UserError(f"{wanted}; got {keys.shape} and {found.shape} {found.dtype}")
    if len(again := keys[keys.duplicated()]):
        raise UserError(f"{path}: {len(again)} names come twice, first {again[0]}")
    with np.errstate(over="ignore"):  # becomes infinite, which is looked for
        return keys, found.astype(np.float32)
