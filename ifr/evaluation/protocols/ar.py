"""The AR protocol: equal error rate over random pairs of occluded faces (Sec. 4.3), and ranks."""

import numpy as np
import pandas as pd

from ifr.common.errors import UserError
from ifr.common.seeding import stream
from ifr.datasets import FaceSet
from ifr.datasets.readers.ar import list_shots
from ifr.evaluation.metrics import equal_error_rate, mate_ranks, normalised
from ifr.evaluation.protocols.report import ENTRIES, Test, tally
from ifr.evaluation.resampling import bootstrap_counts
from ifr.evaluation.templates import score_pairs

PAIRS, DRAWS = 6000, 10  # pairs of each kind in a draw, as the paper has; draws, where it has one
PAPER_IMAGES = 810  # with sunglasses or scarf


def draw_pairs(
    identity: np.ndarray, pairs: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw up to ``pairs`` pairs of one person and of two, all where fewer: (M, 2), truth (M,)."""
    first, second = np.triu_indices(len(identity), k=1)
    same = identity[first] == identity[second]
    kinds = [np.flatnonzero(same), np.flatnonzero(~same)]
    drawn = [rng.choice(kind, min(pairs, len(kind)), replace=False) for kind in kinds]
    chosen = np.concatenate(drawn)
    return np.stack([first[chosen], second[chosen]], axis=1), same[chosen]


def ar_protocol(
    features: np.ndarray, identity: np.ndarray, *, draws: int = DRAWS, seed: int = 0, **size: int
) -> np.ndarray:
    """Return the equal error rate of cosines, in percent, of each draw of random pairs, (draws,).

    The paper reports one draw of 6,000 pairs of each kind, of 810 faces; we report ten, of so many
    ``pairs``. But 810 faces of 135 people have only 2,025 pairs of one person: no pair is drawn
    twice, so a draw is of all of these and of 6,000 of two people.
    """
    features, identity = np.asarray(features), np.asarray(identity)
    if features.ndim != 2 or identity.shape != (len(features),):
        shapes = f"{features.shape} and {identity.shape}"
        raise UserError(f"features must be (N, K) and identity (N,), got {shapes}")
    people, images = np.unique(identity, return_counts=True)
    if len(people) < 2 or images.max() < 2:
        given = f"{len(people)} people with at most {images.max(initial=0)} images"
        raise UserError(f"{given}: needed are two people, and two images of one")
    drawn = (_scored_draw(features, identity, seed, draw, **size) for draw in range(draws))
    return np.array([100 * equal_error_rate(scores, same) for scores, same, _ in drawn])


def ar_tests(faces: FaceSet, rows: np.ndarray, seed: int) -> tuple[list[Test], list[str]]:
    """Return the paper's test and identification on the rows of faces there, and what is lacking.

    Identification is closed-set, as papers on occlusion report AR: rank-1 of sunglasses and of
    scarf in each session; each person is enrolled with the first shot of session 1, a neutral one.
    """
    shots = list_shots(faces, rows)
    there, probes = shots["row"] >= 0, shots[shots["occluder"] != "none"]
    enrolled, people = shots[there & (shots["shot"] == 1)], pd.Series(shots["subject"].unique())
    mated, session = probes["subject"].isin(enrolled["subject"]), probes["session"]
    probes = probes.assign(there=there, used=there & mated)
    paper = probes[session == 1]
    counts = tally("pairs", paper["occluder"], paper["there"])
    paper = paper[paper["there"]]
    identity = np.unique(paper["subject"], return_inverse=True)[1]
    same = draw_pairs(identity, PAIRS, stream(seed, "protocol/ar pairs", 0))[1]
    over = f"draws of {same.sum():,} + {(~same).sum():,} pairs"

    def error_rates(features: np.ndarray) -> pd.DataFrame:
        rates = ar_protocol(features[paper["row"]], identity, seed=seed)
        return pd.DataFrame(dict(eer_percent=rates))

    def first_ranks(features: np.ndarray) -> pd.Series:
        names, used = enrolled["subject"].to_numpy(), probes[probes["used"]]
        right = pd.Series(np.nan, probes.index)
        if len(names) > 1:  # nobody else to be taken for
            one, two = (normalised(features[some["row"]]) for some in (used, enrolled))
            ranks = mate_ranks(one @ two.T, used["subject"].to_numpy(), names)
            right[used.index] = (ranks == 1).astype(float)
        found = 100 * right.groupby([session, probes["occluder"]]).mean()
        names = [f"session_{which}_{kind}_rank_1_percent" for which, kind in found.index]
        return found.set_axis(names)

    tests = [Test(paper["row"].to_numpy(), counts, error_rates, over, DRAWS)]
    counts = tally("gallery", ENTRIES, people.isin(enrolled["subject"]))
    kinds = probes["occluder"] + " probes"
    counts = pd.concat([counts, tally("session " + session.astype(str), kinds, probes["used"])])
    compared = pd.concat([enrolled["row"], probes["row"][probes["there"]]]).to_numpy()
    lacking = [f"{len(paper)} of the paper's {PAPER_IMAGES} images"]
    tests.append(Test(compared, counts, first_ranks, "test", 1))
    return tests, lacking if len(paper) < PAPER_IMAGES else []


def bootstrap_eer(
    features: np.ndarray, identity: np.ndarray, *, pairs: int, resamples: int, seed: int = 0
) -> np.ndarray:
    """Return the equal error rate in percent for resampled test identities, (resamples,)."""
    scores, same, chosen = _scored_draw(features, identity, seed, 0, pairs)
    counts = bootstrap_counts(int(identity.max()) + 1, resamples, seed)
    one, two = (counts[:, identity[side]] for side in chosen.T)
    weights = np.where(same, one, one * two)
    return 100 * np.asarray(equal_error_rate(scores, same, weights=weights))


def _scored_draw(
    features: np.ndarray, identity: np.ndarray, seed: int, draw: int, pairs: int = PAIRS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return scores (P,), truth (P,) and images (P, 2) of one draw of pairs."""
    chosen, same = draw_pairs(identity, pairs, stream(seed, "protocol/ar pairs", draw))
    return score_pairs(normalised(features), chosen), same, chosen
