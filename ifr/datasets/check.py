"""Check a data set on disk: what is there, what was published, what is missing at what impact."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from ifr.common.errors import UserError
from ifr.common.paths import ASSETS
from ifr.common.progress import progress_bar
from ifr.datasets.doubts import colour_doubt, is_bluer
from ifr.datasets.index import DatasetIndex, Issue, PairList, template_lists
from ifr.datasets.readers.ar import read_ar
from ifr.datasets.readers.bins import read_bin
from ifr.datasets.readers.folder import read_folder
from ifr.datasets.readers.ijba import read_ijba
from ifr.datasets.readers.ijbc import read_ijbc
from ifr.datasets.readers.images import UnreadableImage
from ifr.datasets.readers.lfw import read_lfw
from ifr.datasets.readers.recordio import read_recordio

READERS: dict[str, Callable[..., DatasetIndex]] = {"folder": read_folder, "recordio": read_recordio}
READERS |= {"lfw": read_lfw, "mlfw": partial(read_lfw, name="mlfw"), "lfw-bin": read_bin}
READERS |= {"ijba": read_ijba, "ijbc": read_ijbc, "ar": read_ar}
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


def read(name: str, path: Path, level: int | None = None) -> DatasetIndex:
    """Read a data set by the name of its format in ``READERS``; the level is of ``read_folder``."""
    if name not in READERS:
        raise UserError(f"unknown format {name!r}: choose one of {', '.join(READERS)}")
    if level is not None and name != "folder":
        raise UserError(f"a level of folders is of format folder, not of {name}; leave it out")
    return READERS[name](Path(path), **({} if level is None else dict(level=level)))


def check(
    name: str, path: Path, *, decode: bool = True, level: int | None = None, progress: bool = True
) -> Check:
    """Compare what is there with what was published; broken images are found only by decoding."""
    index = read(name, path, level)
    broken = broken_images(index, progress=progress) if decode else []
    release = nearest_release(name, index)
    published = {} if release is None else published_counts(name)[release]
    rows = [(what, count, published.get(what, np.nan)) for what, count in index.counts.items()]
    counts = pd.DataFrame(rows, columns=["what", "found", "published"])
    return Check(release, counts, (*index.issues, *broken), len(index.faces) if decode else None)


def published_counts(name: str) -> dict[str, dict[str, int]]:
    """Return each release's counts by the paper (Sec. 4), the sets' authors or InsightFace."""
    table = pd.read_csv(ASSETS / "published_sets.csv", index_col=["format", "release"]).loc[name]
    return {str(release): row.dropna().astype(int).to_dict() for release, row in table.iterrows()}


def nearest_release(name: str, index: DatasetIndex) -> str | None:
    """Return the release nearest in counts; of a format of many data sets only a near one."""
    releases = published_counts(name)
    away = {
        release: max(
            abs(index.counts.get(what, 0) / count - 1) for what, count in published.items()
        )
        for release, published in releases.items()
    }
    best = min(releases, key=lambda release: away[release])
    return best if len(releases) == 1 or away[best] <= NEAR else None


def broken_images(index: DatasetIndex, *, progress: bool = True) -> list[Issue]:
    """Decode every image; return an issue for each that cannot be, and one on their colours."""
    images, issues, bluer = index.faces.images, [], list[bool]()

    def look(row: int) -> bool | str:
        """Return whether an image is bluer than red, or why it cannot be read."""
        try:
            return is_bluer(images[row])
        except UnreadableImage as error:
            return str(error)

    # The decoders release the interpreter.
    decoding = Parallel(2, backend="threading", return_as="generator")
    found = decoding(delayed(look)(row) for row in range(len(images)))
    with progress_bar(len(images), "decoding", "img", progress) as bar:
        for row, seen in enumerate(found):
            if isinstance(seen, str):
                issues.append(Issue("unreadable image", seen, impact_of(index, row)))
            else:
                bluer.append(seen)
            bar.update()
    return issues + [Issue("colour order", index.faces.name, why) for why in colour_doubt(bluer)]


def impact_of(index: DatasetIndex, row: int) -> str:
    """Say what is lost without one image."""
    protocol, smaller, emptied = index.protocol, 0, 0
    if protocol is None:
        mates = int((index.faces.identity == index.faces.identity[row]).sum()) - 1
        return f"its identity is left with {mates} images"
    if isinstance(protocol, PairList):
        pairs = protocol.pairs[protocol.formed]
        return f"{(pairs == row).any(axis=1).sum()} of {len(pairs)} pairs cannot be formed"
    for part in (part.subset(part.rows >= 0)[0] for part in template_lists(protocol)):
        owners = np.searchsorted(part.starts, np.flatnonzero(part.rows == row), "right") - 1
        sizes = np.diff(part.starts)[np.unique(owners)]
        emptied, smaller = emptied + (sizes == 1).sum(), smaller + (sizes > 1).sum()
    return f"{smaller} templates lose an image and {emptied} their only one"
