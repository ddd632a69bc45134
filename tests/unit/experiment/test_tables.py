"""Tables of the paper's benchmarks: what is quoted, and differences between variants."""

import numpy as np
import pandas as pd
import pytest

from ifr.evaluation import MEASURES
from ifr.experiment import tables
from ifr.profiles import VARIANTS

rng = np.random.default_rng(0)


@pytest.mark.parametrize("test", ["ijba", "ijbc"])
def test_quoted_figures_are_percentages_of_known_variants(test):
    quoted = tables.quoted(test)
    assert {variant for variant, _ in quoted.index} <= set(VARIANTS)
    assert {condition for _, condition in quoted.index} <= set(tables.CONDITIONS)
    figures = quoted[list(MEASURES)].to_numpy()
    assert ((figures > 30) & (figures < 100) | np.isnan(figures)).all()


def test_the_papers_figures_stand_beside_ours_by_variant_and_condition():
    table = pd.DataFrame(dict(variant=["sad", "base"], condition=["natural", "clean"], ours=[1, 2]))
    beside = tables.with_paper(table, tables.quoted("ijba"))
    assert beside["paper_tar_01_percent"].tolist() == [64.2, 74.3]  # Tables 2 and 5
    assert np.isnan(beside["paper_tar_001_percent"][0]) and beside["ours"].tolist() == [1, 2]


def test_differences_are_paired_and_centred_on_the_value():
    keys = [(name, condition) for name in ("base", "full") for condition in ("clean", "natural")]
    table = pd.DataFrame(keys, columns=["variant", "condition"])
    table[MEASURES[0]] = [70.0, 50.0, 71.0, 60.0]
    people = rng.normal(0, 5, 2000)  # the same for every variant: it cancels
    samples = {
        key: pd.DataFrame({MEASURES[0]: value + people + rng.normal(0, 1, 2000)})
        for key, value in zip(keys, table[MEASURES[0]], strict=True)
    }
    value, low, high = tables.paired_difference(table, samples, "full", "base", "natural")
    assert value == 10 and (low, high) == pytest.approx((10 - 2.77, 10 + 2.77), abs=0.3)
    more = tables.difference_in_differences(table, samples, "full", "base", "natural")
    assert more[0] == 9 and more[1:] == pytest.approx((9 - 3.92, 9 + 3.92), abs=0.4)
