"""Figures: every one draws from plain numbers, names its axes, and gives the same bytes twice."""

import re
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from ifr import figures
from ifr.figures import save_figure

rng = np.random.default_rng(3)
MODELS = ("Base", "SAD only", "SAD + FAD")
BOXES = {"forehead": (10, 10, 32, 12), "nose": (30, 55, 32, 12)}


def _faces(*count: int) -> np.ndarray:
    return rng.integers(0, 256, (*count, 24, 24, 3), dtype=np.uint8)


def _peaks() -> dict[str, np.ndarray]:
    return {model: rng.uniform(2, 20, (7, 3)) for model in MODELS}


def _rows(**columns) -> pd.DataFrame:
    return pd.DataFrame(dict(low=[1.0, 2.0], high=[3.0, 4.0]) | columns)


_OCCLUDER = np.zeros((2, 24, 24), bool)
_OCCLUDER[1, 5:12, 3:20] = True

DRAWN: dict[str, Callable[[], Figure]] = {
    "figure_1": lambda: figures.figure_1(
        _faces(2),
        rng.normal(size=(2, 3, 6, 6)),
        row_names=["clean", "scarf"],
        filter_names=["1", "2", "3"],
        occluders=_OCCLUDER,
    ),
    "figure_3": lambda: figures.figure_3(
        _faces(),
        24 * rng.random((5, 2)),
        [[0, 1, 2], [2, 3, 4]],
        (3, 4, 8, 3),
        _faces(2),
        24 * rng.random((2, 4, 2)),
        titles=["yaw 0", "yaw 9"],
    ),
    "figure_4": lambda: figures.figure_4({"closed": _faces(3), "AR": _faces(2)}),
    "figure_5": lambda: figures.figure_5(
        _faces(), _peaks(), _peaks(), dict(zip(MODELS, (6.9, 17.1, 18.7), strict=True))
    ),
    "figure_5_weight_sweep": lambda: figures.figure_5_weight_sweep(
        _rows(weight=[0, 1], d_bar_pixels=[2.0, 3.0])
    ),
    "figure_6": lambda: figures.figure_6(
        {part: {model: rng.random(7) for model in MODELS} for part in ("eye", "nose")}
    ),
    "figure_7": lambda: figures.figure_7(
        _faces(), 24 * rng.random((7, 2)), {part: rng.random(7) for part in BOXES}, BOXES
    ),
    "figure_8": lambda: figures.figure_8(
        _faces(3),
        rng.normal(size=(3, 2, 6, 6)),
        filter_names=["1", "2"],
        groups={"different people": 2, "one person": 1},
    ),
    "figure_9": lambda: figures.figure_9(
        _faces(2), _faces(2, 3), rng.random((2, 3)) > 0.5, parts=["mouth", "nose"]
    ),
    "figure_lfw": lambda: figures.figure_lfw(
        pd.DataFrame(
            [
                (title, condition, 80 + 2 * k, 1.5)
                for k, title in enumerate(("Base", "SAD only", "SAD + FAD, BlaS (t = 260)"))
                for condition in ("clean", "synthetic")
            ],
            columns=["title", "condition", "accuracy_percent", "accuracy_percent_std"],
        )
    ),
    "figure_table2": lambda: figures.figure_table2(
        _rows(
            method=["SAD", "FAD"],
            set=["clean"] * 2,
            measured_percent=[2, 3.0],
            paper_percent=[78.1, np.nan],
        )
    ),
    "figure_training_curves": lambda: figures.figure_training_curves(
        pd.DataFrame(
            dict(
                variant=["a", "a", "b", "b"],
                step=[10, 20, 10, 20],
                identity=[3, 2, 3, 1.0],
                features=[np.nan, np.nan, 2, 1],
            )
        )
    ),
    "figure_roc": lambda: figures.figure_roc({"base": (np.geomspace(1e-3, 1, 9), rng.random(9))}),
    "figure_contact_sheet": lambda: figures.figure_contact_sheet(_faces(5), columns=3),
    "figure_landmarks": lambda: figures.figure_landmarks(
        _faces(2), 24 * rng.random((2, 68, 2)), rng.random((2, 68)) > 0.3, titles=["yaw 0", "yaw 9"]
    ),
    "figure_quality_baselines": lambda: figures.figure_quality_baselines(
        _rows(baseline=["pixels", "landmarks"], accuracy_percent=[2, 3.0], chance_percent=[1, 1])
    ),
    "figure_explorer": lambda: figures.figure_explorer(
        _faces(2),
        {model: 24 * rng.random((2, 7, 2)) for model in MODELS[:2]},
        {model: rng.random((2, 7)) for model in MODELS[:2]},
        row_names=["eye", "scarf"],
    ),
    "figure_face_mesh": lambda: figures.figure_face_mesh(
        _faces(), 24 * rng.random((12, 2)), [[0, 1, 2], [3, 4, 5]]
    ),
    "figure_folded_triangles": lambda: figures.figure_folded_triangles(
        rng.normal(0, 30, 40),
        rng.integers(0, 9, 40),
        pd.DataFrame(dict(yaw=[5.0, 20.0], folded=[1.0, 4.0])),
    ),
    "figure_mask_coverage": lambda: figures.figure_mask_coverage(
        {kind: rng.random((24, 24)) for kind in ("GauD", "BlaS")}, 24 * rng.random((5, 2)), _faces()
    ),
    "figure_kept_magnitude": lambda: figures.figure_kept_magnitude(
        np.linspace(0, 1, 9),
        {"Base": np.linspace(0, 1, 9), "noise": np.linspace(0, 1, 9) ** 0.5},
        marks=[0.0417],
    ),
    "figure_similarity": lambda: figures.figure_similarity(
        {model: rng.random((6, 6)) for model in MODELS}, label="mean cos²", limits=(0, 0.5)
    ),
    "figure_peak_overlap": lambda: figures.figure_peak_overlap(
        pd.DataFrame(
            dict(smoothing=["3", "3", "5", "5"], distance=[0, 1] * 2, squared_cosine=[1, 0.4] * 2)
        )
    ),
    "figure_selected_features": lambda: figures.figure_selected_features(
        {model: rng.random(20) for model in MODELS}, keep=12
    ),
    "figure_explanation": lambda: figures.figure_explanation(
        [_faces(), rng.integers(0, 256, (30, 20, 3), dtype=np.uint8)],
        [rng.normal(size=(24, 24)), rng.normal(size=(30, 20))],
        _faces(2),
        np.where(rng.random((2, 24, 24)) < 0.1, np.nan, rng.normal(size=(2, 24, 24))),
        pd.DataFrame(rng.normal(size=(3, 2)), ["eyes", "nose", "off"], ["a.jpg", "b.jpg"]),
        sentence="Same person, score 0.62. " * 8,
    ),
    "figure_maps": lambda: figures.figure_maps(
        _faces(2),
        {"exact": rng.normal(size=(2, 6, 6)), "Grad-CAM": np.zeros((2, 24, 24))},
        row_names=["one", "two"],
    ),
    "figure_measures": lambda: figures.figure_measures(
        _rows(measure=["fall", "area"], name=["Base", "SAD"], value=[2, 3.0]),
        dict(fall="fall of the score", area="area under the curve"),
    ),
    "figure_evidence": lambda: figures.figure_evidence(
        _rows(
            claim=["C01", "C02", "C08"],
            quantity=["d̄ (pixels)", "TAR " * 30, "rank"],
            role=["claim", "control", "claim"],
            value=[2, -3.0, 1],
            low=[1.0, -4.0, np.nan],
            high=[3.0, -2.0, np.nan],
            margin=[0, 1, 3],
            test=["above", "below", "within"],
            verdict=["supported", "contradicted", "undecided"],
        ),
        pd.DataFrame(
            dict(
                claim=["C01", "C01", "C02", "C08"],
                quantity=["d̄ (pixels)"] * 2 + ["TAR " * 30, "rank"],
                value=[1.9, 2.1, -3, 1],
            )
        ),
    ),
}


def test_every_figure_is_drawn_here() -> None:
    offered = {name for name in vars(figures) if name.startswith("figure_")}
    assert set(DRAWN) == offered


@pytest.mark.parametrize("name", DRAWN)
def test_draws_with_words_and_without_pyplot(name: str) -> None:
    figure = DRAWN[name]()
    words = " ".join(
        text
        for ax in figure.axes
        for text in (ax.get_title(), ax.get_xlabel(), ax.get_ylabel(), *_ticks(ax))
    )
    if name != "figure_contact_sheet":  # titles are the caller's choice there
        assert re.search("[A-Za-z]{2}", words), f"no title and no label in {name}"
    figure.canvas.draw()


def _ticks(ax) -> list[str]:
    return [label.get_text() for label in ax.get_yticklabels()]


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("figure_5", ["x (pixels)", "y (pixels)", "standard deviation of the peak (pixels)"]),
        ("figure_6", ["filters, sorted by difference", "mean |feature difference|"]),
        ("figure_7", ["x (pixels)", "mean |feature"]),
        ("figure_roc", ["false accept rate", "true accept rate"]),
        ("figure_5_weight_sweep", ["weight of the response loss", "(pixels)"]),
        ("figure_1", ["response / the filter's largest", "clean", "scarf"]),
    ],
)
def test_axes_say_what_they_show(name: str, labels: list[str]) -> None:
    axes = DRAWN[name]().axes
    found = " | ".join(f"{ax.get_xlabel()} | {ax.get_ylabel()}" for ax in axes)
    assert all(label in found for label in labels), found


def test_figures_5_and_7_keep_image_coordinates_and_one_scale() -> None:
    for name in ("figure_5", "figure_7"):
        figure = DRAWN[name]()
        panels = [ax for ax in figure.axes if ax.images]
        assert {ax.get_xlim() for ax in panels} == {(0, 24)}
        assert {ax.get_ylim() for ax in panels} == {(24, 0)}, "y must point down"
        assert len({marks.get_clim() for ax in panels for marks in _scatters(ax)}) == 1


def _scatters(ax) -> list:
    return [item for item in ax.collections if item.get_array() is not None]


def test_figure_5_leaves_out_filters_without_a_peak() -> None:
    positive, negative = _peaks(), _peaks()
    positive["Base"][2] = np.nan
    figure = figures.figure_5(_faces(), positive, negative, dict.fromkeys(MODELS, 1.0))
    figure.canvas.draw()


def test_heat_maps_share_a_filter_scale_and_mark_the_occluder() -> None:
    response = np.zeros((2, 1, 6, 6))
    response[0, 0, 1, 1], response[1, 0, 2, 2] = -4, 2
    figure = figures.figure_1(
        _faces(2), response, row_names=["a", "b"], filter_names=["f"], occluders=_OCCLUDER
    )
    maps = [ax.images[1].get_array() for ax in figure.axes if len(ax.images) == 2]
    assert [float(np.abs(shown).max()) for shown in maps] == [1, 0.5]
    outlined = [bool(ax.collections) for ax in figure.axes[:4]]
    assert outlined == [False, False, True, True]


def test_pictures_undo_the_network_range() -> None:
    images = np.array([-1.0, 0.0, 1.0], np.float32).reshape(1, 3, 1, 1)
    assert figures.as_pictures(images).ravel().tolist() == [0, 128, 255]


def test_hits_are_told_by_words_not_by_colour_alone() -> None:
    same = np.array([[True, False]])
    figure = figures.figure_9(_faces(1), _faces(1, 2), same, parts=["nose"])
    assert [ax.get_xlabel() for ax in figure.axes] == ["", "✓ same person", "✗ other person"]


@pytest.mark.parametrize("name", ["figure_1", "figure_5", "figure_evidence"])
def test_saved_bytes_repeat(name: str, tmp_path, monkeypatch) -> None:
    global rng
    saved = []
    for when in ("1", "900000000"):
        rng = np.random.default_rng(0)
        monkeypatch.setenv("SOURCE_DATE_EPOCH", when)
        paths = save_figure(DRAWN[name](), tmp_path / when, name, alt="d̄ of three models")
        saved.append([path.read_bytes() for path in paths])
    assert saved[0][0] == saved[1][0], "the PNG differs between two saves"
    assert saved[0][1] == saved[1][1], "the PDF differs between two saves"
    assert sorted(p.name for p in (tmp_path / "1").iterdir()) == [f"{name}.pdf", f"{name}.png"]


def test_saved_picture_carries_its_alt_text_and_no_date(tmp_path) -> None:
    png, pdf = save_figure(DRAWN["figure_roc"](), tmp_path, "roc", alt="ROC of d̄")
    with Image.open(png) as image:
        assert image.info["Description"] == "ROC of d̄"
        assert image.info["dpi"] == pytest.approx((150, 150), abs=0.1)
        assert "Software" not in image.info
    assert b"CreationDate" not in pdf.read_bytes()


def test_a_failed_save_leaves_nothing(tmp_path, monkeypatch) -> None:
    figure = DRAWN["figure_roc"]()
    monkeypatch.setattr(figure, "savefig", lambda *_, **__: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        save_figure(figure, tmp_path, "roc", alt="x")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "alt", "says"), [("a", " ", "alt of 'a'"), ("a/b", "x", "name")])
def test_save_refuses_a_missing_alt_or_a_path(name, alt, says, tmp_path) -> None:
    with pytest.raises(ValueError, match=says):
        save_figure(Figure(), tmp_path, name, alt=alt)


@pytest.mark.parametrize(
    ("draw", "says"),
    [
        (
            lambda: figures.figure_1(
                _faces(2), np.zeros((3, 1, 6, 6)), row_names="ab", filter_names="a"
            ),
            r"responses must have shape \(2, F, h, w\)",
        ),
        (lambda: figures.figure_4({"a": np.zeros((2, 8, 8, 3))}), "uint8"),
        (
            lambda: figures.figure_5(
                _faces(), {"a": np.zeros((4, 2))}, {"a": np.zeros((4, 3))}, {"a": 1}
            ),
            r"positive\['a'\] must have shape \(K, 3\)",
        ),
        (
            lambda: figures.figure_7(
                _faces(), np.zeros((4, 2)), {"nose": np.zeros(5)}, {"nose": (1, 1, 2, 2)}
            ),
            r"differences\['nose'\]",
        ),
        (
            lambda: figures.figure_8(
                _faces(3), np.zeros((3, 1, 6, 6)), filter_names="a", groups={"x": 2}
            ),
            "groups must add up",
        ),
        (lambda: figures.figure_9(_faces(2), _faces(3, 2), [[1]], parts="ab"), "retrieved"),
        (lambda: figures.figure_landmarks(_faces(2), np.zeros((2, 68, 3)), []), "landmarks"),
        (
            lambda: figures.figure_training_curves(pd.DataFrame(dict(variant=["a"], step=[1]))),
            "column of losses",
        ),
    ],
)
def test_wrong_input_is_named(draw, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        draw()


def test_an_explained_pair_is_on_one_scale_in_every_frame() -> None:
    figure = DRAWN["figure_explanation"]()
    shown = [ax.images[-1] for ax in figure.axes if len(ax.images) == 2]
    assert len(shown) == 4 and len({image.get_clim() for image in shown}) == 1
    largest = max(float(np.nanmax(np.abs(image.get_array().filled(0)))) for image in shown)
    assert shown[0].get_clim() == pytest.approx((-largest, largest))
