"""The explorer: what is shown is what the networks answer; the panel moves, by hand and saved."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from benchmark import measured
from benchmark_cases import CASES, Settings

from ifr.apps.explorer import COVERS, Explorer, Setting
from ifr.apps.explorer_panel import (
    PairPanel,
    Panel,
    Tabs,
    bars_picture,
    heat_picture,
    in_words,
    slide,
)
from ifr.datasets import FaceSet
from ifr.experiment.run import start
from ifr.interpretation import explain_pair
from ifr.profiles import get_profile, get_variant
from ifr.training import build_network


@pytest.fixture(scope="module")
def run(smoke_sets, smoke_home):
    return start("13_test", profile="smoke")


@pytest.fixture(scope="module")
def explorer(run):
    networks = {
        name: build_network(run.profile, get_variant(name), 2, 0) for name in ("base", "full")
    }
    return Explorer(run, networks, people=3)


@pytest.mark.parametrize("cover", COVERS)
def test_a_view_holds_what_the_networks_answer(run, explorer, cover):
    setting = Setting(person=1, yaw=25.0, cover=cover, box=(40.0, 50.0, 20.0, 14.0))
    view = explorer.look(setting)
    bare = explorer.face(1, 25.0)
    faces = FaceSet("one", bare.image[None], np.zeros(1, np.int64), bare.landmarks[None])
    if cover == "rectangle":
        twin = run.occluded_images(faces, setting.box)
    else:
        worn = explorer.face(1, 25.0, cover)
        twin = run.images(FaceSet("worn", worn.image[None], faces.identity, worn.landmarks[None]))
    for title, model in explorer.models.items():
        with torch.no_grad():
            f, g = model.features(run.images(faces)), model.features(twin)
            maps = model.lmf_response(twin)[0]
        expected = (f / f.norm() - g / g.norm()).abs()[0]
        answer = view.answers[title]
        assert np.allclose(answer.change, expected.numpy(), atol=1e-6)
        assert np.allclose(answer.maps, maps.numpy(), atol=1e-6)
        k = 5
        row, column = np.unravel_index(np.abs(answer.maps[k]).argmax(), answer.maps[k].shape)
        side = 96 / answer.maps.shape[-1]
        assert answer.peaks[k].tolist() == [(column + 0.5) * side, (row + 0.5) * side]
        assert (answer.change.any() and answer.changed.any()) == (cover != "none")
        if cover == "none":
            assert answer.figures() == dict.fromkeys(answer.figures(), 0.0)
    assert (view.bare != view.covered).any() == (cover != "none")


def test_the_picture_of_the_rectangle_is_black_where_the_network_sees_black(explorer):
    view = explorer.look(Setting(box=(32.0, 60.0, 32.0, 16.0)))
    hidden = (view.covered != view.bare).any(axis=2)
    assert (view.covered[hidden] == 0).all() and 300 < hidden.sum() < 700


def test_people_are_held_out_and_a_face_is_rendered_once(run, explorer):
    trained = set(run.data("train").attributes["identity_seed"].tolist())
    assert len(explorer.seeds) == 3 and not trained & set(explorer.seeds)
    first = explorer.face(0, 10.0)
    assert explorer.face(0, 10) is first
    for yaw in range(-60, 60):
        explorer.face(2, float(yaw))
    again = explorer.face(0, 10.0)  # not held for ever
    assert again is not first and (again.image == first.image).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda e: e.look(Setting(cover="beard")), "occluder must be one of none, sunglasses"),
        (lambda e: e.look(Setting(yaw=75)), r"yaw must lie in -60..60 degrees, got 75"),
        (lambda e: e.look(Setting(person=3)), r"person must be 0\.\.2, got 3"),
        (lambda e: e.look(Setting(box=(90.0, 0.0, 20.0, 10.0))), "leaves the 96-pixel frontal"),
        (lambda e: Panel(e).set(tilt=3), "no control tilt: there are person, yaw, cover"),
    ],
)
def test_wrong_settings_are_refused(explorer, call, message):
    with pytest.raises(ValueError, match=message):
        call(explorer)


def pages_of(panel):
    """Return the HTML on show: of the faces, then of each network."""
    controls, *answers = panel.widget.children
    return [box.value for box in (controls.children[-1], *answers)]


def test_the_panel_answers_a_move_and_says_it_in_words(explorer):
    panel = Panel(explorer)
    pages, before = pages_of(panel), panel.view
    view = panel.set(x=50, y=60, yaw=-30)
    assert view is not before and view.setting.box[:2] == (50, 60) and view.setting.yaw == -30
    faces, *answers = now = pages_of(panel)
    assert "turned by -30°" in faces and "at 50, 60" in faces
    assert all(a != b for a, b in zip(pages, now, strict=True))
    for title, page in zip(explorer.models, answers, strict=True):
        assert f'alt="{in_words(view, title)}"' in page
    # The rectangle stays inside the frame, whatever the sliders say.
    assert panel.set(x=92, width=48).setting.box == (48, 60, 48, 12)


def test_the_filters_shown_are_the_steady_ones_or_those_that_changed_most(explorer):
    panel = Panel(explorer)
    assert all(len(set(chosen)) == 6 for chosen in explorer.steady.values())
    steady = pages_of(panel)
    panel.set(filters="whose feature changes most")
    assert pages_of(panel)[0] == steady[0] and pages_of(panel)[1:] != steady[1:]
    panel.set(filters="at six places of the face")
    assert pages_of(panel) == steady


def test_a_saved_panel_is_pictures_with_text(explorer):
    bundle = Panel(explorer)._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    alts = re.findall(r'<img src="data:image/png;base64,[^"]+" alt="([^"]+)"', bundle["text/html"])
    assert len(alts) == 3 and all(len(alt) > 20 for alt in alts)
    assert bundle["text/plain"].count("\n") == 2


def test_heat_and_bars_show_sign_and_size(explorer):
    ground = np.full((108, 108, 3), 200, np.uint8)
    orange, purple = (heat_picture(ground, np.full((12, 12), v), 2.0)[70, 70] for v in (2.0, -2.0))
    assert orange[0] > orange[2] and purple[2] > purple[0]
    nothing = heat_picture(ground, np.zeros((12, 12)), 0.0)
    assert np.abs(nothing.astype(int) - ground).max() <= 3
    answer = explorer.look(Setting()).answers["full"]
    bars = bars_picture(answer, float(answer.change.max()), 100)
    filled = (bars[:-1] != 255).any(axis=2).sum(axis=0)
    assert filled[0] == bars.shape[0] - 2 and (np.diff(filled.astype(int)) <= 0).all()


def test_the_benchmark_times_each_kind_of_move(smoke_sets, smoke_home):
    cases = CASES["explorer"](Settings(get_profile("smoke"), None, 0, 0))
    rows = [row for case in cases for row in measured(replace(case, turns=2))]
    kinds = ("rectangle", "turn", "face")
    moves = [f"a move of the {kind}, {tab}" for tab in ("one face", "two faces") for kind in kinds]
    assert [row.what for row in rows] == moves
    assert all(row.ours_ms > 0 for row in rows)


@pytest.mark.parametrize("cover", ["rectangle", "sunglasses"])
@pytest.mark.parametrize("other", [1, 2])
def test_a_pair_is_explained_as_its_faces_are_by_the_library(run, explorer, cover, other):
    setting = Setting(person=1, yaw=0.0, cover=cover, box=(16.0, 32.0, 32.0, 16.0))
    view = explorer.compare(setting, other)
    faces = FaceSet("two", np.zeros((2, 112, 112, 3), np.uint8), np.arange(2), None)
    faces.images[:, 8:104, 8:104] = view.faces
    beside = explorer.face(other, 0.0, other=True)
    bare = explorer.face(1, 0.0)
    assert (beside.image != bare.image).any()
    landmarks = np.stack([bare.landmarks, beside.landmarks])
    faces = replace(faces, landmarks=landmarks)
    uncovered = FaceSet("bare", bare.image[None], np.zeros(1, np.int64), landmarks[:1])
    for title, model in explorer.models.items():
        score = explain_pair(model, uncovered, faces[[1]], size=run.size).score
        assert view.bare[title].score == pytest.approx(score, abs=1e-6)
        found = view.covered[title]
        assert found.maps.sum(axis=(1, 2)) == pytest.approx([found.score] * 2, abs=1e-5)
        assert sum(found.parts().values()) == pytest.approx(found.score, abs=1e-5)
        if cover != "rectangle":  # whose edge is drawn in the network's pixels, not the reader's
            own = explain_pair(model, faces[[0]], faces[[1]], size=run.size)
            assert np.allclose(found.maps, own.maps, atol=1e-6)
            assert np.allclose(found.by_part, own.by_part, atol=1e-6)


def test_the_panel_of_pairs_says_the_score_and_the_threshold(explorer):
    panel = PairPanel(explorer)
    before = pages_of(panel)
    view = panel.set(other=1, y=60)
    assert view.other == 1 and view.setting.box[1] == 60
    faces, *answers = pages_of(panel)
    assert "at 16, 60" in faces and "another picture of person 2" in faces
    assert all(a != b for a, b in zip(before[1:], answers, strict=True))
    for title, page in zip(explorer.models, answers, strict=True):
        threshold = explorer.thresholds[title]
        assert f"score {view.covered[title].score:.2f} (threshold {threshold.value:.2f}" in page
        assert f"Without the cover the score is {view.bare[title].score:.2f}." in page


def test_both_panels_are_tabs_and_a_saved_notebook_has_the_pictures_of_both(explorer):
    tabs = Tabs(explorer)
    bundle = tabs._repr_mimebundle_()
    assert tabs.widget.titles == ("One face", "Two faces")
    alts = re.findall(r'<img src="data:image/png;base64,[^"]+" alt="([^"]+)"', bundle["text/html"])
    assert len(alts) == 6 and all(len(alt) > 20 for alt in alts)
    assert bundle["text/plain"].count("\n") == 5


def test_a_slider_of_pictures_shows_one_step_first_and_keeps_all(explorer):
    page = slide(PairPanel(explorer), "y", (8, 40, 72))
    steps = page.split('<div style="display: flex')[1:]
    assert len(steps) == 3 and page.count("<div hidden>") == 2 and 'max="2"' in page
    for value, step in zip((8, 40, 72), steps, strict=True):
        assert f"at 16, {value}" in step and step.count("<img ") == 3
    assert "<script" not in page and "http" not in page
