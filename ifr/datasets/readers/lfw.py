"""Labeled Faces in the Wild with its own pairs file, and sets laid out as it, as masked LFW."""

import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ifr.common.errors import UserError
from ifr.datasets.face_set import FaceSet
from ifr.datasets.index import ABSENT, DatasetIndex, Issue, PairList
from ifr.datasets.readers.folder import read_folder
from ifr.datasets.readers.images import require

# The line of a pair: of one person, or with a second name of two.
PAIR = re.compile(r"(?P<first>[^\t]+)\t(?P<one>\d+)(?:\t(?P<second>[^\t]+))?\t(?P<two>\d+)")
FOLDERS = ("lfw", "lfw112", "lfw-deepfunneled", "lfw_funneled")


@dataclass(frozen=True)
class ListedPair:
    """One line of a pairs file."""

    files: tuple[str, str]  # without suffix: ``NAME/NAME_0001``
    same: bool  # whether both images are of one person
    fold: int

    @property
    def people(self) -> set[str]:
        """The names of those shown."""
        return {file.partition("/")[0] for file in self.files}


def read_lfw(root: Path, *, name: str = "lfw") -> DatasetIndex:
    """Read LFW: a folder of images, called as the set or as one of ``FOLDERS``, and ``pairs.txt``.

    ``root`` holds both, or is itself the folder of images, with ``pairs.txt`` in it or beside it.
    ``protocol``: the pairs listed; ``counts``: images, identities, pairs.
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


def read_pairs(path: Path) -> list[ListedPair]:
    """Read ``pairs.txt``: ten folds of 300 pairs of one person and 300 of two, or its like.

    The first line is ``folds<TAB>pairs of each kind``; without folds, as in DevTest, it is one.
    """
    file = require(path, "LFW publishes it beside its images")
    text = file.read_text(encoding="utf-8-sig", errors="replace")
    first, *lines = text.rstrip().splitlines() or [""]
    fields = first.split()
    if len(fields) not in (1, 2) or not all(field.isdecimal() for field in fields):
        expected = "the number of folds and of pairs, such as '10<TAB>300'"
        came = repr(first[:40]) if first else "an empty file"
        raise UserError(f"{path}, line 1: expected {expected}, got {came}")
    folds, kind = map(int, fields if len(fields) == 2 else ("1", *fields))
    if len(lines) != (count := folds * 2 * kind):
        found = f"{count} pairs expected after the first line, {len(lines)} lines found"
        raise UserError(f"{path}: {found}")
    pairs, seen = [], dict[tuple[int, frozenset[str]], int]()
    for number, line in enumerate(lines, start=2):
        fold, position = divmod(number - 2, 2 * kind)
        pair, where = _parse(line, fold, position < kind), f"{path}, line {number}"
        if isinstance(pair, str):
            raise UserError(f"{where}: {pair}")
        if (key := (fold, frozenset(pair.files))) in seen:
            raise UserError(f"{where}: the same pair as in line {seen[key]}")
        seen[key] = number
        pairs.append(pair)
    return pairs


def _parse(line: str, fold: int, same: bool) -> ListedPair | str:
    """Return the pair of a line, or what is wrong with it."""
    match = PAIR.fullmatch(line)
    if not match or (match["second"] is None) != same:
        form = "name, number, number" if same else "name, number, name, number"
        return f"expected {form}, separated by tabs, got {line[:80]!r}"
    if match["first"] == match["second"]:
        return f"a pair of two people names {match['first']} twice"
    named = ((match["first"], match["one"]), (match["second"] or match["first"], match["two"]))
    one, two = (f"{name}/{name}_{int(number):04d}" for name, number in named)
    return "an image paired with itself" if one == two else ListedPair((one, two), same, fold)


def pair_list(faces: FaceSet, pairs: list[ListedPair]) -> tuple[PairList, list[Issue]]:
    """Return the listed pairs as rows of a set, read or prepared; note missing images."""
    files = faces.attributes["file"].tolist()
    rows = {Path(file).with_suffix("").as_posix(): row for row, file in enumerate(files)}
    both = [[rows.get(file, ABSENT) for file in pair.files] for pair in pairs]
    same = np.array([pair.same for pair in pairs], bool)
    folds = np.array([pair.fold for pair in pairs], np.int64)
    gone = Counter(file for pair in pairs for file in pair.files if file not in rows)
    impact = f"of the {len(pairs):,} pairs cannot be formed"
    issues = [Issue("missing image", file, f"{gone[file]} {impact}") for file in sorted(gone)]
    return PairList(np.array(both, np.int64).reshape(-1, 2), same, folds), issues


def fetch_lfw(folder: Path) -> Path:
    """Download LFW with scikit-learn into ``folder``; return the one :func:`read_lfw` takes.

    scikit-learn cannot download without reading images: those of the one person with most are read.
    """
    from sklearn.datasets import fetch_lfw_pairs, fetch_lfw_people

    root = Path(folder) / "lfw_home"
    try:
        fetch_lfw_people(data_home=str(folder), min_faces_per_person=500, resize=0.1)
        fetch_lfw_pairs(subset="10_folds", data_home=str(folder), resize=0.1)
    except OSError as error:
        layout = f"{root}/lfw_funneled/NAME/NAME_0001.jpg with pairs.txt beside lfw_funneled"
        remedy = f"get it elsewhere and lay it out as {layout}"
        raise UserError(f"LFW cannot be downloaded ({error}); {remedy}") from error
    return root
