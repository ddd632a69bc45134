import numpy as np
import pandas as pd
import pytest

from ifr.common.errors import UserError
from ifr.experiment import claims
from ifr.experiment.claims import BY_SEED
from ifr.experiment.results import EVIDENCE_COLUMNS
from ifr.experiment.verify import (
    AGREES,
    DIFFERS,
    SHOWN,
    TOLERANCES,
    compare_table,
    conclusion,
    verify,
)

DBAR, FURTHER = "d̄, sad − base (pixels)", "d̄, full − sad (pixels)"
ERROR = "equal error rate, base − full (points)"


@pytest.fixture
def folders(tmp_path):
    for name in ("fresh", "reference"):
        (tmp_path / name / "tables").mkdir(parents=True)
        (tmp_path / name / "figures").mkdir()
        (tmp_path / name / "manifest.json").write_text("{}")
    return tmp_path / "fresh", tmp_path / "reference"


def write(folder, name="table_2", **columns):
    pd.DataFrame(columns).to_csv(folder / "tables" / f"{name}.csv", index=False)


def leave(folder, *rows):
    """Write evidence: rows of claim, quantity, value, low and high."""
    table = pd.DataFrame(rows, columns=EVIDENCE_COLUMNS)
    table.to_csv(folder / "tables" / "evidence_07.csv", index=False)


def by_seed(folder, rows):
    """Write the evidence of several seeds: rows of claim, quantity and the value of each seed."""
    table = pd.DataFrame(
        [(claim, quantity, value, value - 0.1, value + 0.1, seed)
         for claim, quantity, *values in rows for seed, value in enumerate(values)],
        columns=[*EVIDENCE_COLUMNS, "seed"],
    )  # fmt: skip
    table.to_csv(folder / "tables" / BY_SEED, index=False)


def test_within_and_beyond_the_tolerance_of_a_unit(folders):
    fresh, reference = folders
    allowed = TOLERANCES["percent"]
    write(reference, tar_percent=[50.0, 60.0])
    write(fresh, tar_percent=[50.0, 60.0 + allowed])
    assert [row.outcome for row in verify(fresh, reference)] == [AGREES]
    write(fresh, tar_percent=[50.0, 60.0 + 1.01 * allowed])
    (row,) = verify(fresh, reference)
    assert row.outcome == DIFFERS and row.what == "table_2 tar_percent"


def test_what_has_no_known_unit_is_shown_and_not_judged(folders):
    fresh, reference = folders
    write(reference, train_seconds=[1.0], low=[0.0], value_share=[0.5], tar_percent_std=[1.0])
    write(fresh, train_seconds=[99.0], low=[9.0], value_share=[0.5], tar_percent_std=[50.0])
    outcomes = {row.what.split()[1]: row.outcome for row in verify(fresh, reference)}
    assert outcomes == {"train_seconds": SHOWN, "low": SHOWN, "value_share": AGREES}


def test_what_is_missing_is_named(folders):
    fresh, reference = folders
    write(reference, value_share=[1.0])
    (reference / "figures" / "figure_5.png").touch()
    notes = {row.what: row.note for row in verify(fresh, reference)}
    assert notes == {"figure_5.png": "figure is missing", "table_2": "table is missing"}
    table = (fresh / "tables" / "table_2.csv", reference / "tables" / "table_2.csv")
    for columns in (
        dict(other=[1.0]),
        dict(value_share=[1.0, 2.0]),
        dict(value_share=[float("nan")]),
        dict(value_share=["one"]),
    ):
        write(fresh, **columns)
        assert [row.outcome for row in compare_table(*table)] == [DIFFERS]


def test_a_run_of_two_versions_does_not_agree(folders):
    fresh, reference = folders
    (fresh / "manifest.json").write_text('{"outdated": ["07_spreadness.ipynb"]}')
    [row] = verify(fresh, reference)
    assert row.outcome == DIFFERS and row.what == "07_spreadness.ipynb"


def test_rows_of_other_variants_are_not_compared(folders):
    fresh, reference = folders
    write(reference, variant=["base", "full"], eer_percent=[5.0, 4.0])
    write(fresh, variant=["full", "base"], eer_percent=[5.0, 4.0])
    assert [row.outcome for row in verify(fresh, reference)] == [DIFFERS]


def test_a_loss_called_id_does_not_say_what_a_row_is_about(folders):
    fresh, reference = folders
    write(reference, variant=["base"], id=[4.7])
    write(fresh, variant=["base"], id=[4.6])
    assert [row.outcome for row in verify(fresh, reference)] == [SHOWN]


def test_a_run_of_the_same_method_passes_and_says_so(folders):
    rng, fresh, reference = np.random.default_rng(0), *folders
    quantities = claims.criteria().index.tolist()
    size = rng.uniform(0.5, 4, len(quantities))  # each quantity has a noise of its own
    mean = 10 * size
    passed = 0
    for _ in range(40):
        by_seed(reference, [(*q, *(mean[i] + size[i] * rng.normal(size=5))) for i, q in
                            enumerate(quantities)])  # fmt: skip
        leave(fresh, *((*q, mean[i] + size[i] * rng.normal(), 0, 0) for i, q in
                       enumerate(quantities)))  # fmt: skip
        passed += conclusion(verify(fresh, reference)).startswith("reproduced: ")
    assert passed >= 36


def test_what_lies_beyond_the_noise_of_the_seeds_fails_and_names_its_claim(folders):
    fresh, reference = folders
    by_seed(reference, [("C01", DBAR, 9.0, 10.0, 11.0, 9.5, 10.5)])
    leave(fresh, ("C01", DBAR, 11.5, 11.4, 11.6))
    assert conclusion(verify(fresh, reference)).startswith("reproduced: ")
    leave(fresh, ("C01", DBAR, 3.0, 2.9, 3.1))
    rows = verify(fresh, reference)
    assert conclusion(rows) == "not reproduced: C01"
    assert [row.note for row in rows if row.outcome == DIFFERS] == ["3, the reference 10 ± 2"]


def test_order_and_verdict_turned_round_fail(folders):
    fresh, reference = folders
    by_seed(reference, [("C02", FURTHER, 2.0, 3.0, 4.0, 2.5, 3.5)])
    leave(fresh, ("C02", FURTHER, -0.2, -0.4, 0.1))
    (row,) = [row for row in verify(fresh, reference) if row.outcome == DIFFERS]
    assert "order of d̄ is turned round" in row.note
    by_seed(reference, [("C17", ERROR, 2.0, 3.0, 4.0, 2.5, 3.5)])
    leave(fresh, ("C17", ERROR, -2.0, -2.1, -1.9))
    rows = [row for row in verify(fresh, reference) if row.outcome == DIFFERS]
    assert rows[0].note == "-2, the reference 3 ± 2"
    assert conclusion(rows) == "not reproduced: C17"


def test_one_seed_may_be_less_decided_and_must_not_lack_what_every_seed_measured(folders):
    fresh, reference = folders
    errors = ("C17", ERROR, 2.0, 3.0, 4.0)
    by_seed(reference, [errors, ("C01", DBAR, 9.0, 10.0, 11.0)])
    leave(fresh, ("C17", ERROR, 1.5, -1.0, 4.0), ("C01", DBAR, 10.0, 9.0, 11.0))
    assert conclusion(verify(fresh, reference)).startswith("reproduced")
    leave(fresh, ("C17", ERROR, 3.0, 2.0, 4.0))
    assert conclusion(verify(fresh, reference)) == "not reproduced: C01"
    by_seed(reference, [errors, ("C01", DBAR, 9.0, 10.0)])
    assert conclusion(verify(fresh, reference)).startswith("reproduced")


def test_tables_that_no_training_decides_are_compared_to_the_digit(folders):
    fresh, reference = folders
    write(reference, "table_1", layer=["conv11", "conv12"], filters=[32, 64])
    write(fresh, "table_1", layer=["conv11", "conv12"], filters=[32, 64])
    assert [row.outcome for row in verify(fresh, reference)] == [AGREES]
    write(fresh, "table_1", layer=["conv11", "conv12"], filters=[32, 65])
    assert [row.outcome for row in verify(fresh, reference)] == [DIFFERS]


def test_the_order_of_dbar_is_the_references(folders):
    fresh, reference = folders
    variants = ["base", "sad", "full", "augmented"]
    write(reference, "figure_5", variant=variants, d_bar_pixels=[10.0, 18.7, 20.0, 11.0])
    write(fresh, "figure_5", variant=variants, d_bar_pixels=[11.0, 18.0, 19.0, 10.0])
    assert {row.outcome for row in verify(fresh, reference)} == {AGREES}
    write(fresh, "figure_5", variant=variants, d_bar_pixels=[10.0, 18.7, 18.0, 11.0])
    column, order = verify(fresh, reference)
    assert column.outcome == AGREES and order.outcome == DIFFERS
    assert order.note == "base < full < sad, the reference base < sad < full"


def test_an_unfinished_run_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"manifest\.json"):
        verify(tmp_path / "nothing", tmp_path)
