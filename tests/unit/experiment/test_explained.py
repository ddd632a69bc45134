"""Means with their people drawn anew, as notebooks take them."""

from types import SimpleNamespace

import numpy as np

from ifr.evaluation import bootstrap_mean
from ifr.experiment.explained import samples, with_interval

RUN = SimpleNamespace(profile=SimpleNamespace(bootstrap=200), protocol_seed=4)


def test_the_first_sample_is_the_mean_and_the_rest_are_of_people_drawn_anew() -> None:
    rng = np.random.default_rng(3)
    values, identity = rng.normal(size=(40, 2)), np.repeat(np.arange(10), 4) + 70
    values[3] = np.nan
    found = samples(RUN, values, identity)
    assert found.shape == (201, 2)
    np.testing.assert_allclose(found[0], np.nanmean(values, axis=0))
    draws = bootstrap_mean(values, identity - 70, resamples=200, seed=4)
    np.testing.assert_array_equal(found[1:], draws)
    again = samples(RUN, values + 1, identity)
    np.testing.assert_allclose(again, found + 1)  # the same people, so differences are exact


def test_a_spread_is_the_value_with_its_interval_inside_the_bounds() -> None:
    found = np.concatenate([[5.0], np.linspace(3, 7, 401)])
    ends = with_interval(found)
    np.testing.assert_allclose(list(ends.values()), [5, 3.1, 6.9])
    assert with_interval(found, bounds=(4, 6)) == dict(value=5, low=4, high=6)
    assert np.isnan(list(with_interval(np.full(9, np.nan)).values())).all()


def test_what_nobody_has_a_value_of_is_unknown() -> None:
    values = np.column_stack([np.ones(6), np.full(6, np.nan)])
    found = samples(RUN, values, np.arange(6))
    assert found[0, 0] == 1 and np.isnan(found[:, 1]).all()
