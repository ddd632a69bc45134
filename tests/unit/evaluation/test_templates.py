"""Scores of templates and of pairs against plain loops and cases worked out by hand."""

import numpy as np
import pytest
from template_oracles import cosine, random_templates, slow_directional, slow_pool, templates_of

from ifr.evaluation.templates import (
    identification_scores,
    pooled_templates,
    score_pairs,
    verification_scores,
)


@pytest.fixture(scope="module")
def gathered():
    """Features of 60 images of 12 people, and templates of them."""
    rng = np.random.default_rng(3)
    features = rng.normal(size=(60, 10)).astype(np.float32) + 0.3
    return features, random_templates(25, 60, 12, rng), random_templates(9, 60, 12, rng)


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


def test_templates_refuse_what_they_cannot_score(gathered):
    features, templates, gallery = gathered
    broken = features.copy()
    broken[templates.rows[0], 2] = np.nan
    first = int(templates.rows[0])
    for score in ("media", "mean_cosine", "directional_min"):
        with pytest.raises(
            ValueError, match=rf"1 features are not finite, the first is row {first}"
        ):
            identification_scores(broken, templates, gallery, score=score)
    spare = np.concatenate([features, np.full((1, 10), np.nan, np.float32)])
    assert np.isfinite(pooled_templates(spare, templates)).all()  # no template names row 60
    with pytest.raises(ValueError, match="rows 0 to 4 are there, got"):
        pooled_templates(features[:5], templates)
    with pytest.raises(ValueError, match="every template needs an image"):
        pooled_templates(features, templates_of([[0], [], [1]], [1, 2, 3]))
    with pytest.raises(ValueError, match="'best'"):
        verification_scores(features, templates, np.zeros((1, 2), int), score="best")
    with pytest.raises(ValueError, match="rows 0 to 24 are there, got 0 to 25"):
        verification_scores(features, templates, np.array([[0, 25]]), score="directional_min")


def test_scored_pairs_equal_einsum_in_any_order():
    rng = np.random.default_rng(0)
    unit = rng.normal(size=(50, 33)).astype(np.float32)
    pairs = rng.integers(0, 50, (1000, 2), dtype=np.int32)
    expected = np.einsum("pk,pk->p", *(unit[pairs[:, i]].astype(np.float64) for i in (0, 1)))
    found = score_pairs(unit, pairs)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-5)
    np.testing.assert_allclose(score_pairs(unit, pairs[::-1]), found[::-1], atol=2e-6)
    assert score_pairs(unit.astype(float), pairs).dtype == np.float64
    assert len(score_pairs(unit, pairs[:0])) == 0


def test_scored_pairs_refuse_bad_input():
    unit = np.eye(4, dtype=np.float32)
    with pytest.raises(ValueError, match="rows 0 to 3 are there, got -1 to 2"):
        score_pairs(unit, np.array([[-1, 2]]))
    broken = np.where(np.arange(4)[:, None] == 2, np.inf, unit)
    with pytest.raises(ValueError, match="1 features are not finite, the first is row 2"):
        score_pairs(broken, np.array([[0, 1], [2, 3]]))
    assert score_pairs(broken, np.array([[0, 1]])) == [0]  # no pair names row 2
