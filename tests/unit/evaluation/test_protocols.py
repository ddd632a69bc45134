"""The protocols of LFW, IJB-A, IJB-C and AR against plain loops and cases worked out by hand."""

import tracemalloc
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from ifr.datasets.pairs import PairList
from ifr.datasets.readers.ijba import IjbaProtocol, IjbaSplit
from ifr.datasets.readers.ijbc import IjbcProtocol
from ifr.datasets.templates import Templates
from ifr.evaluation import (
    MEASURES,
    ar_protocol,
    best_threshold,
    draw_pairs,
    eer_over_draws,
    identification_scores,
    ijba_protocol,
    ijbc_benchmark,
    ijbc_protocol,
    lfw_protocol,
    lfw_summary,
    occluded_only,
    pooled_templates,
    roc,
    score_pairs,
    tar_at_far,
    tars_at_fars,
    verification_scores,
)


def cosine(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float((a * b).sum() / np.sqrt((a * a).sum()) / np.sqrt((b * b).sum()))


def templates_of(images, subjects, media=None, occluded=None):
    """Build templates from a list of lists of rows."""
    rows = np.array([row for template in images for row in template], np.int64)

    def flat(given, default):
        return default if given is None else np.array([x for one in given for x in one])

    return Templates(
        ids=np.arange(len(images)) + 1000,
        subjects=np.array(subjects),
        rows=rows,
        media=flat(media, np.arange(len(rows))),
        starts=np.concatenate([[0], np.cumsum([len(one) for one in images])]).astype(np.int64),
        occluded=flat(occluded, np.zeros(len(rows), bool)),
    )


def random_templates(count, images, subjects, rng):
    """Build templates of 1 to 6 images with interleaved media and random occlusion."""
    sizes = rng.integers(1, 7, count)
    return templates_of(
        [rng.integers(0, images, size).tolist() for size in sizes],
        rng.integers(0, subjects, count),
        [rng.integers(0, 3, size).tolist() for size in sizes],
        [(rng.random(size) < 0.4).tolist() for size in sizes],
    )


def images_of(templates, t):
    return range(templates.starts[t], templates.starts[t + 1])


def slow_pool(features, templates, t, score):
    """Return the feature of one template, image by image."""
    features = features.astype(np.float64)
    if score == "mean_cosine":
        total = sum(features[templates.rows[i]] for i in images_of(templates, t))
    else:
        total = 0
        for medium in {templates.media[i] for i in images_of(templates, t)}:
            own = [i for i in images_of(templates, t) if templates.media[i] == medium]
            total = total + sum(features[templates.rows[i]] for i in own) / len(own)
    return total / np.sqrt((total**2).sum())


def slow_directional(features, one, a, two, b):
    """Return less the mean of the two mean smallest cosine distances."""
    mine = [features[one.rows[i]] for i in images_of(one, a)]
    theirs = [features[two.rows[i]] for i in images_of(two, b)]
    there = sum(min(1 - cosine(p, q) for q in theirs) for p in mine) / len(mine)
    back = sum(min(1 - cosine(p, q) for p in mine) for q in theirs) / len(theirs)
    return -(there + back) / 2


def slow_rank(similarity, probe_subjects, gallery_subjects, k):
    """Return the share of probes with a mate whose mate is among the k best, ties behind."""
    found = []
    for row, who in zip(similarity, probe_subjects, strict=True):
        mates = [s for s, g in zip(row, gallery_subjects, strict=True) if g == who]
        if mates:
            others = [s for s, g in zip(row, gallery_subjects, strict=True) if g != who]
            found.append(sum(s >= max(mates) for s in others) < k)
    return sum(found) / len(found)


def slow_tar(scores, same, far):
    """Return the highest true accept rate of a threshold whose false accept rate is allowed."""
    best = 0.0
    for threshold in sorted(set(scores.tolist())):
        if np.mean(scores[~same] >= threshold) <= far:
            best = max(best, float(np.mean(scores[same] >= threshold)))
    return best


@pytest.fixture(scope="module")
def gathered():
    """Features of 60 images of 12 people, and templates of them."""
    rng = np.random.default_rng(3)
    features = rng.normal(size=(60, 10)).astype(np.float32) + 0.3
    return features, random_templates(25, 60, 12, rng), random_templates(9, 60, 12, rng)


# Templates


@pytest.mark.parametrize("score", ["media", "mean_cosine"])
def test_pooled_templates_equal_a_loop(gathered, score):
    features, templates, _ = gathered
    found = pooled_templates(features, templates, score=score)
    expected = [slow_pool(features, templates, t, score) for t in range(25)]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.dtype == np.float32
    np.testing.assert_allclose((found**2).sum(axis=1), 1, atol=1e-5)


def test_a_video_counts_as_much_as_a_photograph_under_media():
    features = np.array([[1.0, 0], [1, 0], [1, 0], [0, 1]])
    one = templates_of([[0, 1, 2, 3]], [7], [[5, 5, 5, 9]])
    np.testing.assert_allclose(pooled_templates(features, one)[0], [0.5**0.5] * 2)
    even = pooled_templates(features, one, score="mean_cosine")[0]
    np.testing.assert_allclose(even, np.array([3, 1]) / 10**0.5)


def test_one_medium_in_two_templates_is_two_media():
    features = np.array([[1.0, 0], [0, 1], [1, 0]])
    both = templates_of([[0, 1], [1, 2]], [1, 2], [[4, 4], [4, 8]])
    np.testing.assert_allclose(pooled_templates(features, both), 0.5**0.5)


@pytest.mark.parametrize("score", ["media", "mean_cosine", "directional_min"])
def test_searched_and_compared_equal_loops(gathered, score):
    features, probes, gallery = gathered
    table = identification_scores(features, probes, gallery, score=score)
    assert table.shape == (25, 9)

    def slow(one, a, two, b):
        if score == "directional_min":
            return slow_directional(features, one, a, two, b)
        return cosine(slow_pool(features, one, a, score), slow_pool(features, two, b, score))

    expected = [[slow(probes, a, gallery, b) for b in range(9)] for a in range(25)]
    np.testing.assert_allclose(table, expected, atol=2e-6)
    pairs = np.array([[0, 3], [24, 1], [7, 7], [3, 0]], np.int32)
    expected = [slow(probes, a, probes, b) for a, b in pairs]
    np.testing.assert_allclose(
        verification_scores(features, probes, pairs, score=score), expected, atol=2e-6
    )


def test_searching_in_chunks_changes_nothing(gathered, monkeypatch):
    features, probes, gallery = gathered
    whole = identification_scores(features, probes, gallery, score="directional_min")
    for cells in (1, 400):
        monkeypatch.setattr("ifr.evaluation.templates.CELLS", cells)
        again = identification_scores(features, probes, gallery, score="directional_min")
        np.testing.assert_allclose(again, whole, atol=1e-6)


def test_occluded_images_alone_by_hand():
    given = templates_of(
        [[0, 1], [2], [3, 4, 5]],
        [1, 2, 3],
        [[0, 1], [2], [3, 3, 4]],
        [[True, False], [False], [False, True, True]],
    )
    left, place = occluded_only(given)
    assert place.tolist() == [0, -1, 1]
    assert left.rows.tolist() == [0, 4, 5] and left.starts.tolist() == [0, 1, 3]
    assert left.subjects.tolist() == [1, 3] and left.ids.tolist() == [1000, 1002]
    assert left.media.tolist() == [0, 3, 4] and left.occluded.all()


def test_templates_refuse_what_they_cannot_score(gathered):
    features, templates, gallery = gathered
    broken = features.copy()
    broken[templates.rows[0], 2] = np.nan
    first = int(templates.rows[0])
    for score in ("media", "mean_cosine", "directional_min"):
        with pytest.raises(ValueError, match=rf"1 images .* not finite, the first is row {first}"):
            identification_scores(broken, templates, gallery, score=score)
    spare = np.concatenate([features, np.full((1, 10), np.nan, np.float32)])
    assert np.isfinite(pooled_templates(spare, templates)).all()  # no template names row 60
    with pytest.raises(ValueError, match="there are 5 features"):
        pooled_templates(features[:5], templates)
    with pytest.raises(ValueError, match="template 1001 has none"):
        pooled_templates(features, templates_of([[0], [], [1]], [1, 2, 3]))
    with pytest.raises(ValueError, match="'best'"):
        verification_scores(features, templates, np.zeros((1, 2), int), score="best")
    with pytest.raises(ValueError, match="rows 0 to 24, got 0 to 25"):
        verification_scores(features, templates, np.array([[0, 25]]), score="directional_min")


# Millions of pairs


def test_scored_pairs_equal_einsum_for_any_number_of_threads(monkeypatch):
    rng = np.random.default_rng(0)
    unit = rng.normal(size=(50, 33)).astype(np.float32)
    pairs = rng.integers(0, 50, (1000, 2), dtype=np.int32)
    expected = np.einsum("pk,pk->p", *(unit[pairs[:, i]].astype(np.float64) for i in (0, 1)))
    found = score_pairs(unit, pairs)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-5)
    monkeypatch.setattr("ifr.evaluation.pair_scores.CHUNK", 7)
    for threads in (1, 3):
        assert (score_pairs(unit, pairs[::-1], threads=threads) == found[::-1]).all()
    assert len(score_pairs(unit, pairs[:0])) == 0


def test_scored_pairs_refuse_bad_input():
    unit = np.eye(4, dtype=np.float32)
    with pytest.raises(ValueError, match="rows 0 to 3, got -1 to 2"):
        score_pairs(unit, np.array([[-1, 2]]))
    with pytest.raises(ValueError, match="integers, got"):
        score_pairs(unit, np.array([[0.0, 1.0]]))
    with pytest.raises(ValueError, match="1 of 4 features are not finite, the first is row 2"):
        score_pairs(np.where(np.arange(4)[:, None] == 2, np.inf, unit), np.array([[0, 1]]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_curve_with_many_ties_equals_brute_force(dtype):
    rng = np.random.default_rng(1)
    same = rng.random(3000) < 0.2
    scores = rng.normal(same, 1).round(1).astype(dtype)
    scores[:50] = 0.0
    scores[50:60] = -0.0
    far, tar, thresholds = roc(scores, same)
    assert (np.diff(thresholds) < 0).all() and len(thresholds) == len(np.unique(scores)) + 1
    for f, t, threshold in zip(far, tar, thresholds, strict=True):
        assert f == np.mean(scores[~same] >= threshold)
        assert t == np.mean(scores[same] >= threshold)
    weighted = roc(scores, same, np.ones(3000))
    for one, two in zip((far, tar, thresholds), weighted, strict=True):
        assert (one == two).all()
    fars = (0.3, 0.01, 0.001)
    found = tars_at_fars(scores, same, fars)
    np.testing.assert_allclose(found, [slow_tar(scores, same, far) for far in fars])
    for way in ("none", "nearest", "linear"):
        each = [tar_at_far(scores, same, far, interpolate=way) for far in fars]
        assert tars_at_fars(scores, same, fars, interpolate=way).tolist() == each


def test_a_curve_leaves_the_scores_as_they_were():
    scores, same = np.array([3.0, 1, 2], np.float32), np.array([True, False, True])
    roc(scores, same)
    assert scores.tolist() == [3, 1, 2]
    with pytest.raises(ValueError, match="between 0 and 1, got -1"):
        tars_at_fars(scores, same, (0.1, -1))


def test_the_benchmark_says_what_it_did():
    line = ijbc_benchmark(comparisons=20_000, templates=300, size=32)
    assert line.startswith("20,000 comparisons of 300 templates x 32: scores ")
    if "memory" in line:  # not on Windows
        assert 0.05 < float(line.split("process ")[1].removesuffix(" GB")) < 100


# LFW


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
    summary = lfw_summary(found)
    assert summary["mean_percent"] == 25
    assert summary["std_percent"] == pytest.approx(25 * 2**0.5)
    assert summary["standard_error_percent"] == pytest.approx(25)
    assert lfw_summary(found, ddof=0)["std_percent"] == pytest.approx(25)


def test_lfw_refuses_bad_input():
    features = np.eye(3)
    good = PairList(
        pairs=np.array([[0, 1], [1, 2]]), same=np.array([True, False]), folds=np.array([0, 1])
    )
    features[1, 1] = np.nan
    with pytest.raises(ValueError, match="2 of 2 pairs"):
        lfw_protocol(features, good)
    with pytest.raises(ValueError, match="there are 2 features"):
        lfw_protocol(features[:2], good)
    with pytest.raises(ValueError, match="at least 2 folds"):
        lfw_protocol(features, replace(good, folds=np.array([0, 0])))


# IJB-A


def angles(*degrees):
    radians = np.deg2rad(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1)


@pytest.fixture
def small_split():
    """Three enrolled people at 0, 90 and 180 degrees, and six single-image probes.

    The mate of probe 2 is second, probe 5 is a stranger; rows 4, 6 and 8 are occluded.
    """
    features = angles(0, 90, 180, 10, 80, 100, 150, 30, 60)
    gallery = templates_of([[0], [1], [2]], [1, 2, 3])
    probes = templates_of(
        [[3], [4], [5], [6], [7], [8]],
        [1, 2, 3, 3, 9, 1],
        None,
        [[False], [True], [False], [True], [False], [True]],
    )
    verify = templates_of(
        [[0], [1], [2], [3], [4, 5], [6]],
        [1, 2, 3, 1, 2, 3],
        None,
        [[True], [True], [False], [False], [True, False], [True]],
    )
    pairs = np.array([[0, 3], [1, 4], [2, 5], [0, 4], [1, 5], [2, 3], [1, 3]])
    same = np.array([True, True, True, False, False, False, False])
    return features, IjbaSplit(
        number=4,
        verify=verify,
        pairs=pairs,
        same=same,
        gallery=gallery,
        probes=probes,
        train_subjects=np.array([77]),
    )


def test_ijba_by_hand(small_split):
    features, split = small_split
    row = ijba_protocol(features, IjbaProtocol(splits=(split,)), score="mean_cosine").iloc[0]
    # Genuine pairs are 10, 0 and 30 degrees apart, impostors 90, 60, 170 and 80.
    assert row["tar_01_percent"] == 100 and row["tar_001_percent"] == 100
    # With a mate: 10 (right), 80 (right), 100 of person 3 (second), 150 (right), 60 of person 1
    # (second); 30 is a stranger.
    assert row["rank_1_percent"] == pytest.approx(60) and row["rank_5_percent"] == 100
    assert row[["split", "genuine", "impostor", "probes", "probes_with_mate"]].tolist() == [
        4,
        3,
        4,
        6,
        5,
    ]


def test_ijba_natural_keeps_occluded_images_and_a_whole_gallery(small_split):
    features, split = small_split
    protocol = IjbaProtocol(splits=(split,))
    row = ijba_protocol(features, protocol, natural=True, score="mean_cosine").iloc[0]
    # Left to verify are templates 0, 1, 4 (its first image, at 80 degrees) and 5; of the pairs
    # 1-4 (10 degrees, genuine), 0-4 (80 degrees) and 1-5 (60 degrees).
    assert row[["genuine", "impostor", "probes", "probes_with_mate"]].tolist() == [1, 2, 3, 3]
    assert row["tar_001_percent"] == 100
    assert row["rank_1_percent"] == pytest.approx(200 / 3)  # the gallery has no occluded image


def test_a_mate_tied_with_a_stranger_is_behind_it(small_split):
    features, split = small_split
    features[3] = features[4] = [0.5**0.5, 0.5**0.5]
    features[0], features[1] = [1, 0], [0, 1]
    probes = templates_of([[3], [4]], [1, 2])
    split = replace(split, probes=probes)
    row = ijba_protocol(features, IjbaProtocol(splits=(split,)), score="media").iloc[0]
    assert row["rank_1_percent"] == 0 and row["rank_5_percent"] == 100


@pytest.mark.parametrize("natural", [False, True])
@pytest.mark.parametrize("score", ["media", "mean_cosine", "directional_min"])
def test_ijba_equals_loops_on_random_splits(score, natural):
    rng = np.random.default_rng(8)
    features = rng.normal(size=(80, 6)).astype(np.float32)
    splits = []
    for number in (1, 2):
        verify, probes = (random_templates(n, 80, 8, rng) for n in (30, 40))
        gallery = random_templates(5, 80, 8, rng)
        gallery = replace(gallery, subjects=rng.permutation(8)[:5])
        pairs = rng.integers(0, 30, (150, 2))
        same = verify.subjects[pairs[:, 0]] == verify.subjects[pairs[:, 1]]
        splits.append(
            IjbaSplit(
                number=number,
                verify=verify,
                pairs=pairs,
                same=same,
                gallery=gallery,
                probes=probes,
                train_subjects=np.array([50]),
            )
        )
    protocol = IjbaProtocol(splits=tuple(splits))
    table = ijba_protocol(features, protocol, natural=natural, score=score)
    assert table["split"].tolist() == [1, 2]
    assert list(table.columns) == [
        "split",
        *MEASURES,
        "genuine",
        "impostor",
        "probes",
        "probes_with_mate",
    ]
    for (_, row), split in zip(table.iterrows(), splits, strict=True):

        def kept(templates, t, only):
            own = [i for i in images_of(templates, t) if templates.occluded[i] or not only]
            return templates_of([templates.rows[own].tolist()], [0], [templates.media[own]])

        def slow(one, two):
            if score == "directional_min":
                return slow_directional(features, one, 0, two, 0)
            return cosine(slow_pool(features, one, 0, score), slow_pool(features, two, 0, score))

        scores, same = [], []
        for (a, b), truth in zip(split.pairs, split.same, strict=True):
            one, two = (kept(split.verify, t, natural) for t in (a, b))
            if len(one.rows) and len(two.rows):
                scores.append(slow(one, two))
                same.append(truth)
        scores, same = np.array(scores).round(5), np.array(same)
        assert row["genuine"] == same.sum() and row["impostor"] == (~same).sum()
        assert row["tar_01_percent"] == pytest.approx(100 * slow_tar(scores, same, 0.01))
        searchers = [(kept(split.probes, t, natural), split.probes.subjects[t]) for t in range(40)]
        searchers = [(one, who) for one, who in searchers if len(one.rows)]
        enrolled = [kept(split.gallery, t, False) for t in range(5)]
        similarity = [[slow(one, two) for two in enrolled] for one, _ in searchers]
        who = [subject for _, subject in searchers]
        assert row["probes"] == len(who) < 41
        assert row["probes_with_mate"] == sum(s in split.gallery.subjects for s in who)
        for k in (1, 5):
            expected = 100 * slow_rank(similarity, who, split.gallery.subjects, k)
            assert row[f"rank_{k}_percent"] == pytest.approx(expected)


def test_ijba_refuses_what_is_left_of_nothing(small_split):
    features, split = small_split
    bare = replace(split, verify=replace(split.verify, occluded=np.zeros(7, bool)))
    with pytest.raises(ValueError, match=r"split 4: 0 genuine and 0 impostor .* occluded"):
        ijba_protocol(features, IjbaProtocol(splits=(bare,)), natural=True)
    strangers = replace(split, probes=replace(split.probes, subjects=np.full(6, 9)))
    with pytest.raises(ValueError, match=r"split 4: .* 0 probes with a mate"):
        ijba_protocol(features, IjbaProtocol(splits=(strangers,)))
    features[8] = np.nan
    with pytest.raises(ValueError, match=r"split 4: 1 images .* row 8"):
        ijba_protocol(features, IjbaProtocol(splits=(split,)))


# IJB-C


@pytest.fixture
def small_ijbc():
    rng = np.random.default_rng(11)
    centres = rng.normal(size=(10, 16))
    who = np.repeat(np.arange(10), 8)
    features = (centres[who] + rng.normal(0, 1.2, (80, 16))).astype(np.float32)

    def own(subject, count):
        return rng.choice(np.flatnonzero(who == subject), count).tolist()

    def make(subjects):
        images = [own(s, rng.integers(1, 5)) for s in subjects]
        return templates_of(
            images,
            subjects,
            [[0] + [1] * (len(i) - 1) for i in images],
            [(rng.random(len(i)) < 0.5).tolist() for i in images],
        )

    verify = make(np.repeat(np.arange(10), 4))
    pairs = np.array([(a, b) for a in range(40) for b in range(a)], np.int32)
    same = verify.subjects[pairs[:, 0]] == verify.subjects[pairs[:, 1]]
    protocol = IjbcProtocol(
        verify=verify,
        pairs=pairs,
        same=same,
        galleries=(make([0, 1, 2, 3]), make([4, 5, 6])),
        probes=make(np.repeat(np.arange(8), 6)),
    )
    return features, protocol


@pytest.mark.parametrize("natural", [False, True])
@pytest.mark.parametrize("score", ["media", "mean_cosine"])
def test_ijbc_equals_loops(small_ijbc, score, natural, monkeypatch):
    features, protocol = small_ijbc
    monkeypatch.setattr("ifr.evaluation.protocols.ijbc.PROBES", 5)
    found = ijbc_protocol(features, protocol, natural=natural, score=score, fars=(0.1, 0.01, 1e-4))
    verify, pairs, same, probes = protocol.verify, protocol.pairs, protocol.same, protocol.probes
    if natural:
        verify, place = occluded_only(verify)
        keep = [(place[a] >= 0) and (place[b] >= 0) for a, b in pairs]
        pairs, same = place[pairs[keep]], same[keep]
        probes = occluded_only(probes)[0]
    pooled = [slow_pool(features, verify, t, score) for t in range(len(verify.ids))]
    scores = np.array([cosine(pooled[a], pooled[b]) for a, b in pairs])
    for name, far in (("tar_1", 0.1), ("tar_01", 0.01), ("tar_0001", 1e-4)):
        expected = 100 * slow_tar(scores.round(6), same, far)
        assert found[f"{name}_percent"] == pytest.approx(expected)
    mine = [slow_pool(features, probes, t, score) for t in range(len(probes.ids))]
    for k in (1, 5):
        shares = []
        for gallery in protocol.galleries:
            theirs = [slow_pool(features, gallery, t, score) for t in range(len(gallery.ids))]
            similarity = [[cosine(a, b) for b in theirs] for a in mine]
            shares.append(slow_rank(similarity, probes.subjects, gallery.subjects, k))
        assert found[f"rank_{k}_percent"] == pytest.approx(100 * np.mean(shares))
    assert found["rank_1_percent"] < 100 and found["genuine"] == same.sum()
    assert found["probes_with_mate"] == (probes.subjects < 7).sum() < found["probes"]


def test_ijbc_without_galleries_has_no_rank(small_ijbc):
    features, protocol = small_ijbc
    found = ijbc_protocol(features, replace(protocol, galleries=(), probes=None))
    assert np.isnan(found["rank_1_percent"]) and found["probes"] == 0
    assert list(found.index)[:4] == [
        "tar_01_percent",
        "tar_001_percent",
        "tar_0001_percent",
        "tar_00001_percent",
    ]


def test_ijbc_refuses_bad_input(small_ijbc):
    features, protocol = small_ijbc
    with pytest.raises(ValueError, match="'directional_min'"):
        ijbc_protocol(features, protocol, score="directional_min")
    bare = replace(protocol.verify, occluded=np.zeros(len(protocol.verify.rows), bool))
    with pytest.raises(ValueError, match="0 genuine and 0 impostor comparisons of naturally"):
        ijbc_protocol(features, replace(protocol, verify=bare), natural=True)
    only = replace(protocol.probes, subjects=np.zeros(48, int))
    with pytest.raises(ValueError, match="mate in gallery 2"):
        ijbc_protocol(features, replace(protocol, probes=only))
    with pytest.raises(ValueError, match="not finite"):
        ijbc_protocol(np.full_like(features, np.nan), protocol)


# AR


def test_ar_is_the_mean_over_draws():
    rng = np.random.default_rng(4)
    identity = np.repeat(np.arange(20), 6)
    features = rng.normal(size=(20, 5))[identity] + rng.normal(0, 1, (120, 5))
    mean, std, rates = ar_protocol(features, identity, pairs=200, draws=5, seed=3)
    again = eer_over_draws(features, identity, pairs=200, draws=5, seed=3)
    assert rates.tolist() == again.tolist() and len(set(rates)) > 1
    assert mean == pytest.approx(sum(rates) / 5)
    assert std == pytest.approx((sum((rates - mean) ** 2) / 4) ** 0.5)
    assert np.isnan(ar_protocol(features, identity, pairs=200, draws=1)[1])


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
