"""Labeled Faces in the Wild with its own pairs file."""

import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ifr.common.errors import UserError
from ifr.datasets.face_set import FaceSet
from ifr.datasets.index import DatasetIndex, Issue
from ifr.datasets.pairs import PairList
from ifr.datasets.readers.folder import read_folder

# The lines of a pair of one person, and of two people.
ONE = re.compile(r"(?P<first>[^\t]+)\t(?P<one>\d+)\t(?P<two>\d+)")
TWO = re.compile(r"(?P<first>[^\t]+)\t(?P<one>\d+)\t(?P<second>[^\t]+)\t(?P<two>\d+)")
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
    """Read LFW whole.

    Args:
        root: holds the folder of images, of one of LFW's names, and ``pairs.txt``; or is itself
            the folder of images, with ``pairs.txt`` in it or beside it.
        images: name of the folder of images; found by itself if None.

    Returns:
        ``protocol``: the pairs of ``pairs.txt`` that can be formed. ``counts``: images,
        identities, pairs (as listed). Each image that a pair needs and that is not there is an
        issue.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root} is not a folder; give the one that holds LFW's images")
    names = (images,) if images else FOLDERS
    folder = next((root / name for name in names if (root / name).is_dir()), root)
    if images and folder == root:
        raise UserError(f"{root} has no folder {images!r} with LFW's images")
    index = read_folder(folder, name="lfw")
    issues = tuple(issue for issue in index.issues if not _is_list(issue))
    lists = [where / "pairs.txt" for where in (root, folder, folder.parent)]
    listed = next((path for path in lists if path.is_file()), None)
    if listed is None:
        missing = Issue("missing file", "pairs.txt", "LFW's ten folds cannot be tested")
        return replace(index, issues=(*issues, missing))
    pairs = read_pairs(listed)
    protocol, lost = pair_list(index.faces, pairs)
    counts = index.counts | dict(pairs=len(pairs))
    return DatasetIndex(index.faces, counts, (*issues, *lost), protocol)


def _is_list(issue: Issue) -> bool:
    """Return whether a stray file is one of LFW's own lists, which may lie among the images."""
    at_top = issue.kind == "stray file" and "/" not in issue.where
    return at_top and issue.where.startswith(("pairs", "people"))


def read_pairs(path: Path) -> list[ListedPair]:
    """Read ``pairs.txt``: ten folds of 300 pairs of one person and 300 of two, or its like.

    The first line is ``folds<TAB>pairs of each kind``, or the pairs alone for a single fold, as in
    ``pairsDevTest.txt``.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} is not there; LFW publishes it beside its images")
    lines = path.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()
    folds, kind = _header(path, lines)
    expected = folds * 2 * kind
    if len(lines) - 1 != expected:
        raise UserError(
            f"{path}: {expected} pairs expected after the first line, {len(lines) - 1} lines found"
        )
    pairs, seen = [], dict[tuple[int, frozenset[str]], int]()
    for number, line in enumerate(lines[1:], start=2):
        fold, position = divmod(number - 2, 2 * kind)
        pair = _parse(f"{path}, line {number}", line, fold, same=position < kind)
        key = (fold, frozenset(pair.files))
        if key in seen:
            raise UserError(f"{path}, line {number}: the same pair as in line {seen[key]}")
        seen[key] = number
        pairs.append(pair)
    return pairs


def _header(path: Path, lines: list[str]) -> tuple[int, int]:
    """Return the number of folds, and of pairs of each kind in a fold."""
    fields = lines[0].split() if lines else []
    if len(fields) not in (1, 2) or not all(field.isdigit() for field in fields):
        first = repr(lines[0][:40]) if lines else "an empty file"
        raise UserError(
            f"{path}, line 1: expected the number of folds and of pairs, such as '10<TAB>300', got "
            f"{first}"
        )
    return (1, int(fields[0])) if len(fields) == 1 else (int(fields[0]), int(fields[1]))


def _parse(where: str, line: str, fold: int, *, same: bool) -> ListedPair:
    pattern, form = (ONE, "name, number, number") if same else (TWO, "name, number, name, number")
    match = pattern.fullmatch(line)
    if not match:
        raise UserError(f"{where}: expected {form}, separated by tabs, got {line[:80]!r}")
    first = match["first"]
    second = first if same else match["second"]
    if not same and first == second:
        raise UserError(f"{where}: a pair of two people names {first} twice")
    pair = ListedPair(first, int(match["one"]), second, int(match["two"]), fold)
    if pair.files[0] == pair.files[1]:
        raise UserError(f"{where}: an image paired with itself")
    return pair


def pair_list(faces: FaceSet, pairs: list[ListedPair]) -> tuple[PairList, list[Issue]]:
    """Return the listed pairs whose images are in a set, and an issue for each missing image.

    Args:
        faces: with the attribute ``file``: ``NAME/NAME_0001.jpg``, as read or as prepared.
        pairs: of :func:`read_pairs`.
    """
    rows = {
        Path(file).with_suffix("").as_posix(): row
        for row, file in enumerate(faces.attributes["file"].tolist())
    }
    both = np.array([[rows.get(file, -1) for file in pair.files] for pair in pairs], np.int64)
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
    """Download LFW with scikit-learn and return the folder :func:`read_lfw` takes.

    Images are the funnelled ones, 250×250; scikit-learn checks what it downloads. It gives no way
    to download without reading some images; those of the one person with most are read.

    Args:
        folder: where ``lfw_home/`` is put.
    """
    from sklearn.datasets import fetch_lfw_pairs, fetch_lfw_people

    try:
        fetch_lfw_people(data_home=str(folder), min_faces_per_person=500, resize=0.1)
        fetch_lfw_pairs(subset="10_folds", data_home=str(folder), resize=0.1)
    except OSError as error:
        raise UserError(
            f"LFW cannot be downloaded ({error}); get it elsewhere and lay it out as "
            f"{Path(folder) / 'lfw_home'}/lfw_funneled/NAME/NAME_0001.jpg with pairs.txt beside "
            "lfw_funneled"
        ) from error
    return Path(folder) / "lfw_home"
