"""Metrics against scikit-learn, hand-made cases and plain loops."""

import numpy as np
import pytest
from sklearn.metrics import roc_curve
from template_oracles import slow_open_set, slow_tar

from ifr.common.errors import UserError
from ifr.datasets import FaceSet
from ifr.evaluation import (
    MEASURES,
    ar_protocol,
    bootstrap_counts,
    bootstrap_eer,
    bootstrap_mean,
    bootstrap_templates,
    draw_pairs,
    equal_error_rate,
    evaluate_templates,
    fold_interval,
    interval,
    mate_ranks,
    rank_accuracy,
    roc,
    shifted_bootstrap_interval,
    tar_at_far,
    tars_at_fars,
)
from ifr.evaluation.metrics import FARS, RANKS, percent_name, tpir_at_fpir
from ifr.evaluation.protocols.rendered import split_scores, template_splits


def scores_of(count=400, ties=False, seed=0):
    rng = np.random.default_rng(seed)
    same = rng.random(count) < 0.4
    scores = rng.normal(same * 1.2, 1)
    return (scores.round(1) if ties else scores), same


@pytest.fixture(scope="module")
def held_out():
    """Features of 12 people x 10 images that are easy to tell apart, 3 of 10 occluded."""
    rng = np.random.default_rng(5)
    identity = np.repeat(np.arange(12), 10)
    centres = rng.normal(0, 1, (12, 8))
    features = (centres[identity] + rng.normal(0, 0.7, (120, 8))).astype(np.float32)
    worn = np.tile(np.array(["none"] * 7 + ["scarf"] * 3), 12)
    images = np.zeros((120, 1, 1, 3), np.uint8)
    return FaceSet("held out", images, identity, None, {"occluder": worn}), features


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_roc_agrees_with_scikit_learn(ties, weighted):
    scores, same = scores_of(ties=ties)
    weights = np.random.default_rng(1).integers(0, 4, len(scores)) if weighted else None
    far, tar, thresholds = roc(scores, same, weights)
    theirs = roc_curve(same, scores, sample_weight=weights, drop_intermediate=False)
    at = np.searchsorted(-thresholds, -theirs[2])
    np.testing.assert_allclose(far[at], theirs[0], atol=1e-12)
    np.testing.assert_allclose(tar[at], theirs[1], atol=1e-12)


def test_tar_at_far_by_hand():
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    same = np.array([True, True, False, True, False, False])
    # Thresholds 0.9, 0.8 accept no impostor of three; 0.7 accepts one.
    assert tar_at_far(scores, same, 0.0) == pytest.approx(2 / 3)
    assert tar_at_far(scores, same, 0.32) == pytest.approx(2 / 3)
    assert tar_at_far(scores, same, 1 / 3) == pytest.approx(1.0)
    assert tar_at_far(scores, same, 0.30, interpolate="nearest") == pytest.approx(2 / 3)
    assert tar_at_far(scores, same, 0.5, interpolate="linear") == pytest.approx(1.0)
    line = tar_at_far(
        np.array([3.0, 2, 1]), np.array([False, True, True]), 0.5, interpolate="linear"
    )
    assert line == pytest.approx(0.0)


def test_a_tied_impostor_is_accepted_with_the_genuine_pair():
    scores, same = np.array([1.0, 1.0, 0.0]), np.array([True, False, False])
    assert tar_at_far(scores, same, 0.1) == 0.0
    assert tar_at_far(scores, same, 0.5) == 1.0


def test_equal_error_rate_by_hand_and_at_the_extremes():
    same = np.array([True] * 4 + [False] * 4)
    perfect = np.array([8.0, 7, 6, 5, 4, 3, 2, 1])
    assert equal_error_rate(perfect, same) == pytest.approx(0)
    assert equal_error_rate(-perfect, same) == pytest.approx(1)
    swapped = np.array([8.0, 7, 6, 3, 5, 4, 2, 1])  # one of four on either side is wrong
    assert equal_error_rate(swapped, same) == pytest.approx(0.25)


def test_equal_error_rate_agrees_with_scikit_learn():
    scores, same = scores_of(2000)
    far, tar, _ = roc_curve(same, scores, drop_intermediate=False)
    nearest = np.abs(far - (1 - tar)).argmin()
    assert equal_error_rate(scores, same) == pytest.approx(far[nearest], abs=2e-3)


def test_a_batch_of_weights_equals_a_loop():
    scores, same = scores_of(ties=True)
    weights = np.random.default_rng(2).integers(0, 3, (5, len(scores)))
    for function in (
        lambda w: tar_at_far(scores, same, 0.05, weights=w),
        lambda w: tar_at_far(scores, same, 0.05, weights=w, interpolate="linear"),
        lambda w: equal_error_rate(scores, same, weights=w),
    ):
        np.testing.assert_allclose(function(weights), [function(row) for row in weights])


def test_weights_equal_repeating_the_pairs():
    scores, same = scores_of(60)
    weights = np.random.default_rng(3).integers(0, 4, 60)
    again = np.repeat(scores, weights), np.repeat(same, weights)
    assert tar_at_far(scores, same, 0.1, weights=weights) == pytest.approx(tar_at_far(*again, 0.1))
    ours = equal_error_rate(scores, same, weights=weights)
    assert ours == pytest.approx(equal_error_rate(*again))


@pytest.mark.parametrize(
    ("scores", "same", "message"),
    [
        (np.array([1.0, np.nan]), np.array([True, False]), "1 of 2 scores are NaN"),
        (np.array([1.0, 2.0]), np.array([True, True]), "got one kind"),
        (np.array([1.0, 2.0]), np.array([1, 0]), "bools"),
        (np.zeros((2, 2)), np.zeros((2, 2), bool), r"\(P,\)"),
    ],
)
def test_bad_scores_are_refused(scores, same, message):
    with pytest.raises(ValueError, match=message):
        roc(scores, same)


def test_bad_requests_are_refused():
    scores, same = scores_of(20)
    with pytest.raises(ValueError, match=r"between 0 and 1, got 1\.5"):
        tar_at_far(scores, same, 1.5)
    with pytest.raises(ValueError, match="'cubic'"):
        tar_at_far(scores, same, 0.1, interpolate="cubic")
    with pytest.raises(ValueError, match="k >= 1"):
        rank_accuracy(np.zeros((2, 2)), np.arange(2), np.arange(2), 0)
    with pytest.raises(ValueError, match="no probe has a mate"):
        rank_accuracy(np.zeros((1, 2)), np.array([7]), np.arange(2), 1)


def test_ranks_by_hand_with_ties_and_a_probe_without_a_mate():
    similarity = np.array([[0.9, 0.1, 0.2], [0.5, 0.5, 0.1], [0.3, 0.2, 0.1], [1.0, 1.0, 1.0]])
    probes, gallery = np.array([0, 1, 2, 9]), np.array([0, 1, 2])
    assert mate_ranks(similarity, probes, gallery)[:3].tolist() == [1, 2, 3]  # behind a tie
    assert np.isnan(mate_ranks(similarity, probes, gallery)[3])
    assert rank_accuracy(similarity, probes, gallery, 1) == pytest.approx(1 / 3)
    assert rank_accuracy(similarity, probes, gallery, 2) == pytest.approx(2 / 3)
    assert rank_accuracy(similarity, probes, gallery, 3) == 1.0


@pytest.mark.parametrize("digits", [1, 8])  # one digit: many ties
@pytest.mark.parametrize("fpir", [0, 0.01, 0.1, 0.25, 0.9])
def test_open_set_identification_equals_trying_every_threshold(digits, fpir):
    rng = np.random.default_rng(6)
    gallery = np.array([0, 1, 2, 3, 4, 4])  # person 4 is enrolled twice, 5 to 7 not at all
    probes = rng.integers(0, 8, 120)
    mate = probes[:, None] == gallery
    similarity = rng.normal(0.8 * mate, 0.5).round(digits)
    found = tpir_at_fpir(similarity, probes, gallery, fpir)
    assert found == pytest.approx(slow_open_set(similarity, probes, gallery, fpir))


def test_open_set_identification_by_hand():
    gallery = np.array([0, 1])
    probes = np.array([0, 1, 0, *[9] * 10])
    similarity = np.zeros((13, 2))
    similarity[:3] = [[0.9, 0.1], [0.6, 0.5], [0.7, 0.7]]  # first; behind 0; tied
    similarity[3:, 0] = [0.9, 0.8, *np.linspace(0.1, 0.7, 8)]
    # One stranger in ten may reach 0.9, but probe 0 does not come out above the first of them.
    assert tpir_at_fpir(similarity, probes, gallery, 0.05) == 0
    assert tpir_at_fpir(similarity, probes, gallery, 0.1) == pytest.approx(1 / 3)
    assert np.isnan(tpir_at_fpir(similarity[:3], probes[:3], gallery, 0.1))  # no stranger
    assert np.isnan(tpir_at_fpir(similarity[3:], probes[3:], gallery, 0.1))  # no mate
    with pytest.raises(ValueError, match=r"fpir must be .* below 1, got 1"):
        tpir_at_fpir(similarity, probes, gallery, 1)
    assert [percent_name("tpir", rate) for rate in (0.1, 0.01)] == [
        "tpir_1_percent",
        "tpir_01_percent",
    ]


@pytest.mark.parametrize("natural", [False, True])
def test_templates_of_people_told_apart_score_high_and_of_noise_low(held_out, natural):
    faces, features = held_out
    splits = template_splits(faces, splits=4)
    good = evaluate_templates(features, splits, natural=natural)
    noise = np.random.default_rng(0).normal(size=features.shape)
    bad = evaluate_templates(noise, splits, natural=natural)
    assert list(good.columns) == ["split", *MEASURES] and len(good) == 4
    assert good["rank_1_percent"].mean() > 75 and bad["rank_1_percent"].mean() < 40
    for table in (good, bad):
        assert (table["tar_001_percent"] <= table["tar_01_percent"]).all()
        assert (table["rank_1_percent"] <= table["rank_5_percent"]).all()


@pytest.mark.parametrize("natural", [False, True])
def test_template_measures_are_those_of_all_pairs_of_each_split(held_out, natural):
    faces, features = held_out
    noisy = features + np.random.default_rng(2).normal(0, 0.9, features.shape)
    splits = template_splits(faces, splits=3)
    found = evaluate_templates(noisy, splits, natural=natural)
    for split, (_, *row) in zip(splits, found.itertuples(index=False), strict=True):
        scores, same = split_scores(noisy, split, natural=natural)
        [(probes, gallery)] = split.searches
        who = probes.subjects[[probes.occluded[k] == natural for k in probes.starts[:-1]]]
        ranks = scores.reshape(len(who), -1), who, gallery.subjects
        expected = [*tars_at_fars(scores, same, FARS), *(rank_accuracy(*ranks, k) for k in RANKS)]
        np.testing.assert_allclose(row, 100 * np.array(expected), rtol=1e-12)
    assert 0 < found["tar_01_percent"].mean() < 100


def test_resampled_template_measures_weigh_each_pair_by_how_often_its_people_are_drawn(held_out):
    faces, features = held_out
    noisy = features + np.random.default_rng(1).normal(0, 0.7, features.shape)
    [split] = splits = template_splits(faces, splits=1)
    drawn = bootstrap_templates(noisy, splits, resamples=25, seed=4)
    counts = bootstrap_counts(1 + split.verify.subjects.max(), 25, 4)
    scores, same = split_scores(noisy, split)
    [(probes, gallery)] = split.searches
    clean = probes.subjects[~probes.occluded[probes.starts[:-1]]]
    one, two = (index.ravel() for index in np.meshgrid(clean, gallery.subjects, indexing="ij"))
    # A person's templates are drawn together: a genuine pair counts once for each draw.
    weights = np.where(same, counts[:, one], counts[:, one] * counts[:, two])
    expected = 100 * tars_at_fars(scores, same, FARS, weights=weights)
    assert drawn["tar_01_percent"].nunique() > 3
    np.testing.assert_allclose(drawn[list(MEASURES[:2])].to_numpy().T, expected, rtol=1e-12)


def test_templates_of_features_that_are_missing_are_refused(held_out):
    faces, features = held_out
    splits = template_splits(faces, splits=2)
    missing = np.where(faces.attributes["occluder"][:, None] == "none", np.nan, features)
    for measure in (evaluate_templates, bootstrap_templates):
        with pytest.raises(UserError, match="not finite"):
            measure(missing, splits)


@pytest.mark.parametrize("highest", [0.3, 0.01])
def test_impostors_far_below_the_highest_need_not_be_ordered(held_out, monkeypatch, highest):
    faces, features = held_out
    splits = template_splits(faces, splits=2)
    noisy = features + np.random.default_rng(1).normal(0, 0.5, features.shape)
    whole = bootstrap_templates(noisy, splits, resamples=20, seed=3)
    monkeypatch.setattr("ifr.evaluation.protocols.rendered.LEAST_HIGHEST", 1)
    monkeypatch.setattr("ifr.evaluation.protocols.rendered.HIGHEST", highest)
    few = bootstrap_templates(noisy, splits, resamples=20, seed=3)
    np.testing.assert_allclose(few, whole)
    assert few["tar_01_percent"].std() > 0


def test_the_same_seed_draws_the_same_people_for_every_network(held_out):
    faces, features = held_out
    splits = template_splits(faces, splits=2)
    first, again = (bootstrap_templates(features, splits, resamples=20, seed=3) for _ in range(2))
    assert first.equals(again)
    assert (bootstrap_counts(12, 5, 3).sum(axis=1) == 12).all()
    assert (bootstrap_counts(12, 5, 3) != bootstrap_counts(12, 5, 4)).any()


def test_pairs_are_of_both_kinds_without_repetition():
    identity = np.repeat(np.arange(5), 4)
    pairs, same = draw_pairs(identity, 25, np.random.default_rng(0))
    assert len(pairs) == 50 and same.sum() == 25
    assert (same == (identity[pairs[:, 0]] == identity[pairs[:, 1]])).all()
    assert len({tuple(sorted(pair)) for pair in pairs.tolist()}) == 50
    every, same = draw_pairs(identity, 1000, np.random.default_rng(0))
    assert len(every) == 20 * 19 / 2 and same.sum() == 5 * 6  # all pairs there are


def test_error_rates_over_draws_and_over_people(held_out):
    faces, features = held_out
    rates = ar_protocol(features, faces.identity, pairs=100, draws=4)
    assert rates.shape == (4,) and (rates < 30).all()
    drawn = bootstrap_eer(features, faces.identity, pairs=100, resamples=30)
    assert drawn.shape == (30,) and interval(drawn)[0] <= rates.mean() <= interval(drawn)[1] + 5


def test_mean_over_resampled_people_equals_a_plain_loop():
    rng = np.random.default_rng(0)
    identity = np.array([0, 0, 1, 2, 2, 2])
    values = rng.normal(size=(6, 2))
    values[1, 0] = np.nan
    found = bootstrap_mean(values, identity, resamples=8, seed=1)
    for row, counts in zip(found, bootstrap_counts(3, 8, 1), strict=True):
        repeated = np.concatenate(
            [np.repeat(values[[i]], counts[identity[i]], axis=0) for i in range(6)]
        )
        np.testing.assert_allclose(row, np.nanmean(repeated, axis=0))


def test_a_shifted_interval_keeps_its_width_and_its_bounds():
    samples = np.random.default_rng(0).normal(3, 1, 4000)
    low, high = shifted_bootstrap_interval(samples, 1.0)
    assert (low, high) == pytest.approx((1 - 1.96, 1 + 1.96), abs=0.15)
    shares = np.array([96.0, 98, 99, 100])  # their mean is below the share measured
    assert shifted_bootstrap_interval(shares, 99.5)[1] > 100
    assert shifted_bootstrap_interval(shares, 99.5, bounds=(0, 100))[1] == 100


def test_interval_holds_the_share_asked_for():
    low, high = interval(np.arange(1001.0), 0.9)
    assert (low, high) == pytest.approx((50, 950))


def test_an_interval_over_folds_is_that_of_students_t():
    from scipy import stats

    values = np.random.default_rng(0).normal(1.0, 2.0, 10)
    mean, low, high = fold_interval(values)
    test = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert np.allclose([mean, low, high], [values.mean(), test.low, test.high])
    with pytest.raises(ValueError, match="of at least 2"):
        fold_interval(np.array([1.0]))


def test_a_resample_without_a_value_is_nan_and_not_zero():
    values, people = np.array([[1.0, np.nan], [3.0, 5.0]]), np.array([0, 1])
    drawn = bootstrap_mean(values, people, resamples=200)
    alone = np.isnan(drawn[:, 1])  # the first person twice, who has no second value
    assert 0 < alone.sum() < 200 and (drawn[alone, 0] == 1).all()
    assert set(drawn[~alone, 1]) == {5.0} and set(drawn[:, 0]) == {1.0, 2.0, 3.0}


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
