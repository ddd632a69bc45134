"""Check a data set on disk: what is there, what was published, what is missing at what impact."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from ifr.common.errors import UserError
from ifr.common.paths import ASSETS
from ifr.common.progress import progress_bar
from ifr.datasets.index import DatasetIndex, Issue, PairList, Templates
from ifr.datasets.readers.ar import read_ar
from ifr.datasets.readers.bins import read_bin
from ifr.datasets.readers.folder import read_folder
from ifr.datasets.readers.ijba import IjbaProtocol, read_ijba
from ifr.datasets.readers.ijbc import IjbcProtocol, read_ijbc
from ifr.datasets.readers.images import LazyImages, UnreadableImage
from ifr.datasets.readers.lfw import read_lfw
from ifr.datasets.readers.recordio import read_recordio

READERS: dict[str, Callable[[Path], DatasetIndex]] = {
    "folder": read_folder,
    "recordio": read_recordio,
    "lfw": read_lfw,
    "lfw-bin": read_bin,
    "ijba": read_ijba,
    "ijbc": read_ijbc,
    "ar": read_ar,
}
NEAR = 0.1  # a folder is compared with a release whose identities are this near, as a share


@dataclass(frozen=True)
class Check:
    """What a check found."""

    release: str | None  # the published set it is compared with
    counts: pd.DataFrame  # columns what, found, published (NaN where nothing is published)
    issues: tuple[Issue, ...]  # everything wrong or missing, with its impact
    decoded: int | None  # how many images were decoded, None when that was skipped

    def summary(self) -> pd.DataFrame:
        """Return how many issues of each kind there are: columns kind, count, example, impact."""
        issues = pd.DataFrame(list(self.issues), columns=["kind", "where", "impact"])
        issues = issues.rename(columns={"where": "example"})
        kinds = issues.groupby("kind", sort=False)
        return pd.concat([kinds.size().rename("count"), kinds.first()], axis=1).reset_index()


def read(name: str, path: Path) -> DatasetIndex:
    """Read a data set, a folder or a file, by the name of its format in ``READERS``."""
    if name not in READERS:
        raise UserError(f"unknown format {name!r}: choose one of {', '.join(READERS)}")
    return READERS[name](Path(path))


def check(name: str, path: Path, *, decode: bool = True, progress: bool = True) -> Check:
    """Compare what is there with what was published; broken images are found only by decoding."""
    index = read(name, path)
    broken = broken_images(index, progress=progress) if decode else []
    release = nearest_release(name, index)
    published = {} if release is None else published_counts(name)[release]
    rows = [(what, count, published.get(what, np.nan)) for what, count in index.counts.items()]
    counts = pd.DataFrame(rows, columns=["what", "found", "published"])
    decoded = len(index.faces) if decode else None
    return Check(release, counts, (*index.issues, *broken), decoded)


def published_counts(name: str) -> dict[str, dict[str, int]]:
    """Return each release's counts by the paper (Sec. 4), the sets' authors or InsightFace."""
    table = pd.read_csv(ASSETS / "published_sets.csv", index_col=["format", "release"]).loc[name]
    return {str(release): row.dropna().astype(int).to_dict() for release, row in table.iterrows()}


def nearest_release(name: str, index: DatasetIndex) -> str | None:
    """Return the release nearest in counts; of a format of many data sets only a near one."""
    releases = published_counts(name)
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
    # The decoders release the interpreter.
    decoding = Parallel(2, backend="threading", return_as="generator")
    reasons = decoding(delayed(_why_unreadable)(images, row) for row in range(len(images)))
    with progress_bar(len(images), "decoding", "img", progress) as bar:
        for row, reason in enumerate(reasons):
            if reason is not None:
                issues.append(Issue("unreadable image", reason, impact_of(index, row)))
            bar.update()
    return issues


def _why_unreadable(images: LazyImages, row: int) -> str | None:
    try:
        images[row]
    except UnreadableImage as error:
        return str(error)
    return None


def impact_of(index: DatasetIndex, row: int) -> str:
    """Say what is lost without one image."""
    protocol = index.protocol
    if isinstance(protocol, PairList):
        lost = int((protocol.pairs == row).any(axis=1).sum())
        return f"{lost} of {len(protocol.pairs)} pairs cannot be formed"
    if isinstance(protocol, IjbaProtocol):
        parts = [part for one in protocol.splits for part in (one.verify, one.gallery, one.probes)]
        return _lost_templates(parts, row)
    if isinstance(protocol, IjbcProtocol):
        probes = [] if protocol.probes is None else [protocol.probes]
        return _lost_templates([protocol.verify, *protocol.galleries, *probes], row)
    mates = int((index.faces.identity == index.faces.identity[row]).sum()) - 1
    return f"its identity is left with {mates} images"


def _lost_templates(parts: list[Templates], row: int) -> str:
    smaller = emptied = 0
    for part in parts:
        owners = np.searchsorted(part.starts, np.flatnonzero(part.rows == row), "right") - 1
        sizes = np.diff(part.starts)[np.unique(owners)]
        emptied += int((sizes == 1).sum())
        smaller += int((sizes > 1).sum())
    return f"{smaller} templates lose an image and {emptied} their only one"
