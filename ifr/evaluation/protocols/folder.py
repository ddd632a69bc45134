"""A protocol drawn from anybody's folder of people: pairs as LFW's, templates as IJB-A's."""

import numpy as np
import pandas as pd

from ifr.common.errors import UserError
from ifr.common.seeding import stream
from ifr.datasets import FaceSet
from ifr.datasets.index import PairList, TemplateTest, on_rows
from ifr.evaluation.protocols.pairs import draw_pairs
from ifr.evaluation.protocols.rendered import template_splits

FOLDS = 10  # as LFW, or fewer where the people do not suffice
GENUINE = 3000  # pairs of one person at most, as LFW has
PEOPLE = 500  # at most with several images, as IJB-A has, and as many with one
RULE = (
    f"drawn with seed {{seed}} from the folder, not published: of up to {PEOPLE:,} people with "
    f"several images and as many with one, in folds that share no person, up to {GENUINE:,} pairs "
    "of one person, of each as few images as suffice, and as many of two; ten splits of two thirds "
    "of those with several, a gallery template of two images, or one fewer than there are, and "
    "probes of one to three of the rest, each compared with every gallery template"
)


def level_of(faces: FaceSet) -> int | None:
    """Return how many folders below the root the names of the people of a prepared set are."""
    if not {"file", "subject"} <= faces.attributes.keys() or not len(faces):
        return None
    file, subject = (str(faces.attributes[name][0]) for name in ("file", "subject"))
    folders = file.split("/")[:-1]
    return folders.index(subject) + 1 if subject in folders else None


def draw_protocol(faces: FaceSet, *, seed: int = 0) -> tuple[PairList, tuple[TemplateTest, ...]]:
    """Draw verification pairs and template splits from people as a folder holds them."""
    people, counts = np.unique(faces.identity, return_counts=True)
    rng = stream(seed, "protocol/folder pairs")
    several, single = (rng.permutation(people[some])[:PEOPLE] for some in (counts > 1, counts == 1))
    folds = min(FOLDS, len(several), (len(several) + len(single)) // 2)
    if folds < 2:
        need = "a test needs four people, two of them with two images"
        raise UserError(f"{len(people)} people, {len(several)} with two images or more: {need}")
    dealt, drawn, wanted = np.concatenate([several, single]), [], GENUINE // folds
    for fold in range(folds):
        own = rng.permutation(np.flatnonzero(np.isin(faces.identity, dealt[fold::folds])))
        turn = pd.Series(own).groupby(faces.identity[own]).cumcount()  # first image, second, …
        genuine = np.bincount(turn, weights=turn).cumsum()  # pairs of one person up to each turn
        own = np.sort(own[turn <= np.searchsorted(genuine[:-1], wanted)])
        pairs, same = draw_pairs(faces.identity[own], wanted, rng)
        count = min(same.sum(), (~same).sum())  # as many of either kind
        kept = np.r_[:count, len(same) - count : len(same)]
        drawn.append((own[pairs[kept]], same[kept], np.full(2 * count, fold)))
    pairs_drawn = PairList(*map(np.concatenate, zip(*drawn, strict=True)))
    rows = np.flatnonzero(np.isin(faces.identity, several))
    plain = dict(occluder=np.full(len(rows), "none"))  # none is marked
    some = FaceSet(faces.name, rows, faces.identity[rows], None, plain)  # no image is looked at
    return pairs_drawn, on_rows(tuple(template_splits(some, seed=seed)), rows)
