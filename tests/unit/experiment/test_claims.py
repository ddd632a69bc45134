import numpy as np
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from scipy.stats import t as student

from ifr.common.errors import UserError
from ifr.experiment import claims
from ifr.experiment.claims import CONTRADICTED, SUPPORTED, UNDECIDED, UNTESTED
from ifr.experiment.results import EVIDENCE_COLUMNS, Results

DBAR, FURTHER = "d̄, sad − base (pixels)", "d̄, full − sad (pixels)"
CONTROL = "d̄, sad − lmf (pixels)"


def leave(runs, seed, *rows, number="07"):
    """Write the evidence of a seed: rows of claim, quantity, value, low and high."""
    tables = runs / f"seed-{seed}" / "tables"
    tables.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(rows, columns=EVIDENCE_COLUMNS)
    table.to_csv(tables / f"evidence_{number}.csv", index=False)
    return tables.parent


def of_seeds(values, quantity=DBAR, claim="C01", half=1.0):
    rows = [(claim, quantity, v, v - half, v + half, seed) for seed, v in enumerate(values)]
    return pd.DataFrame(rows, columns=[*EVIDENCE_COLUMNS, "seed"])


def test_every_criterion_is_of_a_known_claim_and_names_a_test_a_margin_and_a_reason():
    table, known = claims.criteria(), claims.paper_claims()
    assert set(table.index.get_level_values("claim")) <= set(known["id"])
    assert table.index.is_unique and known["id"].is_unique
    assert set(table["test"]) == {"above", "below", "within"}
    assert set(table["role"]) == {"claim", "control"}
    assert (table.loc[table["test"] == "within", "margin"] > 0).all()
    assert table[["margin", "why"]].notna().all().all()
    judged = table[table["role"] == "claim"].index.get_level_values("claim")
    assert set(known["id"]) == set(judged), "a claim that nothing could support"


@pytest.mark.parametrize(
    ("interval", "test", "margin", "verdict"),
    [
        ((1, 3), "above", 0, SUPPORTED),
        ((-1, 3), "above", 0, UNDECIDED),
        ((-3, -1), "above", 0, CONTRADICTED),
        ((1, 3), "above", 2, UNDECIDED),
        ((1, 3), "below", 4, SUPPORTED),
        ((5, 6), "below", 4, CONTRADICTED),
        ((-1, 2), "within", 3, SUPPORTED),
        ((-1, 4), "within", 3, UNDECIDED),
        ((4, 5), "within", 3, CONTRADICTED),
        ((-9, -4), "within", 3, CONTRADICTED),
        ((np.nan, np.nan), "above", 0, UNDECIDED),
    ],
)
def test_a_verdict_needs_the_whole_interval(interval, test, margin, verdict):
    assert claims.judge(*interval, test, margin) == verdict


def test_the_interval_holds_the_noise_of_seeds_and_of_people():
    values = np.array([8.0, 10.0, 12.0])
    row = claims.pooled(of_seeds(values, half=3.0)).iloc[0]
    over_seeds = student.ppf(0.975, 2) * values.std(ddof=1) / np.sqrt(3)
    assert row.value == 10 and row.seeds == 3
    assert row.high - row.value == pytest.approx(np.hypot(over_seeds, 3.0))


def test_an_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        people = rng.normal(0, 1.0)  # the same test people for every seed
        values = 5 + people + rng.normal(0, 2.0, size=5)
        row = claims.pooled(of_seeds(values, half=1.96)).iloc[0]
        hits += row.low <= 5 <= row.high
    assert 0.93 <= hits / 400 <= 0.995


def test_one_seed_alone_decides_nothing_and_takes_its_noise_from_the_reference():
    one = of_seeds([10.0])
    assert claims.pooled(one).iloc[0].verdict == UNDECIDED
    quiet, noisy = of_seeds([9.0, 10.0, 11.0]), of_seeds([0.0, 10.0, 20.0])
    assert claims.pooled(one, quiet).iloc[0].verdict == SUPPORTED
    assert claims.pooled(one, noisy).iloc[0].verdict == UNDECIDED
    alone = claims.pooled(one, quiet).iloc[0]
    reach = np.hypot(student.ppf(0.975, 2) * 1.0, 1.0)
    assert alone.high - alone.value == pytest.approx(reach)
    assert claims.pooled(one, of_seeds([1.0], FURTHER, "C02")).iloc[0].verdict == UNDECIDED


def test_controls_are_judged_and_do_not_enter_the_verdict():
    evidence = pd.concat([of_seeds([9.0, 10.0, 11.0]), of_seeds([-9.0, -10.0, -11.0], CONTROL)])
    rows = claims.pooled(evidence)
    assert rows.set_index("quantity")["verdict"].to_dict() == {
        DBAR: SUPPORTED,
        CONTROL: CONTRADICTED,
    }
    table = claims.verdicts(rows).set_index("id")
    assert table.loc["C01", "verdict"] == SUPPORTED
    assert table.loc["C02", "verdict"] == UNTESTED


def test_one_contradicted_quantity_contradicts_and_one_undecided_leaves_it_open():
    near, far = [f"TAR at FAR .01, {c}: full − full_t320 (points)" for c in ("clean", "synthetic")]
    sure = of_seeds([4.0, 5.0, 6.0], near, "C07")
    for values, verdict in (([-5.0, 0.0, 5.0], UNDECIDED), ([-4.0, -5.0, -6.0], CONTRADICTED)):
        rows = claims.pooled(pd.concat([sure, of_seeds(values, far, "C07")]))
        assert claims.verdicts(rows).set_index("id").loc["C07", "verdict"] == verdict


def test_power_is_the_chance_to_support_an_effect_of_the_papers_size():
    rows = claims.pooled(of_seeds([1.0, 2.0, 3.0], FURTHER, "C02", half=0.5)).iloc[0]
    error = (rows.high - rows.value) / 1.959964
    draws = np.random.default_rng(0).normal(1.6, error, 200_000)
    assert rows.power == pytest.approx((draws > rows.high - rows.value).mean(), abs=0.01)
    same = "TAR at FAR .01, clean: full_t130 − full (points)"
    precise = claims.pooled(of_seeds([0.0, 0.01, -0.01], same, "C08", half=0.1)).iloc[0]
    assert precise.power > 0.99 and precise.paper_decides == UNDECIDED


def test_the_lowest_seed_shows_all_seeds_and_the_others_themselves(tmp_path):
    folders = [leave(tmp_path, seed, ("C01", DBAR, 9.0 + seed, 8.0, 12.0)) for seed in (0, 1, 10)]
    assert claims.evidence_by_seed(folders[0])["seed"].tolist() == [0, 1, 10]
    assert claims.evidence_by_seed(folders[1])["seed"].tolist() == [1]
    leave(tmp_path, 1, ("C02", FURTHER, 1.0, 0.0, 2.0), number="08")
    assert len(claims.evidence_by_seed(folders[0])) == 4
    assert len(claims.evidence_by_seed(folders[0], "08")) == 1
    with pytest.raises(UserError, match="run the notebooks"):
        claims.evidence_by_seed(tmp_path / "seed-0" / "seed-3")


def test_evidence_without_a_criterion_is_refused(tmp_path):
    results = Results(name="07_spreadness", folder=tmp_path / "seed-0")
    with pytest.raises(UserError, match="no criterion"):
        results.evidence("C01", quantity="d̄ (pixels)", value=1.0, low=0.0, high=2.0)
    with pytest.raises(ValueError, match="nan is no evidence"):
        results.evidence("C01", quantity=DBAR, value=np.nan, low=0.0, high=2.0)
    results.evidence("C01", quantity=DBAR, value=1.0, low=0.0, high=2.0)
    results.evidence("C01", quantity=DBAR, value=3.0, low=0.0, high=4.0)
    assert claims.evidence_by_seed(results.folder)["value"].tolist() == [3.0]


def test_a_sentence_tells_verdict_quantities_intervals_seeds_and_controls():
    rows = pd.concat([of_seeds([9.0, 10.0, 11.0]), of_seeds([3.0, 3.1, 3.2], CONTROL)])
    said = claims.in_words(claims.pooled(rows))["C01"]
    assert said.startswith("**C01 supported** (3 seeds): d̄, SAD only − Base +10.0 [7.")
    assert "] pixels. Controls: d̄, SAD only − LMF only +3.1 [" in said
    assert said.endswith("supported.")
    alone = claims.in_words(claims.pooled(of_seeds([9.0])))["C01"]
    assert (
        alone == "**C01 undecided** (one seed): d̄, SAD only − Base +9.0 pixels (interval unknown)."
    )
    control = claims.in_words(claims.pooled(of_seeds([3.0, 3.1, 3.2], CONTROL)))["C01"]
    assert control.startswith("**C01** (3 seeds): Controls: d̄, SAD only − LMF only")


def test_a_notebook_says_results_where_they_stand_and_heads_itself_with_them(tmp_path):
    shell = InteractiveShell.instance()
    try:
        with capture_output() as shown:
            results = Results(name="07_spreadness", folder=tmp_path / "seed-0")
            results.head()
            results.evidence("C01", quantity=DBAR, value=9.0, low=8.0, high=10.0)
            results.report("C01", "C02")
            results.found("One.", "Two.")
            results.found("One.")
    finally:
        shell.clear_instance()
    said = [output.data["text/markdown"] for output in shown.outputs]
    assert "appears here" in said[0] and said[1].startswith("**C01 undecided**")
    assert said[-1].splitlines()[2:] == ["* One.", "* Two."]


def test_the_verdicts_of_other_runs_stand_beside(tmp_path, monkeypatch):
    monkeypatch.setenv("IFR_HOME", str(tmp_path))
    for name in ("results", "data", "models", "notebooks"):
        (tmp_path / name).mkdir()
    folder = tmp_path / "results" / "photographs" / "seed-0"
    folder.mkdir(parents=True)
    (folder / "tables").mkdir()
    of_seeds([1.0]).to_csv(folder / "tables" / claims.BY_SEED, index=False)
    pd.DataFrame(dict(id=["C01"], verdict=[CONTRADICTED])).to_csv(folder / "claims.csv")
    here = claims.verdicts(claims.pooled(of_seeds([9.0, 10.0, 11.0])))
    beside = claims.beside_others(here, "classroom").set_index("id")
    assert beside.loc["C01", ["here", "photographs"]].tolist() == [SUPPORTED, CONTRADICTED]
    assert beside.loc["C02", "photographs"] == UNTESTED
    assert "classroom" not in beside and "photographs" not in claims.other_verdicts("photographs")
