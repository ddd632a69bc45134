"""Pairs: LFW's accuracy over folds, AR's equal error rate (Sec. 4.3), and its ranks."""

import numpy as np
import pandas as pd

from ifr.common.errors import UserError
from ifr.common.seeding import stream
from ifr.datasets import FaceSet
from ifr.datasets.index import PairList
from ifr.datasets.readers.ar import list_shots
from ifr.evaluation.metrics import equal_error_rate, mate_ranks, normalised
from ifr.evaluation.protocols.report import ENTRIES, Test, tally
from ifr.evaluation.resampling import bootstrap_counts
from ifr.evaluation.templates import score_pairs

PAIRS, DRAWS = 6000, 10  # pairs of each kind in a draw, as the paper has; draws, where it has one
PAPER_IMAGES = 810  # with sunglasses or scarf


def lfw_protocol(
    features: np.ndarray, pairs: PairList, *, thresholds: np.ndarray | None = None
) -> pd.DataFrame:
    """Return the accuracy on each fold, the threshold chosen on the other folds.

    A pair is accepted when its cosine is at least the threshold. A fold without pairs has none.
    """
    formed, unit = pairs.formed, normalised(np.asarray(features, np.float64))
    folds = np.unique(pairs.folds)
    if (filled := len(np.unique(pairs.folds[formed]))) < 2:
        needed = "needed are at least 2 folds with pairs to choose on"
        raise UserError(f"{needed}, got {filled} of {len(folds)}")
    scores, rows = np.full(len(formed), np.nan), []
    scores[formed] = score_pairs(unit, pairs.pairs[formed])
    for fold in folds:
        own, rest = (formed & kind for kind in (pairs.folds == fold, pairs.folds != fold))
        if len(np.unique(pairs.same[rest])) < 2:
            raise UserError(f"all pairs outside of fold {fold + 1} are of one kind: no threshold")
        chosen = best_threshold(scores[rest], pairs.same[rest], thresholds)
        right = (scores[own] >= chosen) == pairs.same[own]
        rows.append((int(fold), chosen, 100 * right.mean() if len(right) else np.nan, len(right)))
    return pd.DataFrame(rows, columns=["fold", "threshold", "accuracy_percent", "pairs"])


def best_threshold(
    scores: np.ndarray, same: np.ndarray, thresholds: np.ndarray | None = None
) -> float:
    """Return the threshold that is right for most pairs, the highest of equally good ones.

    We try every one midway between neighbouring scores, and infinities. InsightFace tries 400
    squared distances instead; pass ``thresholds=1 - np.arange(0, 4, 0.01) / 2`` to match.
    """
    if thresholds is None:
        levels = np.unique(scores)
        middle = (levels[:-1] + levels[1:]) / 2
        middle = np.where(middle > levels[:-1], middle, levels[1:])  # neighbouring floats
        thresholds = np.concatenate([[-np.inf], middle, [np.inf]])
    thresholds = np.sort(np.asarray(thresholds, np.float64))[::-1]
    genuine, impostor = np.sort(scores[same]), np.sort(scores[~same])
    accepted = len(genuine) - np.searchsorted(genuine, thresholds)
    rejected = np.searchsorted(impostor, thresholds)
    return float(thresholds[np.argmax(accepted + rejected)])


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

    Identification is closed-set, as papers on occlusion report AR; each person is enrolled with the
    first shot of session 1, a neutral one.
    """
    shots = list_shots(faces, rows)
    there, probes = shots["row"] >= 0, shots[shots["occluder"] != "none"]
    enrolled, people = shots[there & (shots["shot"] == 1)], shots["subject"].drop_duplicates()
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
        return found.set_axis([f"session_{k}_{kind}_rank_1_percent" for k, kind in found.index])

    tests = [Test(paper["row"].to_numpy(), counts, error_rates, over, DRAWS)]
    kinds, sessions = probes["occluder"] + " probes", "session " + session.astype(str)
    counts = tally("gallery", ENTRIES, people.isin(enrolled["subject"]))
    counts = pd.concat([counts, tally(sessions, kinds, probes["used"])])
    compared = np.concatenate([enrolled["row"], probes["row"][probes["there"]]])
    tests.append(Test(compared, counts, first_ranks, "test", 1))
    lacking = [f"{len(paper)} of the paper's {PAPER_IMAGES} images"]
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
