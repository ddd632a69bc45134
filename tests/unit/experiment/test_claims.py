import re

import pandas as pd
import pytest

from ifr.common.errors import UserError
from ifr.experiment import claims
from ifr.experiment.results import EVIDENCE_COLUMNS


def leave(folder, rows, number="07"):
    pd.DataFrame(rows, columns=EVIDENCE_COLUMNS).to_csv(
        folder / f"evidence_{number}.csv", index=False
    )


def test_ids_run_from_c01_to_c26():
    table = claims.paper_claims()
    assert table["id"].tolist() == [f"C{i:02d}" for i in range(1, 27)]
    assert all(re.match(r"(Fig|Table|Sec)", place) for place in table["place"])
    assert (table[["claim", "paper"]].map(len) > 3).all().all()


def test_one_failing_figure_fails_the_claim_and_silence_is_not_tested(tmp_path):
    leave(
        tmp_path,
        [
            ("C01", "d", 9.0, 8.0, 10.0, True, ""),
            ("C02", "a", 1.0, 0.5, 2.0, True, "n"),
            ("C02", "b", -1.0, -2.0, 0.5, False, "n"),
        ],
    )
    table = claims.collect(tmp_path).set_index("id")
    assert table.loc["C01", "verdict"] == claims.HOLDS
    assert table.loc["C02", "verdict"] == claims.FAILS
    assert table.loc["C02", "measured"] == "a: 1; b: -1"
    assert table.loc["C02", "spread"] == "[0.5, 2]; [-2, 0.5]"
    assert table.loc["C26", "verdict"] == claims.UNTESTED
    assert len(table) == 26


def test_evidence_of_several_notebooks_is_merged(tmp_path):
    leave(tmp_path, [("C01", "d", 9.0, 8.0, 10.0, True, "")], "07")
    leave(tmp_path, [("C01", "e", 9.0, 8.0, 10.0, False, "")], "08")
    assert claims.collect(tmp_path).set_index("id").loc["C01", "verdict"] == claims.FAILS
    assert len(claims.evidence_rows(tmp_path)) == 2


def test_missing_evidence_and_unknown_claims_are_refused(tmp_path):
    with pytest.raises(UserError, match="run the notebooks"):
        claims.collect(tmp_path)
    leave(tmp_path, [("C99", "d", 9.0, 8.0, 10.0, True, "")])
    with pytest.raises(UserError, match="C99"):
        claims.collect(tmp_path)
