"""The template protocol of the rendered sets: who is compared, the measures, their interval."""

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pandas as pd

from ifr.common.errors import UserError
from ifr.common.seeding import stream
from ifr.datasets import FaceSet
from ifr.datasets.index import Templates, TemplateTest
from ifr.evaluation.metrics import FARS, MEASURES, RANKS, mate_ranks
from ifr.evaluation.resampling import bootstrap_counts
from ifr.evaluation.templates import identification_scores
from ifr.faces.raster import compiled

CONDITIONS = ("clean", "synthetic", "natural")
SPLITS = 10  # as IJB-A
SHARE = 2 / 3  # of the held-out identities in each split; IJB-A tests 167 of 500 subjects a split
GALLERY_IMAGES = 2  # clean ones of a gallery template: the base is then as good as the paper's
PROBE_IMAGES = (1, 3)  # images of a probe template, both ends included
Splits = Sequence[TemplateTest]
# A false accept rate of 0.01 is decided among the impostors with the highest scores.
HIGHEST, LEAST_HIGHEST = 0.03, 1000


@lru_cache(maxsize=2)  # drawn once for all networks and conditions
def template_splits(
    faces: FaceSet, *, splits: int = SPLITS, share: float = SHARE, seed: int = 0
) -> Splits:
    """Draw splits as IJB-A has: two clean images enrol a person, the others make probes."""
    if "occluder" not in faces.attributes:
        raise UserError(f"set {faces.name!r} has no attribute 'occluder' to build templates from")
    return tuple(_draw_split(faces, share, seed, number) for number in range(1, splits + 1))


def _draw_split(faces: FaceSet, share: float, seed: int, number: int) -> TemplateTest:
    rng = stream(seed, "protocol/templates", number - 1)
    occluded, people = faces.attributes["occluder"] != "none", np.unique(faces.identity)
    chosen = np.sort(rng.permutation(people)[: max(2, round(share * len(people)))])
    rows_of = pd.Series(faces.identity).groupby(faces.identity).indices
    gallery, probes, owners = [], list[np.ndarray](), list[int]()
    for person in chosen:
        own = rows_of[person]
        clean = rng.permutation(own[~occluded[own]])
        if len(clean) < 2:
            fault = f"identity {person} of set {faces.name!r} has {len(clean)} clean images"
            raise UserError(f"{fault}; a gallery and a probe template need at least 2")
        enrolled = min(GALLERY_IMAGES, len(clean) - 1)
        gallery.append(np.sort(clean[:enrolled]))
        for images in (clean[enrolled:], rng.permutation(own[occluded[own]])):
            while len(images):  # templates of one to three, all clean or all occluded
                size = int(rng.integers(*PROBE_IMAGES, endpoint=True))
                probes.append(np.sort(images[:size]))
                images = images[size:]
        owners += [person] * (len(probes) - len(owners))
    searched, pairs = np.array(owners), np.indices((len(probes), len(gallery)), np.int32)
    pairs[1] += len(probes)  # every probe with every gallery template, which come after them
    search = _as_templates(probes, searched, occluded), _as_templates(gallery, chosen, occluded)
    verify = _as_templates([*probes, *gallery], np.append(searched, chosen), occluded)
    same = (searched[:, None] == chosen).ravel()
    return TemplateTest(verify, pairs.reshape(2, -1).T, same, (search,), number)


def _as_templates(rows: list[np.ndarray], subjects: np.ndarray, occluded: np.ndarray) -> Templates:
    """Put templates given by their rows together; every image is a medium of its own."""
    starts, flat = np.cumsum([0, *map(len, rows)]), np.concatenate(rows)
    return Templates(np.arange(len(rows)), subjects, flat, flat, starts, occluded[flat])


def evaluate_templates(features: np.ndarray, splits: Splits, **options: Any) -> pd.DataFrame:
    """Return split and ``MEASURES`` in percent; options are of :func:`split_scores`."""
    once = np.ones((1, _people(splits)), int)
    rows = [100 * _resampled(*_search(features, split, **options), once)[0] for split in splits]
    return pd.DataFrame(rows, columns=list(MEASURES)).rename_axis("split").reset_index()


def bootstrap_templates(
    features: np.ndarray, splits: Splits, *, resamples: int = 1000, seed: int = 0, **options: Any
) -> pd.DataFrame:
    """Return ``MEASURES``, mean over splits, for people resampled by the seed, (resamples, 4)."""
    counts = bootstrap_counts(_people(splits), resamples, seed)
    total = sum(_resampled(*_search(features, split, **options), counts) for split in splits)
    return pd.DataFrame(100 * total / len(splits), columns=list(MEASURES))


def _people(splits: Splits) -> int:
    return 1 + max(int(split.verify.subjects.max()) for split in splits)


def _resampled(
    similarity: np.ndarray, probes: np.ndarray, gallery: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """Return ``MEASURES``, shares of 1, (resamples, 4), of people that are drawn so often."""
    of_person = partial(np.bincount, probes, minlength=counts.shape[1])
    ranks, number = mate_ranks(similarity, probes, gallery), np.maximum(counts @ of_person(), 1)
    mates = probes[:, None] == gallery
    strangers, count = similarity[~mates], max(LEAST_HIGHEST, round(HIGHEST * similarity.size))
    level = np.partition(strangers, -count)[-count] if len(strangers) > count else -np.inf
    row, column = _highest_first(similarity, mates)
    genuine, drawn = similarity[row, column], counts[:, probes[row]]  # of both templates
    pairs = counts[:, probes].sum(axis=1) * counts[:, gallery].sum(axis=1) - (drawn**2).sum(axis=1)
    most = np.floor(np.multiply.outer(pairs, FARS) + 1e-9)
    for least in (level, -np.inf):  # all of them, where the people of the highest are not drawn
        row, column = _highest_first(similarity, ~mates & (similarity >= least))
        above = _scores_reached(similarity[row, column], probes[row], gallery[column], counts, most)
        if (above > -np.inf).all():
            break
    hits = np.searchsorted(-genuine, -above, side="left")  # the genuine ones higher than that
    same = np.pad(drawn.cumsum(axis=1), ((0, 0), (1, 0)))
    tars = np.take_along_axis(same, hits, axis=1) / np.maximum(same[:, -1:], 1)
    return np.column_stack([tars, *(counts @ of_person(ranks <= k) / number for k in RANKS)])


@compiled
def _scores_reached(
    scores: np.ndarray, one: np.ndarray, two: np.ndarray, counts: np.ndarray, most: np.ndarray
) -> np.ndarray:
    """Return at which of falling scores (P,) more than ``most`` (B, F) are accepted, or -inf."""
    reached = np.full(most.shape, -np.inf)
    for draw in range(most.shape[0]):
        for rate in range(most.shape[1]):
            accepted = 0
            for pair in range(len(scores)):
                accepted += counts[draw, one[pair]] * counts[draw, two[pair]]
                if accepted > most[draw, rate]:
                    reached[draw, rate] = scores[pair]
                    break
    return reached


def _highest_first(scores: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return row and column of chosen scores, the highest first."""
    row, column = np.nonzero(chosen)
    order = np.argsort(-scores[row, column], kind="stable")
    return row[order], column[order]


def split_scores(
    features: np.ndarray, split: TemplateTest, **options: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and truth of all pairs, (P,) each, of the clean or the ``natural`` probes."""
    similarity, probes, gallery = _search(features, split, **options)
    return similarity.ravel(), (probes[:, None] == gallery).ravel()


def _search(
    features: np.ndarray, split: TemplateTest, natural: bool = False, score: str = "mean_cosine"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what ``mate_ranks`` takes."""
    [(probes, gallery)] = split.searches
    probes = probes.subset(probes.occluded == natural)[0]
    if len(probes) == 0:
        raise UserError(f"the split has no {'naturally occluded' if natural else 'clean'} probes")
    similarity = identification_scores(features, probes, gallery, score=score)
    return similarity, probes.subjects, gallery.subjects
