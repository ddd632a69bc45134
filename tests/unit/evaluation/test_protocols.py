"""The protocols of LFW and AR against plain loops and cases worked out by hand."""

import tracemalloc
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from template_oracles import cosine

from ifr.common.seeding import stream
from ifr.datasets.index import PairList
from ifr.evaluation import ar_protocol, draw_pairs, equal_error_rate, lfw_protocol
from ifr.evaluation.protocols.pairs import best_threshold


def slow_lfw(scores, same, folds):
    """Return the best threshold's accuracy on each fold, trying every cut between scores."""
    found = []
    for fold in sorted(set(folds.tolist())):
        rest, own = folds != fold, folds == fold
        values = sorted(set(scores[rest].tolist()))
        cuts = [-np.inf] + [(a + b) / 2 for a, b in pairwise(values)] + [np.inf]
        best = max(cuts, key=lambda t: (sum((scores[rest] >= t) == same[rest]), t))
        found.append((best, 100 * float(np.mean((scores[own] >= best) == same[own]))))
    return found


@pytest.mark.parametrize("ties", [False, True])
def test_lfw_equals_a_slow_search_on_each_fold(ties):
    rng = np.random.default_rng(2)
    angle = rng.normal(0, 0.5, 200)
    angle = np.concatenate([[0], angle.round(1) if ties else angle])
    features = 3 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    rows = np.stack([np.zeros(120, int), rng.integers(1, 201, 120)], axis=1)
    scores = np.array([cosine(features[a], features[b]) for a, b in rows])
    assert (len(np.unique(scores)) < 30) == ties
    same = rng.normal(scores, 0.1) > np.median(scores)
    folds = np.repeat(np.arange(4), 30)
    found = lfw_protocol(features, PairList(pairs=rows, same=same, folds=folds))
    assert list(found.columns) == ["fold", "threshold", "accuracy_percent", "pairs"]
    expected = slow_lfw(scores, same, folds)
    np.testing.assert_allclose(found["threshold"], [threshold for threshold, _ in expected])
    np.testing.assert_allclose(found["accuracy_percent"], [share for _, share in expected])


def test_thresholds_by_hand():
    scores = np.array([0.9, 0.7, 0.5, 0.1])
    assert best_threshold(scores, np.array([True, True, False, False])) == pytest.approx(0.6)
    # Cutting after the first and after the third are both right for three: the higher one wins.
    assert best_threshold(scores, np.array([True, False, True, False])) == pytest.approx(0.8)
    assert best_threshold(scores, np.zeros(4, bool)) == np.inf
    assert best_threshold(scores, np.ones(4, bool)) == -np.inf
    tied = np.array([0.5, 0.5, 0.5, 0.2])
    assert best_threshold(tied, np.array([True, True, False, False])) == pytest.approx(0.35)
    close = np.array([0.5, np.nextafter(0.5, 1)])
    chosen = best_threshold(close, np.array([False, True]))
    assert close[0] < chosen <= close[1]
    grid = 1 - np.arange(0, 4, 0.01) / 2
    on_grid = best_threshold(scores, np.array([True, True, False, False]), grid)
    assert on_grid == pytest.approx(0.7, abs=0.006) and on_grid <= 0.7


def test_the_threshold_comes_from_the_other_folds_alone():
    # Fold 1 is upside down: at the threshold of fold 0 all of it is wrong, and vice versa.
    features = np.array([[1.0, 0], [1, 0], [0, 1]])
    pairs = np.array([[0, 1], [0, 2]] * 2)
    same = np.array([True, False, False, True])
    folds = np.array([0, 0, 1, 1])
    found = lfw_protocol(features, PairList(pairs=pairs, same=same, folds=folds))
    assert found["accuracy_percent"].tolist() == [50, 0]


def test_lfw_refuses_bad_input():
    features = np.eye(3)
    good = PairList(
        pairs=np.array([[0, 1], [1, 2]]), same=np.array([True, False]), folds=np.array([0, 1])
    )
    features[1, 1] = np.nan
    with pytest.raises(ValueError, match="1 features are not finite, the first is row 1"):
        lfw_protocol(features, good)
    with pytest.raises(ValueError, match="rows 0 to 1 are there, got 0 to 2"):
        lfw_protocol(features[:2], good)
    with pytest.raises(ValueError, match="at least 2 folds"):
        lfw_protocol(features, replace(good, folds=np.array([0, 0])))


def test_a_fold_without_pairs_has_no_accuracy():
    features = np.array([[1.0, 0], [1, 0], [0, 1]])
    pairs = np.array([[0, 1], [0, 2]] * 3)
    pairs[:2, 1] = -1
    given = PairList(
        pairs=pairs, same=np.array([True, False] * 3), folds=np.repeat(np.arange(3), 2)
    )
    found = lfw_protocol(features, given)
    assert np.isnan(found["accuracy_percent"][0]) and found["pairs"].tolist() == [0, 2, 2]
    assert found["accuracy_percent"][1:].tolist() == [100, 100]
    with pytest.raises(ValueError, match="at least 2 folds with pairs to choose on, got 1 of 3"):
        lfw_protocol(
            features, replace(given, pairs=np.where([[True]] * 4 + [[False]] * 2, -1, pairs))
        )


def test_a_threshold_is_not_chosen_on_one_kind_of_pairs():
    features = np.eye(3)
    folds, pairs = np.array([0, 0, 1]), np.array([[0, 1], [1, 2], [0, 2]])
    with pytest.raises(ValueError, match="all pairs outside of fold 1 are of one kind"):
        lfw_protocol(features, PairList(pairs, np.array([True, False, True]), folds))


def test_ar_is_the_error_rate_of_each_draw():
    rng = np.random.default_rng(4)
    identity = np.repeat(np.arange(20), 6)
    features = rng.normal(size=(20, 5))[identity] + rng.normal(0, 1, (120, 5))
    rates = ar_protocol(features, identity, pairs=200, draws=5, seed=3)
    for draw, rate in enumerate(rates):
        pairs, same = draw_pairs(identity, 200, stream(3, "protocol/ar pairs", draw))
        scores = np.array([cosine(features[a], features[b]) for a, b in pairs])
        assert rate == pytest.approx(100 * equal_error_rate(scores, same))
    assert rates.shape == (5,) and len(set(rates)) > 1


def test_ar_refuses_bad_input():
    features = np.eye(4)
    with pytest.raises(ValueError, match="1 people with at most 4 images"):
        ar_protocol(features, np.zeros(4, int))
    with pytest.raises(ValueError, match="4 people with at most 1 images"):
        ar_protocol(features, np.arange(4))
    with pytest.raises(ValueError, match=r"\(3,\)"):
        ar_protocol(features, np.zeros(3, int))
    with pytest.raises(ValueError, match="not finite"):
        ar_protocol(features * np.nan, np.array([0, 0, 1, 1]))


def test_pairs_of_thousands_of_images_are_drawn_in_bounded_memory():
    identity = np.repeat(np.arange(100), 26)
    tracemalloc.start()
    pairs, same = draw_pairs(identity, 6000, np.random.default_rng(0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(pairs) == 12_000 and same.sum() == 6000
    assert peak < 400e6
