"""Labeled Faces in the Wild with its own pairs file, and sets laid out as it, as masked LFW."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from ifr.common.errors import UserError
from ifr.datasets.face_set import FaceSet
from ifr.datasets.index import ABSENT, DatasetIndex, Issue, PairList
from ifr.datasets.readers.folder import read_folder
from ifr.datasets.readers.images import require

# The line of a pair: of one person, or with a second name of two.
PAIR = re.compile(r"(?P<first>[^\t]+)\t(?P<one>\d+)(?:\t(?P<second>[^\t]+))?\t(?P<two>\d+)")
FOLDERS = ("lfw", "lfw112", "lfw-deepfunneled", "lfw_funneled")


def read_lfw(root: Path, *, name: str = "lfw") -> DatasetIndex:
    """Read LFW: a folder of images, called as the set or as one of ``FOLDERS``, and ``pairs.txt``.

    ``root`` holds both, or is itself the folder of images, with ``pairs.txt`` in it or beside it.
    """
    root = require(root, "give the one that holds LFW's images", "folder")
    folders = [root / folder for folder in (name, *FOLDERS)]
    folder = next((folder for folder in folders if folder.is_dir()), root)
    index = read_folder(folder, name=name)
    # LFW's own lists may lie among the images.
    own = re.compile("stray file (pairs|people)[^/]*")
    left = [issue for issue in index.issues if not own.fullmatch(f"{issue.kind} {issue.where}")]
    lists = [where / "pairs.txt" for where in (root, folder, folder.parent)]
    listed = next((path for path in lists if path.is_file()), None)
    if listed is None:
        missing = Issue("missing file", "pairs.txt", "LFW's ten folds cannot be tested")
        return replace(index, issues=(*left, missing))
    pairs = read_pairs(listed)
    protocol, lost = pair_list(index.faces, pairs)
    counts = index.counts | dict(pairs=len(pairs))
    return DatasetIndex(index.faces, counts, (*left, *lost), protocol)


def read_pairs(path: Path) -> pd.DataFrame:
    """Read ``pairs.txt``: ten folds of 300 pairs of one person and 300 of two, or its like.

    The first line is ``folds<TAB>pairs of each kind``; without folds, as in DevTest, it is one.
    Columns are first and second, the files without suffix as ``NAME/NAME_0001``, same and fold.
    """
    file = require(path, "LFW publishes it beside its images")
    text = file.read_text(encoding="utf-8-sig", errors="replace")
    first, *lines = text.rstrip().splitlines() or [""]
    fields = first.split()
    if len(fields) not in (1, 2) or not all(field.isdecimal() for field in fields):
        expected = "expected the number of folds and of pairs, such as '10<TAB>300'"
        raise UserError(f"{path}, line 1: {expected}, got {first[:40]!r}")
    folds, kind = map(int, fields if len(fields) == 2 else ("1", *fields))
    if len(lines) != (count := folds * 2 * kind):
        raise UserError(f"{path}: {count} pairs expected after line 1, {len(lines)} lines found")
    pairs, seen = [], dict[tuple[int, frozenset[str]], int]()
    for number, line in enumerate(lines, start=2):
        fold, position = divmod(number - 2, 2 * kind)
        match, same = PAIR.fullmatch(line), position < kind
        fault, files = "", ("", "")
        if not match or (match["second"] is None) != same:
            form = "name, number, number" if same else "name, number, name, number"
            fault = f"expected {form}, separated by tabs, got {line[:80]!r}"
        elif match["first"] == match["second"]:
            fault = f"a pair of two people names {match['first']} twice"
        else:
            one, two = match["first"], match["second"] or match["first"]
            files = f"{one}/{one}_{int(match['one']):04d}", f"{two}/{two}_{int(match['two']):04d}"
            before = seen.setdefault((fold, frozenset(files)), number)
            if files[0] == files[1]:
                fault = "an image paired with itself"
            elif before != number:
                fault = f"the same pair as in line {before}"
        if fault:
            raise UserError(f"{path}, line {number}: {fault}")
        pairs.append((*files, same, fold))
    return pd.DataFrame(pairs, columns=["first", "second", "same", "fold"])


def pair_list(faces: FaceSet, listed: pd.DataFrame) -> tuple[PairList, list[Issue]]:
    """Return the listed pairs as rows of a set, read or prepared; note missing images."""
    files = faces.attributes["file"].tolist()
    rows = {Path(file).with_suffix("").as_posix(): row for row, file in enumerate(files)}
    shown = listed[["first", "second"]].to_numpy(str).ravel().tolist()
    pairs = np.array([rows.get(file, ABSENT) for file in shown], np.int64).reshape(-1, 2)
    gone = Counter(file for file in shown if file not in rows)
    impact = f"of the {len(listed):,} pairs cannot be formed"
    issues = [Issue("missing image", file, f"{gone[file]} {impact}") for file in sorted(gone)]
    return PairList(pairs, listed["same"].to_numpy(bool), listed["fold"].to_numpy(np.int64)), issues


def fetch_lfw(folder: Path) -> Path:
    """Download LFW with scikit-learn into ``folder``; return the one :func:`read_lfw` takes."""
    from sklearn.datasets import fetch_lfw_pairs, fetch_lfw_people

    root = Path(folder) / "lfw_home"
    try:
        # It cannot download without reading images: those of the one person with most are read.
        fetch_lfw_people(data_home=str(folder), min_faces_per_person=500, resize=0.1)
        fetch_lfw_pairs(subset="10_folds", data_home=str(folder), resize=0.1)
    except OSError as error:
        remedy = f"get it elsewhere and lay it out as {root}/lfw_funneled/NAME/… and pairs.txt"
        raise UserError(f"LFW cannot be downloaded ({error}); {remedy}") from error
    return root
