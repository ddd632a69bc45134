"""Check a data set on disk: what is there, what was published, what is missing at what impact."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ifr.common.errors import UserError
from ifr.common.progress import progress_bar
from ifr.datasets.index import DatasetIndex, Issue
from ifr.datasets.pairs import PairList
from ifr.datasets.readers.ar import read_ar
from ifr.datasets.readers.bins import read_bin
from ifr.datasets.readers.folder import read_folder
from ifr.datasets.readers.ijba import IjbaProtocol, read_ijba
from ifr.datasets.readers.ijbc import IjbcProtocol, read_ijbc
from ifr.datasets.readers.images import UnreadableImage
from ifr.datasets.readers.lfw import read_lfw
from ifr.datasets.readers.recordio import read_recordio
from ifr.datasets.templates import Templates

READERS: dict[str, Callable[[Path], DatasetIndex]] = {
    "folder": read_folder,
    "recordio": read_recordio,
    "lfw": read_lfw,
    "lfw-bin": read_bin,
    "ijba": read_ijba,
    "ijbc": read_ijbc,
    "ar": read_ar,
}
# Published counts: by the paper (Sec. 4), by the sets' own authors or by InsightFace's releases.
PUBLISHED: dict[str, dict[str, dict[str, int]]] = {
    "folder": {
        "CASIA-WebFace": dict(images=494_414, identities=10_575),
        "CASIA-WebFace as in the paper": dict(images=493_456, identities=10_575),
        "CelebA": dict(images=202_599, identities=10_177),
    },
    "recordio": {
        "CASIA-WebFace, aligned by InsightFace": dict(images=490_623, identities=10_572),
        "MS-Celeb-1M, aligned by InsightFace (MS1MV2)": dict(images=5_822_653, identities=85_742),
    },
    "lfw": {"LFW": dict(images=13_233, identities=5_749, pairs=6_000)},
    "lfw-bin": {
        "lfw.bin": dict(images=12_000, pairs=6_000),
        "cfp_fp.bin": dict(images=14_000, pairs=7_000),
    },
    "ijba": {"IJB-A as in the paper": dict(images=25_795, identities=500, splits=10)},
    "ijbc": {"IJB-C": dict(identities=3_531, templates=23_124, comparisons=15_658_489)},
    "ar": {"AR, the paper's subset": dict(paper_subset=810)},
}
NEAR = 0.1  # a folder is compared with a release whose identities are this near, as a share
BLOCK = 512  # images in flight while decoding


@dataclass(frozen=True)
class Check:
    """What a check found.

    Attributes:
        name: of the format.
        release: the published set it is compared with, or None.
        counts: columns what, found, published (NaN where nothing is published).
        issues: everything wrong or missing, with its impact.
        decoded: how many images were decoded, None when that was skipped.
    """

    name: str
    release: str | None
    counts: pd.DataFrame
    issues: tuple[Issue, ...]
    decoded: int | None

    def summary(self) -> pd.DataFrame:
        """Return how many issues of each kind there are: columns kind, count, example, impact."""
        kinds = Counter(issue.kind for issue in self.issues)
        first = {issue.kind: issue for issue in reversed(self.issues)}
        rows = [
            dict(kind=kind, count=count, example=first[kind].where, impact=first[kind].impact)
            for kind, count in kinds.items()
        ]
        return pd.DataFrame(rows, columns=["kind", "count", "example", "impact"])


def read(name: str, path: Path) -> DatasetIndex:
    """Read a data set, a folder or a file, by the name of its format in ``READERS``."""
    if name not in READERS:
        raise UserError(f"unknown format {name!r}: choose one of {', '.join(READERS)}")
    return READERS[name](Path(path))


def check(name: str, path: Path, *, decode: bool = True, progress: bool = True) -> Check:
    """Count what is there, compare it with what was published, and find what is broken.

    Args:
        name: a key of ``READERS``.
        path: folder or file.
        decode: decode every image; without it, broken images are not found.
        progress: show a progress bar.
    """
    index = read(name, path)
    issues = list(index.issues)
    if decode:
        issues += broken_images(index, progress=progress)
    release = nearest_release(name, index)
    published = {} if release is None else PUBLISHED[name][release]
    counts = pd.DataFrame(
        [
            dict(what=what, found=count, published=published.get(what, np.nan))
            for what, count in index.counts.items()
        ]
    )
    return Check(name, release, counts, tuple(issues), len(index.faces) if decode else None)


def nearest_release(name: str, index: DatasetIndex) -> str | None:
    """Return the published set an index is compared with: the nearest in identities and images.

    Of a format that holds many data sets, one without a near release is compared with none.
    """
    releases = PUBLISHED[name]
    if len(releases) == 1:
        return next(iter(releases))

    def distance(release: str) -> float:
        published = releases[release].items()
        return max(abs(index.counts[what] - count) / count for what, count in published)

    best = min(releases, key=distance)
    return best if distance(best) <= NEAR else None


def broken_images(index: DatasetIndex, *, progress: bool = True) -> list[Issue]:
    """Decode every image and return an issue for each that cannot be."""
    images, issues = index.faces.images, []

    def reason(row: int) -> str | None:
        try:
            images[row]
        except UnreadableImage as error:
            return str(error)
        return None

    # The decoders release the interpreter. Blocks keep the results of a large set short.
    with (
        ThreadPoolExecutor(2) as pool,
        progress_bar(len(images), "decoding", "img", progress) as bar,
    ):
        for first in range(0, len(images), BLOCK):
            block = range(first, min(first + BLOCK, len(images)))
            for row, why in zip(block, pool.map(reason, block), strict=True):
                if why is not None:
                    issues.append(Issue("unreadable image", why, impact_of(index, row)))
            bar.update(len(block))
    return issues


def impact_of(index: DatasetIndex, row: int) -> str:
    """Say what is lost without one image."""
    protocol = index.protocol
    if isinstance(protocol, PairList):
        lost = int((protocol.pairs == row).any(axis=1).sum())
        return f"{lost} of {len(protocol.pairs)} pairs cannot be formed"
    if isinstance(protocol, IjbaProtocol):
        return _lost_templates(
            [t for s in protocol.splits for t in (s.verify, s.gallery, s.probes)], row
        )
    if isinstance(protocol, IjbcProtocol):
        probes = [] if protocol.probes is None else [protocol.probes]
        return _lost_templates([protocol.verify, *protocol.galleries, *probes], row)
    mates = int((index.faces.identity == index.faces.identity[row]).sum()) - 1
    return f"its identity is left with {mates} images"


def _lost_templates(templates: list[Templates], row: int) -> str:
    smaller = emptied = 0
    for one in templates:
        owner = np.unique(np.searchsorted(one.starts, np.flatnonzero(one.rows == row), "right") - 1)
        sizes = np.diff(one.starts)[owner]
        emptied += int((sizes == 1).sum())
        smaller += int((sizes > 1).sum())
    return f"{smaller} templates lose an image and {emptied} their only one"
