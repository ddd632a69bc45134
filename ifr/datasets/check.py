"""Check a data set on disk: what is there, what is missing at what impact, what its pixels say."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from ifr.common.errors import UserError
from ifr.common.paths import ASSETS
from ifr.common.progress import progress_bar
from ifr.datasets.index import DatasetIndex, Issue, PairList, TemplateTest
from ifr.datasets.readers.ar import read_ar
from ifr.datasets.readers.folder import read_folder
from ifr.datasets.readers.ijb import read_ijba, read_ijbc
from ifr.datasets.readers.images import UnreadableImage
from ifr.datasets.readers.insightface import read_bin, read_recordio
from ifr.datasets.readers.lfw import read_lfw

READERS: dict[str, Callable[..., DatasetIndex]] = {"folder": read_folder, "recordio": read_recordio}
READERS |= {"lfw": read_lfw, "mlfw": partial(read_lfw, name="mlfw"), "lfw-bin": read_bin}
READERS |= {"ijba": read_ijba, "ijbc": read_ijbc, "ar": read_ar}
NEAR = 0.1  # a folder is compared with a release whose identities are this near, as a share
SAMPLE = 256  # faces of a prepared set that are looked at
ENOUGH = 8  # faces from which on their alignment is judged
# Of 1,250 photographs of LFW and CelebA 0.2 % are bluer than red, 0.8 % have eyes as pale as skin.
MOST_BLUE, MOST_PALE = 0.2, 0.25
# In ArcFace's frame, rows and columns: both eyes, and the skin between and below them.
EYES = (np.s_[46:56, 30:46], np.s_[46:56, 65:81])
SKIN = ((np.s_[47:57, 51:61],), (np.s_[63:73, 30:46], np.s_[63:73, 65:81]))


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
        kinds = issues.rename(columns={"where": "example"}).groupby("kind", sort=False)
        return pd.concat([kinds.size().rename("count"), kinds.first()], axis=1).reset_index()


def read(name: str, path: Path, level: int | None = None, **options: str) -> DatasetIndex:
    """Read a data set by its format in ``READERS``, with its options; a level is of a folder."""
    if name not in READERS:
        raise UserError(f"unknown format {name!r}: choose one of {', '.join(READERS)}")
    if level is not None and name != "folder":
        raise UserError(f"a level of folders is of format folder, not of {name}; leave it out")
    return READERS[name](Path(path), **options, **({} if level is None else dict(level=level)))


def check(
    name: str, path: Path, *, decode: bool = True, level: int | None = None, progress: bool = True
) -> Check:
    """Compare what is there with what was published; broken images are found only by decoding."""
    index = read(name, path, level)
    broken = broken_images(index, progress=progress) if decode else []
    release, published = nearest_release(name, index)
    rows = [(what, count, published.get(what, np.nan)) for what, count in index.counts.items()]
    counts = pd.DataFrame(rows, columns=["what", "found", "published"])
    return Check(release, counts, (*index.issues, *broken), len(index.faces) if decode else None)


def nearest_release(name: str, index: DatasetIndex) -> tuple[str | None, dict[str, float]]:
    """Return the release nearest in counts, and these; of a format of many sets only a near one."""
    table = pd.read_csv(ASSETS / "published_sets.csv", index_col=["format", "release"]).loc[name]
    away = (pd.Series(index.counts).reindex(table.columns, fill_value=0) / table - 1).abs()
    best = away.max(axis=1).idxmin()
    if len(table) > 1 and away.loc[best].max() > NEAR:
        return None, {}
    return str(best), table.loc[best].dropna().to_dict()


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
    protocol, identity = index.protocol, index.faces.identity
    if protocol is None:
        mates = int((identity == identity[row]).sum()) - 1
        return f"its identity is left with {mates} images"
    if isinstance(protocol, PairList):
        pairs = protocol.pairs[protocol.formed]
        return f"{(pairs == row).any(axis=1).sum()} of {len(pairs)} pairs cannot be formed"
    tests = (protocol,) if isinstance(protocol, TemplateTest) else protocol
    lists = [part for test in tests for part in (test.verify, *sum(test.searches, ()))]
    smaller = emptied = 0
    for part in dict.fromkeys(lists):  # two galleries have the same probes
        owners = np.repeat(np.arange(len(part)), np.diff(part.starts))
        sizes = np.bincount(owners[part.rows >= 0])[np.unique(owners[part.rows == row])]
        emptied, smaller = emptied + (sizes == 1).sum(), smaller + (sizes > 1).sum()
    return f"{smaller} templates lose an image and {emptied} their only one"


def is_bluer(image: np.ndarray) -> bool:
    """Return whether the middle of an image, (H, W, 3) RGB, is more blue than red: no skin is."""
    height, width = image.shape[:2]
    middle = image[height // 4 : -height // 4 or None, width // 4 : -width // 4 or None]
    red, _, blue = middle.mean(axis=(0, 1))
    return bool(blue > red)


def colour_doubt(bluer: Sequence[bool]) -> list[str]:
    """Return what there is to think about when so many of the faces are bluer than red."""
    if not len(bluer) or (share := np.mean(bluer)) <= MOST_BLUE:
        return []
    return [f"{share:.0%} of the faces are bluer than red: red and blue may be swapped"]


def doubts(images: np.ndarray) -> list[str]:
    """Return what a sample of aligned faces (N, 112, 112, 3) gives to think about."""
    rows = np.unique(np.linspace(0, len(images) - 1, SAMPLE).astype(int))
    some = [np.asarray(images[row]) for row in rows]
    found = colour_doubt([is_bluer(image) for image in some])
    pale = np.mean([_shade(image, EYES) >= min(_shade(image, s) for s in SKIN) for image in some])
    if len(some) >= ENOUGH and pale > MOST_PALE:
        fault = f"in {pale:.0%} of the faces the eyes are no darker than the skin around them"
        found.append(f"{fault}: they may not be aligned, or by landmarks of other images")
    return found


def _shade(image: np.ndarray, places: Sequence[tuple[slice, slice]]) -> float:
    return float(np.mean([image[place].mean() for place in places]))
