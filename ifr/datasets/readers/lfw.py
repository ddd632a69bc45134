"""Labeled Faces in the Wild with its own pairs and people files."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ifr.datasets import FaceSet
from ifr.datasets.index import DatasetIndex, Issue
from ifr.datasets.pairs import PairList
from ifr.datasets.readers.folder import read_folder

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
        return _file(self.name1, self.image1), _file(self.name2, self.image2)


def _file(name: str, number: int) -> str:
    return f"{name}/{name}_{number:04d}"


def read_lfw(root: Path, *, images: str | None = None) -> DatasetIndex:
    """Read LFW whole.

    Args:
        root: holds the folder of images, of one of LFW's names, and ``pairs.txt``; or is itself
            the folder of images, with ``pairs.txt`` in it or beside it.
        images: name of the folder of images; found by itself if None.

    Returns:
        ``protocol``: the pairs of ``pairs.txt`` that can be formed. ``counts``: images,
        identities, pairs (as listed). Each image that a pair needs and that is not there is a
        problem.

    Raises:
        FileNotFoundError: if there are no images.
        ValueError: if ``pairs.txt`` is not what LFW publishes.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder; give the one that holds LFW's images")
    names = (images,) if images else FOLDERS
    folder = next((root / name for name in names if (root / name).is_dir()), root)
    if images and folder == root:
        raise FileNotFoundError(f"{root} has no folder {images!r} with LFW's images")
    reading = read_folder(folder, name="lfw")
    # LFW's own lists may lie among the images.
    problems = [
        p
        for p in reading.problems
        if not (
            p.kind == "stray file"
            and "/" not in p.where
            and p.where.startswith(("pairs", "people"))
        )
    ]
    listed = next(
        (
            p
            for p in (root / "pairs.txt", folder / "pairs.txt", folder.parent / "pairs.txt")
            if p.is_file()
        ),
        None,
    )
    if listed is None:
        problems.append(Issue("missing file", "pairs.txt", "LFW's ten folds cannot be tested"))
        return replace(reading, problems=tuple(problems))
    pairs = read_pairs(listed)
    protocol, lost = pair_list(reading.faces, pairs)
    counts = reading.counts | dict(pairs=len(pairs))
    return DatasetIndex(reading.faces, counts, (*problems, *lost), protocol)


def read_pairs(path: Path) -> list[ListedPair]:
    """Read ``pairs.txt``: ten folds of 300 pairs of one person and 300 of two, or its like.

    The first line is ``folds<TAB>pairs of each kind``, or the pairs alone for a single fold, as in
    ``pairsDevTest.txt``.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: naming the line that is not as LFW writes it, or a pair that comes twice.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; LFW publishes it beside its images")
    lines = path.read_text(encoding="utf-8").splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    folds, kind = _header(path, lines)
    wanted = folds * 2 * kind
    if len(lines) - 1 != wanted:
        raise ValueError(
            f"{path}: {wanted} pairs expected after the first line, {len(lines) - 1} lines found"
        )
    pairs, seen = [], {}
    for number, line in enumerate(lines[1:], start=2):
        fold, place = divmod(number - 2, 2 * kind)
        pair = _parse(path, number, line.split("\t"), fold, same=place < kind)
        key = (fold, frozenset(pair.files))
        if key in seen:
            raise ValueError(f"{path}, line {number}: the same pair as in line {seen[key]}")
        seen[key] = number
        pairs.append(pair)
    return pairs


def _header(path: Path, lines: list[str]) -> tuple[int, int]:
    fields = lines[0].split() if lines else []
    if len(fields) not in (1, 2) or not all(field.isdigit() for field in fields):
        first = repr(lines[0][:40]) if lines else "an empty file"
        raise ValueError(
            f"{path}, line 1: expected the number of folds and of pairs, such as '10<TAB>300', got "
            f"{first}"
        )
    return (1, int(fields[0])) if len(fields) == 1 else (int(fields[0]), int(fields[1]))


def _parse(path: Path, number: int, fields: list[str], fold: int, *, same: bool) -> ListedPair:
    form = "name, number, number" if same else "name, number, name, number"
    if len(fields) != (3 if same else 4):
        raise ValueError(
            f"{path}, line {number}: expected {form}, separated by tabs, got {len(fields)} fields"
        )
    one, two = (fields[1], fields[2]) if same else (fields[1], fields[3])
    if not (one.isdigit() and two.isdigit()):
        raise ValueError(f"{path}, line {number}: expected {form}, got {fields}")
    pair = ListedPair(fields[0], int(one), fields[0] if same else fields[2], int(two), fold)
    if pair.files[0] == pair.files[1]:
        raise ValueError(f"{path}, line {number}: an image paired with itself")
    if not same and pair.same:
        raise ValueError(f"{path}, line {number}: a pair of two people names {fields[0]} twice")
    return pair


def pair_list(faces: FaceSet, pairs: list[ListedPair]) -> tuple[PairList, list[Issue]]:
    """Return the listed pairs whose images are in a set, and a problem for each missing image.

    Args:
        faces: with the attribute ``file``: ``NAME/NAME_0001.jpg``, as read or as prepared.
        pairs: of :func:`read_pairs`.
    """
    rows = {
        Path(file).with_suffix("").as_posix(): row
        for row, file in enumerate(faces.attributes["file"].tolist())
    }
    placed = [tuple(rows.get(file, -1) for file in pair.files) for pair in pairs]
    placed = np.array(placed, np.int64).reshape(-1, 2)
    keep = (placed >= 0).all(axis=1)
    same = np.array([pair.same for pair in pairs], bool)
    folds = np.array([pair.fold for pair in pairs], np.int64)
    gone = Counter(file for pair in pairs for file in pair.files if file not in rows)
    problems = [
        Issue("missing image", file, f"{count} of the {len(pairs):,} pairs cannot be formed")
        for file, count in sorted(gone.items())
    ]
    return PairList(placed[keep], same[keep], folds[keep]), problems


def read_people(path: Path) -> list[tuple[int, str, int]]:
    """Read ``people.txt`` or ``peopleDev*.txt``: (fold, name, number of images) of each person.

    Raises:
        ValueError: naming the line that is not as LFW writes it.
    """
    path = Path(path)
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not lines or not lines[0].strip().isdigit():
        raise ValueError(f"{path}, line 1: expected the number of folds or of people")
    first = int(lines[0])
    many = len(lines) > 1 and lines[1].strip().isdigit()  # then each fold begins with its count
    folds, at, people = first if many else 1, 1 if many else 0, []
    for fold in range(folds):
        if at >= len(lines) or not lines[at].strip().isdigit():
            raise ValueError(f"{path}: fold {fold + 1} of {folds} does not begin with its count")
        count = int(lines[at])
        for number in range(at + 1, at + 1 + count):
            fields = lines[number].split("\t") if number < len(lines) else []
            if len(fields) != 2 or not fields[1].strip().isdigit():
                raise ValueError(
                    f"{path}, line {number + 1}: expected name and number of images, separated by "
                    f"a tab, got {fields or 'the end of the file'}"
                )
            people.append((fold, fields[0], int(fields[1])))
        at += 1 + count
    return people


def unused_identities(faces: FaceSet, pairs: list[ListedPair]) -> np.ndarray:
    """Return (N,) bool: the images of people that no pair shows, free to train on."""
    tested = {name for pair in pairs for name in (pair.name1, pair.name2)}
    return np.array([name not in tested for name in faces.attributes["subject"].tolist()], bool)


def fetch_lfw(folder: Path) -> Path:
    """Download LFW with scikit-learn and return the folder :func:`read_lfw` takes.

    Images are the funnelled ones, 250×250; scikit-learn checks what it downloads. It gives no way
    to download without reading some images; those of the one person with most are read.

    Args:
        folder: where ``lfw_home/`` is put.

    Raises:
        OSError: when this machine cannot reach the server, saying what to do by hand.
    """
    from sklearn.datasets import fetch_lfw_pairs, fetch_lfw_people

    try:
        fetch_lfw_people(data_home=str(folder), min_faces_per_person=500, resize=0.1)
        fetch_lfw_pairs(subset="10_folds", data_home=str(folder), resize=0.1)
    except OSError as error:
        raise OSError(
            f"LFW cannot be downloaded ({error}); get it elsewhere and lay it out as "
            f"{Path(folder) / 'lfw_home'}/lfw_funneled/NAME/NAME_0001.jpg with pairs.txt beside "
            "lfw_funneled"
        ) from error
    return Path(folder) / "lfw_home"
