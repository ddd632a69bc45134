"""Tables, read fast, and refused by file and column when they are broken."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ifr.common.errors import UserError
from ifr.datasets.readers.images import require


def read_table(
    path: Path,
    *,
    texts: Sequence[str] = (),
    integers: Sequence[str] = (),
    numbers: Sequence[str] = (),
) -> pd.DataFrame:
    """Read columns of a CSV file with a header, in any order there.

    ``integers`` hold a whole number in every line; ``numbers`` become float32, NaN where a value
    is missing or no number.
    """
    require(path, "the set needs it")
    try:
        kinds = dict.fromkeys(texts, str)
        table = pd.read_csv(path, skipinitialspace=True, low_memory=False, dtype=kinds)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: no CSV table ({error})") from None
    table.columns = [str(name).strip() for name in table.columns]
    absent = [name for name in (*texts, *integers, *numbers) if name not in table]
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
