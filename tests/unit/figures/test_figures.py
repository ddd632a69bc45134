"""Figures: every one draws from plain numbers, names its axes, and gives the same bytes twice."""

import re
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from ifr import figures
from ifr.figures import save_figure, style
from ifr.mesh import FaceMesh
from ifr.profiles import VARIANTS

rng = np.random.default_rng(3)
MODELS = ("base", "sad", "full")
BOXES = {"forehead": (10, 10, 32, 12), "nose": (30, 55, 32, 12)}
OUTLINE = [(1, 1), (23, 1), (23, 23), (1, 23)]


def _faces(*count: int) -> np.ndarray:
    return rng.integers(0, 256, (*count, 24, 24, 3), dtype=np.uint8)


def _peaks() -> dict[str, np.ndarray]:
    return {model: rng.uniform(2, 20, (7, 3)) for model in MODELS}


def _rows(**columns) -> pd.DataFrame:
    return pd.DataFrame(dict(low=[1.0, 2.0], high=[3.0, 4.0]) | columns)


_OCCLUDER = np.zeros((2, 24, 24), bool)
_OCCLUDER[1, 5:12, 3:20] = True

DRAWN: dict[str, Callable[[], Figure]] = {
    "figure_2": lambda: figures.figure_2(_faces(), _faces()),
    "figure_3": lambda: figures.figure_3(
        _faces(),
        FaceMesh.frontal(24),
        {"eye": (3, 4, 8, 3), "cheek": (9, 4, 8, 3)},
        _faces(2),
        {part: 24 * rng.random((2, 4, 2)) for part in ("eye", "cheek")},
        ["yaw 0", "yaw 9"],
    ),
    "figure_faces": lambda: figures.figure_faces({"closed": _faces(3), "(c) AR": _faces(2)}),
    "figure_5": lambda: figures.figure_5(
        _faces(),
        _peaks(),
        _peaks(),
        dict(zip(MODELS, (6.9, 17.1, 18.7), strict=True)),
        outline=OUTLINE,
    ),
    "figure_7": lambda: figures.figure_7(
        _faces(), 24 * rng.random((7, 2)), {part: rng.random(7) for part in BOXES}, BOXES
    ),
    "figure_9": lambda: figures.figure_9(
        _faces(2),
        _faces(2, 3),
        rng.random((2, 3)) > 0.5,
        1 + 8 * rng.random((2, 4, 4)),
        parts=["mouth", "nose"],
    ),
    "figure_curves": lambda: figures.figure_curves(
        {
            "eye occluded": {model: np.sort(rng.random((4, 7))) for model in MODELS},
            "nose occluded": {"3×3": rng.random((2, 7)), "base, natural": rng.random((2, 7))},
        },
        x="filters, sorted by difference",
        y="mean |feature difference|",
        marks={0.5: "τ"},
        ylim=(0, None),
    ),
    "figure_claims": lambda: figures.figure_claims(
        pd.DataFrame(
            dict(
                id=["C01", "C02", "E01"],
                claim=["spreads", "spreads further " * 9, "names"],
                here=["supported", "contradicted", "undecided"],
                second_backbone=["not tested here", "supported", "supported"],
            )
        )
    ),
    "figure_landmarks": lambda: figures.figure_landmarks(
        _faces(2), 24 * rng.random((2, 68, 2)), rng.random((2, 68)) > 0.3, titles=["yaw 0", "yaw 9"]
    ),
    "figure_explorer": lambda: figures.figure_explorer(
        _faces(2),
        {model: 24 * rng.random((2, 7, 2)) for model in MODELS[:2]},
        {model: rng.random((2, 7)) for model in MODELS[:2]},
        row_names=["eye", "scarf"],
    ),
    "figure_face_mesh": lambda: figures.figure_face_mesh(_faces(), FaceMesh.frontal(24)),
    "figure_mask_coverage": lambda: figures.figure_mask_coverage(
        {kind: rng.random((24, 24)) for kind in ("GauD", "BlaS")}, 24 * rng.random((5, 2)), _faces()
    ),
    "figure_similarity": lambda: figures.figure_similarity(
        {model: rng.random((6, 6)) for model in MODELS}, label="mean cos²", limits=(0, 0.5)
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
        {"exact": rng.uniform(-1, 1, (2, 6, 6)), "Grad-CAM": np.zeros((2, 24, 24))},
        row_names=["clean", "scarf"],
        shares=True,
        occluders=_OCCLUDER,
    ),
    "figure_measures": lambda: figures.figure_measures(
        _rows(measure=["fall", "area"], name=["base", "sad"], value=[2, 3.0], series=["a", "b"]),
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
    if name not in ("figure_2", "figure_claims"):  # whose words stand in them
        assert re.search("[A-Za-z]{2}", words), f"no title and no label in {name}"
    figure.canvas.draw()


def _ticks(ax) -> list[str]:
    return [label.get_text() for label in ax.get_yticklabels()]


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("figure_5", ["x (pixels)", "y (pixels)", "scatter of the peak (pixels)"]),
        ("figure_curves", ["filters, sorted by difference", "mean |feature difference|"]),
        ("figure_7", ["x (pixels)", "mean |feature"]),
        ("figure_maps", ["response / the filter's largest", "clean", "scarf"]),
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
    positive["base"][2] = np.nan
    spreadness = dict.fromkeys(MODELS, 1.0)
    figure = figures.figure_5(_faces(), positive, negative, spreadness, outline=OUTLINE)
    figure.canvas.draw()


def test_figure_5_crosses_what_lies_off_the_face() -> None:
    peaks = {"sad": np.array([[5.0, 5, 9], [40, 40, 9]])}
    figure = figures.figure_5(_faces(), peaks, peaks, {"sad": 1.0}, outline=OUTLINE)
    dots, crosses = figure.axes[0].collections
    assert dots.get_offsets().tolist() == [[5, 5]] and crosses.get_offsets().tolist() == [[40, 40]]


def test_a_variant_has_one_look_by_name_and_by_title() -> None:
    for name, one in VARIANTS.items():
        assert style.variant(name) == style.variant(one.title)
        assert style.variant(name).title == one.title
    looks = [style.variant(name)[1:] for name in VARIANTS]
    assert len({colour for colour, *_ in looks}) == len(looks)
    assert style.curve("base, natural")["color"] == style.curve("base")["color"]
    assert style.curve("base, natural")["linestyle"] != style.curve("base, clean")["linestyle"]
    assert style.curve("full")["linewidth"] == max(style.curve(n)["linewidth"] for n in VARIANTS)


def test_no_figure_is_wider_than_a_page() -> None:
    figure = figures.figure_faces({"many": _faces(30)})
    assert figure.get_figwidth() <= style.WIDTH


def test_a_quantity_is_told_by_titles_and_in_the_digits_of_its_unit() -> None:
    assert style.titled("rank-1, clean: full_t320 − base") == "rank-1, clean: Full, t = K − Base"
    assert style.measured(2.345, -0.04, 5.0, "points") == "+2.3 [0.0, 5.0]"
    assert style.measured(-0.0123, -0.02, -0.004, "share") == "−0.012 [−0.020, −0.004]"
    assert style.measured(-3.0, np.nan, np.nan, "pixels") == "−3.0"


def test_evidence_has_a_scale_for_each_unit_and_each_claim_without_one() -> None:
    figure = DRAWN["figure_evidence"]()
    assert [ax.get_xlabel() for ax in figure.axes] == ["pixels", "no unit", "no unit"]


def test_words_beside_the_evidence_do_not_touch() -> None:
    many = [f"TAR at FAR .01, synthetic, of network {k}: {'full − augmented ' * 6}" for k in "abc"]
    named: dict = dict(claim=["C01"] * 3, quantity=[f"{one} (points)" for one in many])
    ends: dict = dict(value=[1.0] * 3, low=[0.0] * 3, high=[2.0] * 3)
    judged: dict = dict(margin=[0] * 3, test=["above"] * 3, verdict=["supported"] * 3)
    figure = figures.figure_evidence(
        _rows(**named, role=["claim"] * 3, **ends, **judged),
        pd.DataFrame(named | dict(value=ends["value"])),
    )
    figure.canvas.draw()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert all("\n" in label.get_text() for label in figure.axes[0].get_yticklabels())
    assert all(upper.y0 > lower.y1 for upper, lower in pairwise(boxes))


def test_shares_have_one_scale_and_mark_the_occluder() -> None:
    response = np.zeros((2, 6, 6))
    response[0, 1, 1], response[1, 2, 2] = -1, 0.5
    figure = figures.figure_maps(
        _faces(2), {"f": response}, row_names=["a", "b"], shares=True, occluders=_OCCLUDER
    )
    shown = [ax.images[1] for ax in figure.axes if len(ax.images) == 2]
    assert {image.get_clim() for image in shown} == {(-1, 1)}
    assert [bool(ax.collections) for ax in figure.axes[:4]] == [False, False, True, True]
    assert "0.50" in [text.get_text() for ax in figure.axes for text in ax.texts]


def test_pictures_undo_the_network_range() -> None:
    images = np.array([-1.0, 0.0, 1.0], np.float32).reshape(1, 3, 1, 1)
    assert figures.as_pictures(images).ravel().tolist() == [0, 128, 255]


def test_hits_are_told_by_words_not_by_colour_alone() -> None:
    same = np.array([[True, False]])
    figure = figures.figure_9(_faces(1), _faces(1, 2), same, np.ones((1, 3, 4)), parts=["nose"])
    assert [ax.get_xlabel() for ax in figure.axes] == ["", "✓ same person", "✗ other person"]


@pytest.mark.parametrize("name", ["figure_2", "figure_5", "figure_evidence"])
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
    png, pdf = save_figure(DRAWN["figure_curves"](), tmp_path, "roc", alt="ROC of d̄")
    with Image.open(png) as image:
        assert image.info["Description"] == "ROC of d̄"
        assert image.info["dpi"] == pytest.approx((150, 150), abs=0.1)
        assert "Software" not in image.info
    assert b"CreationDate" not in pdf.read_bytes()


def test_a_failed_save_leaves_nothing(tmp_path, monkeypatch) -> None:
    figure = DRAWN["figure_curves"]()
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
            lambda: figures.figure_maps(_faces(2), {"f": np.zeros((3, 6, 6))}, row_names="ab"),
            r"maps\['f'\] must have shape \(2, h, w\)",
        ),
        (
            lambda: figures.figure_maps(
                _faces(1), {"f": np.full((1, 6, 6), 2.0)}, row_names="a", shares=True
            ),
            "shares within -1..1, got 2",
        ),
        (lambda: figures.figure_faces({"a": np.zeros((2, 8, 8, 3))}), "uint8"),
        (
            lambda: figures.figure_5(
                _faces(), {"a": np.zeros((4, 2))}, {"a": np.zeros((4, 3))}, {"a": 1}, outline=[]
            ),
            r"positive\['a'\] must have shape \(K, 3\)",
        ),
        (
            lambda: figures.figure_7(
                _faces(), np.zeros((4, 2)), {"nose": np.zeros(5)}, {"nose": (1, 1, 2, 2)}
            ),
            r"differences\['nose'\]",
        ),
        (lambda: figures.figure_9(_faces(2), _faces(3, 2), [[1]], [], parts="ab"), "retrieved"),
        (lambda: figures.figure_landmarks(_faces(2), np.zeros((2, 68, 3)), []), "landmarks"),
        (
            lambda: figures.figure_claims(pd.DataFrame(dict(id=["C1"], claim=["x"], here=["yes"]))),
            "verdicts supported, contradicted",
        ),
        (lambda: figures.figure_evidence(pd.DataFrame(index=range(41)), pd.DataFrame()), "40 rows"),
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
