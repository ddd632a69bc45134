import pandas as pd
import pytest

from ifr.common.errors import UserError
from ifr.experiment.results import EVIDENCE_COLUMNS
from ifr.experiment.verify import AGREES, DIFFERS, SHOWN, TOLERANCES, compare_table, verify


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
    table = pd.DataFrame([(*row, True, "") for row in rows], columns=EVIDENCE_COLUMNS)
    table.to_csv(folder / "tables" / "evidence_07.csv", index=False)


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


def test_a_verdict_that_flips_is_a_difference(folders):
    fresh, reference = folders
    claims = pd.DataFrame(dict(id=["C01", "C02"], verdict=["holds", "holds"]))
    claims.to_csv(reference / "claims.csv", index=False)
    assert [row.note for row in verify(fresh, reference)] == ["table is missing"]
    claims.to_csv(fresh / "claims.csv", index=False)
    assert {row.outcome for row in verify(fresh, reference)} == {AGREES}
    claims.assign(verdict=["holds", "does not hold"]).to_csv(fresh / "claims.csv", index=False)
    (row,) = [row for row in verify(fresh, reference) if row.outcome == DIFFERS]
    assert row.what == "claim C02" and "“does not hold”" in row.note


@pytest.mark.parametrize(
    ("value", "low", "high", "outcome"),
    [
        (4.1, 4.05, 4.15, AGREES),  # within the reference's interval
        (5.0, 3.0, 7.0, AGREES),  # its own interval holds the reference
        (6.0, 5.9, 6.1, AGREES),  # apart, but within the pixels allowed
        (9.0, 8.9, 9.1, DIFFERS),
        (-1.0, -1.1, -0.9, DIFFERS),  # the sign
    ],
)
def test_evidence_is_judged_by_intervals_then_sign_then_unit(folders, value, low, high, outcome):
    fresh, reference = folders
    leave(reference, ("C02", "d̄, full − SAD (pixels)", 4.0, 3.9, 4.2))
    leave(fresh, ("C02", "d̄, full − SAD (pixels)", value, low, high))
    assert [row.outcome for row in verify(fresh, reference)] == [outcome]


def test_evidence_without_a_unit_is_judged_by_its_sign_alone(folders):
    fresh, reference = folders
    leave(reference, ("C18", "eye", 0.02, 0.01, 0.03), ("C18", "nose", 0.02, -0.01, 0.03))
    leave(fresh, ("C18", "eye", 0.09, 0.08, 0.1), ("C18", "nose", -0.05, -0.06, -0.04))
    assert [row.outcome for row in verify(fresh, reference)] == [SHOWN, SHOWN]
    leave(fresh, ("C18", "eye", -0.09, -0.1, -0.08))
    assert [row.outcome for row in verify(fresh, reference)] == [DIFFERS, DIFFERS]


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
