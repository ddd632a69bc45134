"""What the readers of IJB-A and IJB-C share: from the lines of their tables to templates and pairs.

A line is one face in one template: TEMPLATE_ID, SUBJECT_ID, MEDIA_ID, its image as a path below the
root, its row in the set of different faces, and whether it is occluded.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ifr.common.errors import UserError
from ifr.datasets.index import Issue
from ifr.datasets.readers.tables import resolve_images
from ifr.datasets.templates import Templates


def find_images(
    lines: pd.DataFrame, column: str, template: Sequence[str], root: Path, issues: list[Issue]
) -> pd.DataFrame:
    """Return the lines whose image is there, with its path as ``image``; note the others.

    Args:
        lines: of all tables.
        column: the image's name in the tables.
        template: columns that tell all templates apart.
        root: the images lie below it.
        issues: to which missing images are added.
    """
    lines = lines.assign(image=resolve_images(root, lines[column].astype(str).tolist()))
    gone = lines[lines["image"] == ""]
    templates = gone.drop_duplicates([column, *template])[column].astype(str).value_counts()
    for file, count in templates.sort_index().items():
        issues.append(Issue("missing image", str(file), f"{count} templates lose it"))
    lines = lines[lines["image"] != ""].reset_index(drop=True)
    if not len(lines):
        first = gone[column].iloc[0] if len(gone) else "none"
        raise UserError(
            f"{root} holds none of the {len(templates)} images its tables name, such as {first}; "
            "put them there"
        )
    return lines


def number_faces(lines: pd.DataFrame, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the face of each line, numbered by first appearance, and the first line of each face.

    Each different box (N, 4) of an image is a face; without boxes, (N, 0), each image is one.
    """
    keys = pd.DataFrame(np.nan_to_num(box, nan=-1.0)).assign(image=lines["image"].to_numpy())
    rows = keys.groupby(list(keys), sort=False).ngroup().to_numpy().astype(np.int64)
    return rows, np.unique(rows, return_index=True)[1]


def name_faces(images: np.ndarray) -> np.ndarray:
    """Return a name for each face: its image, ``#``, and its number among those of the image."""
    number = pd.Series(images).groupby(images).cumcount().astype(str).to_numpy(str)
    return np.char.add(np.char.add(images, "#"), number)


def group_templates(lines: pd.DataFrame, source: str) -> Templates:
    """Put lines together into templates; messages call the table they are from ``source``."""
    lines = lines.sort_values("TEMPLATE_ID", kind="stable")
    ids, subjects = (lines[name].to_numpy(np.int64) for name in ("TEMPLATE_ID", "SUBJECT_ID"))
    known, first = np.unique(ids, return_index=True)
    mixed = np.flatnonzero((ids[1:] == ids[:-1]) & (subjects[1:] != subjects[:-1]))
    if len(mixed):
        one, two = subjects[mixed[0]], subjects[mixed[0] + 1]
        raise UserError(
            f"{source}: template {ids[mixed[0]]} is of subject {one} in one line and {two} in "
            "another; a template is of one subject"
        )
    return Templates(
        known,
        subjects[first],
        lines["row"].to_numpy(np.int64),
        lines["MEDIA_ID"].to_numpy(np.int64),
        np.append(first, len(ids)).astype(np.int64),
        lines["occluded"].to_numpy(bool),
    )


def note_empty(ids: np.ndarray, templates: Templates, source: str, issues: list[Issue]) -> None:
    """Add an issue for each of the template numbers that has no image left."""
    impact = "it is left out with its comparisons"
    issues += [
        Issue("template without images", f"{source}template {template}", impact)
        for template in np.setdiff1d(ids, templates.ids)
    ]


def find_pairs(
    table: pd.DataFrame, verify: Templates, name: str, issues: list[Issue]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the comparisons of a table, (P, 2) int32 templates, and (P,) which lines they are."""
    first, second = table["first"].to_numpy(), table["second"].to_numpy()
    pairs, kept, repeats = index_pairs(verify, first, second)
    if repeats:
        issues.append(Issue("duplicate comparisons", name, f"{repeats:,} are counted once"))
    unknown = len(table) - len(kept) - repeats
    if unknown:
        impact = f"{unknown:,} of {len(table):,} are left out"
        issues.append(Issue("comparisons of unknown templates", name, impact))
    return pairs, kept


def index_pairs(
    templates: Templates, first: np.ndarray, second: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int]:
    """Turn pairs of template numbers, (P,) each, into indices of templates.

    Returns:
        (P', 2) int32 indices, each pair once; (P',) which of the P pairs they are; and how many
        pairs were left out as repeats. Pairs of a template that is not there are left out, too.
    """
    if not len(templates):
        return np.zeros((0, 2), np.int32), np.zeros(0, np.int64), 0
    sides = []
    for numbers in (first, second):
        index = np.searchsorted(templates.ids, numbers).clip(max=len(templates) - 1)
        sides.append(np.where(templates.ids[index] == numbers, index, -1).astype(np.int32))
    known = np.flatnonzero((sides[0] >= 0) & (sides[1] >= 0))
    pairs = np.stack([side[known] for side in sides], axis=1)
    # One number for each unordered pair; a stable sort keeps the first of the repeats.
    low, high = pairs.min(axis=1).astype(np.int64), pairs.max(axis=1)
    key = low * len(templates) + high
    order = np.argsort(key, kind="stable")
    again = np.zeros(len(key), bool)
    again[order[1:]] = key[order][1:] == key[order][:-1]
    return pairs[~again], known[~again], int(again.sum())
