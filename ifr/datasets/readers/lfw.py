"""Labeled Faces in the Wild with its own pairs file."""

import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ifr.common.errors import UserError
from ifr.datasets.face_set import FaceSet
from ifr.datasets.index import DatasetIndex, Issue, PairList
from ifr.datasets.readers.folder import read_folder
from ifr.datasets.readers.images import require

# The line of a pair: of one person, or with a second name of two.
PAIR = re.compile(r"(?P<first>[^\t]+)\t(?P<one>\d+)(?:\t(?P<second>[^\t]+))?\t(?P<two>\d+)")
FOLDERS = ("lfw", "lfw112", "lfw-deepfunneled", "lfw_funneled")


@dataclass(frozen=True)
class ListedPair:
    """One line of a pairs file."""

    name1: str
    image1: int
    name2: str
    image2: int
    fold: int

    @property
    def same(self) -> bool:
        """Whether both images are of one person."""
        return self.name1 == self.name2

    @property
    def files(self) -> tuple[str, str]:
        """Both images, as LFW names them, without suffix: ``NAME/NAME_0001``."""
        first = f"{self.name1}/{self.name1}_{self.image1:04d}"
        return first, f"{self.name2}/{self.name2}_{self.image2:04d}"


def read_lfw(root: Path, *, images: str | None = None) -> DatasetIndex:
    """Read LFW: a folder of images, named or of one of LFW's names, and ``pairs.txt``.

    ``root`` holds both, or is itself the folder of images, with ``pairs.txt`` in it or beside it.
    ``protocol``: the pairs that can be formed; ``counts``: images, identities, pairs (as listed).
    """
    root = require(root, "give the one that holds LFW's images", "folder")
    names = (images,) if images else FOLDERS
    folder = next((root / name for name in names if (root / name).is_dir()), root)
    if images and folder == root:
        raise UserError(f"{root} has no folder {images!r} with LFW's images")
    index = read_folder(folder, name="lfw")
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
    require(path, "LFW publishes it beside its images")
    text = Path(path).read_text(encoding="utf-8", errors="replace")
    first, *lines = text.rstrip().splitlines() or [""]
    fields = first.split()
    if len(fields) not in (1, 2) or not all(field.isdigit() for field in fields):
        expected = "the number of folds and of pairs, such as '10<TAB>300'"
        came = repr(first[:40]) if first else "an empty file"
        raise UserError(f"{path}, line 1: expected {expected}, got {came}")
    folds, kind = map(int, fields if len(fields) == 2 else ("1", *fields))
    if len(lines) != folds * 2 * kind:
        expected = f"{folds * 2 * kind} pairs expected after the first line"
        raise UserError(f"{path}: {expected}, {len(lines)} lines found")
    pairs, seen = [], dict[tuple[int, frozenset[str]], int]()
    for number, line in enumerate(lines):
        fold, position = divmod(number, 2 * kind)
        where = f"{path}, line {number + 2}"
        pair = _parse(where, line, fold, same=position < kind)
        key = (fold, frozenset(pair.files))
        if key in seen:
            raise UserError(f"{where}: the same pair as in line {seen[key]}")
        seen[key] = number + 2
        pairs.append(pair)
    return pairs


def _parse(where: str, line: str, fold: int, *, same: bool) -> ListedPair:
    match = PAIR.fullmatch(line)
    if not match or (match["second"] is None) != same:
        form = "name, number, number" if same else "name, number, name, number"
        raise UserError(f"{where}: expected {form}, separated by tabs, got {line[:80]!r}")
    if match["first"] == match["second"]:
        raise UserError(f"{where}: a pair of two people names {match['first']} twice")
    second = match["second"] or match["first"]
    pair = ListedPair(match["first"], int(match["one"]), second, int(match["two"]), fold)
    if pair.files[0] == pair.files[1]:
        raise UserError(f"{where}: an image paired with itself")
    return pair


def pair_list(faces: FaceSet, pairs: list[ListedPair]) -> tuple[PairList, list[Issue]]:
    """Return the listed pairs whose images are in a set, read or prepared; note missing images."""
    rows = {
        Path(file).with_suffix("").as_posix(): row
        for row, file in enumerate(faces.attributes["file"].tolist())
    }
    both = np.array([rows.get(file, -1) for pair in pairs for file in pair.files], np.int64)
    both = both.reshape(-1, 2)
    keep = (both >= 0).all(axis=1)
    same = np.array([pair.same for pair in pairs], bool)
    folds = np.array([pair.fold for pair in pairs], np.int64)
    gone = Counter(file for pair in pairs for file in pair.files if file not in rows)
    issues = [
        Issue("missing image", file, f"{count} of the {len(pairs):,} pairs cannot be formed")
        for file, count in sorted(gone.items())
    ]
    return PairList(both[keep], same[keep], folds[keep]), issues


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
        raise UserError(
            f"LFW cannot be downloaded ({error}); get it elsewhere and lay it out as "
            f"{root}/lfw_funneled/NAME/NAME_0001.jpg with pairs.txt beside lfw_funneled"
        ) from error
    return root
