import numpy as np
import pandas as pd
import pytest

from ifr.run import Run, show_source, start


@pytest.fixture(scope="module")
def run(smoke_sets, smoke_home) -> Run:
    return start("99_test", profile="smoke")


def test_unknown_data_set_is_refused(run):
    with pytest.raises(ValueError, match=r"'train2': choose one of train, closed, validation"):
        run.data("train2")


def test_features_are_cached_by_network_data_and_occlusion(run):
    faces = run.data("ar")[:6]
    clean = run.features("base", faces)
    assert clean.shape == (6, run.profile.network.filters) and np.isfinite(clean).all()
    assert (run.features("base", faces) == clean).all()
    np.testing.assert_allclose(run.features("base", faces[2:4]), clean[2:4], rtol=1e-4, atol=1e-5)
    boxed = run.features("base", faces, occlusion=(30, 55, 32, 12))
    random = run.features("base", faces, occlusion="synthetic")
    assert (boxed != clean).any() and (random != boxed).any()
    kept = list(run.trained("base").folder.glob("features/*.npy"))
    assert len(kept) >= 4 and not list(run.folder.rglob("*.partial"))


def test_points_and_images_agree(run):
    faces = run.data("ar")[:3]
    scale = run.size / 96
    np.testing.assert_allclose(run.points(faces).numpy(), run.points96(faces) * scale, rtol=1e-5)
    covered = run.occluded_images(faces, (32, 60, 32, 12)) != run.images(faces)
    nose = run.points(faces)[:, 30].long()  # the tip of the nose lies in that box
    for mask, (x, y) in zip(covered, nose, strict=True):
        assert mask[:, y, x].any()


def test_a_table_is_written_whole_and_evidence_is_replaced_not_repeated(run):
    run.save_table(pd.DataFrame({"a": [1.23456789]}), "some")
    path = run.folder / "tables" / "some.csv"
    assert path.read_text() == "a\n1.23457\n"
    for value in (1.0, 2.0):
        run.evidence("C01", quantity="d", value=value, low=0, high=3, holds=True)
    rows = pd.read_csv(run.folder / "tables" / "evidence_99.csv")
    assert len(rows) == 1 and rows["value"][0] == 2.0
    for left in (path, run.folder / "tables" / "evidence_99.csv"):
        left.unlink()


def test_source_shown_in_a_notebook_is_the_librarys(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    show_source(start, Run.features)
    assert shown[0].data.startswith("def start(") and shown[1].data.startswith("def features(")
