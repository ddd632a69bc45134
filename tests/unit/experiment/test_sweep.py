from types import SimpleNamespace

import pandas as pd
import pytest

from ifr.common import paths
from ifr.common.errors import OutOfTime
from ifr.experiment import sweep
from ifr.profiles import get_variant


def test_every_combination_changes_what_it_names_and_nothing_else():
    axes = sweep.parse_axes(["features=0,0.5", "t=130,320"])
    assert axes == {"features": [0.0, 0.5], "t": [130.0, 320.0]}
    found = sweep.settings_of(get_variant("full"), axes)
    assert [chosen for chosen, _ in found] == [
        {"features": f, "t": t} for f in (0.0, 0.5) for t in (130.0, 320.0)
    ]
    _, last = found[-1]
    assert last.weights.features == 0.5 and last.keep(320) == 320 and last.keep(32) == 32
    assert last.weights.response == get_variant("full").weights.response
    assert len({variant.name for _, variant in found}) == 4


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["gamma=1"], "cannot sweep 'gamma=1': expected NAME=VALUE"),
        (["filter_form=1"], "filter_form must be paper or released"),
        (["features"], "must be numbers"),
        (["features=a,b"], "must be numbers"),
        (["features=-1"], "not negative"),
        (["features=nan"], "finite"),
        (["t=0,130"], "between 1 and K = 320"),
        (["t=130", "t=260"], "t is given twice"),
    ],
)
def test_wrong_axes_are_refused(texts, message):
    with pytest.raises(ValueError, match=message):
        sweep.parse_axes(texts)


def test_the_form_of_a_loss_is_an_axis_like_any_other():
    axes = sweep.parse_axes(["filter_form=paper,released", "response_form=paper", "filters=1"])
    (_, first), (_, second) = sweep.settings_of(get_variant("full"), axes)
    assert (first.weights.filter_form, second.weights.filter_form) == ("paper", "released")
    assert first.weights.response_form == "paper" and first.weights.filters == 1.0
    assert first.name == "full_filter_form=paper_response_form=paper_filters=1"


def test_a_sweep_leaves_runs_and_a_table_and_goes_on_after_a_stop(smoke_sets):
    axes = {"response": [0.0, 1.0]}
    with pytest.raises(OutOfTime):
        sweep.sweep(axes, profile="smoke", seeds=(0, 1), name="sweep_test", max_minutes=0.0)
    table = sweep.sweep(axes, profile="smoke", seeds=(0, 1), name="sweep_test")
    folder = paths.results("smoke") / "sweep_test"
    runs = pd.read_csv(folder / "runs.csv")
    assert len(runs) == 4 and runs["network"].nunique() == 4
    assert table["response"].tolist() == [0.0, 1.0] and (table["seeds"] == 2).all()
    for name in sweep.MEASURES:
        own = runs[runs["response"] == 1.0][name]
        assert table[name][1] == pytest.approx(own.mean(), rel=1e-4)
        assert table[f"{name}_std"][1] == pytest.approx(own.std(ddof=1), rel=1e-3, abs=1e-3)
    assert pd.read_csv(folder / "table.csv").columns.tolist() == table.columns.tolist()
    assert "±" in sweep.in_words(table) and not list(folder.glob("*.partial"))


def test_settings_that_differ_little_are_different_networks():
    found = sweep.settings_of(get_variant("full"), {"features": [0.1, 0.10000001, 1.0]})
    assert len({variant.name for _, variant in found}) == 3
    assert found[-1][1].name == "full_features=1"


def test_a_sweep_stopped_in_the_middle_leaves_a_table_of_its_own_runs(smoke_sets, monkeypatch):
    monkeypatch.setattr(sweep, "measure", lambda *_: dict.fromkeys(sweep.MEASURES, 1.0))
    monkeypatch.setattr(sweep.Run, "train_together", lambda *_: None)
    keys = iter(["a", "b", "c"])
    monkeypatch.setattr(sweep.Run, "trained", lambda *_: SimpleNamespace(key=next(keys)))
    sweep.sweep({"features": [0.0]}, profile="smoke", seeds=(0,), name="sweep_cut")
    with pytest.raises(StopIteration):  # the keys are at an end
        sweep.sweep({"t": [130, 260, 320]}, profile="smoke", seeds=(0,), name="sweep_cut")
    folder = paths.results("smoke") / "sweep_cut"
    runs, table = (pd.read_csv(folder / name) for name in ("runs.csv", "table.csv"))
    assert runs["t"].tolist() == table["t"].tolist() == [130, 260]
    assert (runs["variant"] == "full").all()
    with pytest.raises(ValueError, match="cannot be called 'seed-0'"):
        sweep.sweep({"t": [130]}, profile="smoke", seeds=(0,), name="seed-0")


def test_one_seed_has_no_standard_deviation_and_none_is_refused(smoke_sets):
    runs = pd.DataFrame({"t": [1.0], "seed": [0]} | {name: [2.0] for name in sweep.MEASURES})
    assert "±" not in sweep.in_words(sweep.summary(runs, ["t"]))
    with pytest.raises(ValueError, match="at least one seed"):
        sweep.sweep({}, profile="smoke", seeds=())
