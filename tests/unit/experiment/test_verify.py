import pandas as pd
import pytest

from ifr.experiment.verify import TOLERANCES, compare_table, verify


@pytest.fixture
def folders(tmp_path):
    for name in ("fresh", "reference"):
        (tmp_path / name / "tables").mkdir(parents=True)
        (tmp_path / name / "figures").mkdir()
        (tmp_path / name / "manifest.json").write_text("{}")
    return tmp_path / "fresh", tmp_path / "reference"


def write(folder, name="table_2", **columns):
    pd.DataFrame(columns).to_csv(folder / "tables" / f"{name}.csv", index=False)


def test_within_and_beyond_the_tolerance_of_a_unit(folders):
    fresh, reference = folders
    allowed = TOLERANCES["percent"]
    write(reference, tar_percent=[50.0, 60.0])
    write(fresh, tar_percent=[50.0, 60.0 + allowed])
    assert [row.ok for row in verify(fresh, reference)] == [True]
    write(fresh, tar_percent=[50.0, 60.0 + 1.01 * allowed])
    (row,) = verify(fresh, reference)
    assert not row.ok and row.column == "tar_percent" and row.worst == pytest.approx(1.01 * allowed)


def test_the_unit_column_decides_row_by_row(folders):
    fresh, reference = folders
    write(reference, unit=["pixels", "percent"], value=[10.0, 10.0])
    write(fresh, unit=["pixels", "percent"], value=[16.0, 16.0])
    (row,) = verify(fresh, reference)
    assert not row.ok and row.allowed == TOLERANCES["pixels"]


def test_timings_and_intervals_are_not_judged(folders):
    fresh, reference = folders
    write(reference, train_seconds=[1.0], low=[0.0], value_share=[0.5])
    write(fresh, train_seconds=[99.0], low=[9.0], value_share=[0.5])
    assert all(row.ok for row in verify(fresh, reference))


def test_what_is_missing_is_named(folders):
    fresh, reference = folders
    write(reference, value=[1.0])
    (reference / "figures" / "figure_5.png").touch()
    notes = {row.table: row.note for row in verify(fresh, reference)}
    assert notes == {"figure_5.png": "figure is missing", "table_2": "table is missing"}
    write(fresh, other=[1.0])
    table = (fresh / "tables" / "table_2.csv", reference / "tables" / "table_2.csv")
    assert compare_table(*table)[0].note == "columns differ"
    write(fresh, value=[1.0, 2.0])
    assert compare_table(*table)[0].note == "2 rows, the reference has 1"
    write(fresh, value=[float("nan")])
    assert not compare_table(*table)[0].ok


def test_an_unfinished_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"manifest\.json"):
        verify(tmp_path / "nothing", tmp_path)
