"""The explorer on the screen: ipywidgets in a live notebook, a picture everywhere else.

Pictures are put together from arrays: a Matplotlib figure would take longer than all the rest.
"""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import cv2
import ipywidgets as widgets
import numpy as np
from matplotlib import colormaps
from PIL import Image, ImageColor, ImageDraw, ImageFont

from ifr import interpretation
from ifr.apps.explorer import COVERS, RECTANGLE, Answer, Explorer, PairView, Setting, View
from ifr.common.errors import UserError
from ifr.figures.style import MAGNITUDE, PALETTE, SIGNED, picture_html
from ifr.landmarks import CROP_SIZE

TILE = 108  # side of a face on the screen, pixels: both networks fit beside the controls
GAP = 6
TITLE = 16  # height of a line of text
BARS = TILE - TITLE  # height of the bar chart, which has two lines above it
COLUMNS = 3
SPREAD, CHANGED = "at six places of the face", "whose feature changes most"
PAIR = "covered face", "other picture"
TABS = "One face", "Two faces"
BLUE, ORANGE = map(ImageColor.getrgb, PALETTE[:2])
SENTENCE = (
    "{changed_percent:.0f} % of the features change by more than a tenth of the most changed one, "
    "mean change {mean_change:.4f}; peaks move by {peaks_moved_pixels:.1f} pixels on average."
)
FONT = ImageFont.load_default(12)
SHADES = np.linspace(0, 1, 257)  # an odd number, so that 0 has the middle one
SIGNED_TABLE = SIGNED(SHADES).astype(np.float32)
MAGNITUDE_TABLE = colormaps[MAGNITUDE](SHADES).astype(np.float32)


def face_picture(face: np.ndarray) -> np.ndarray:
    """Return a face (96, 96, 3) at the size of a tile."""
    return cv2.resize(face, (TILE, TILE), interpolation=cv2.INTER_CUBIC)


def pale(face: np.ndarray) -> np.ndarray:
    """Return a face as pale grey, the ground of coloured marks, (TILE, TILE, 3) uint8."""
    grey = 0.3 + 0.7 * cv2.cvtColor(face_picture(face), cv2.COLOR_RGB2GRAY) / 255
    return np.repeat((255 * grey).astype(np.uint8)[:, :, None], 3, axis=2)


def heat_picture(ground: np.ndarray, response: np.ndarray, limit: float) -> np.ndarray:
    """Lay a signed response map (h, w) over a ground: orange positive, purple negative."""
    scaled = cv2.resize(response / (limit or 1.0), (TILE, TILE), interpolation=cv2.INTER_LINEAR)
    colour = SIGNED_TABLE[np.rint(128 * (scaled.clip(-1, 1) + 1)).astype(int)]
    share = colour[..., 3:]
    return (ground * (1 - share) + 255 * colour[..., :3] * share).astype(np.uint8)


def peaks_picture(ground: np.ndarray, answer: Answer, top: float) -> np.ndarray:
    """Mark each filter's peak: the more its feature changed, the larger and the brighter."""
    drawn, fine = ground.copy(), 4  # OpenCV takes parts of a pixel as bits of an integer
    strength = answer.change / (top or 1.0)
    for k in strength.argsort():  # the largest on top
        centre = [int(v) for v in answer.peaks[k] * (TILE / CROP_SIZE * 2**fine)]
        radius = int((2 + 3.5 * strength[k]) * 2**fine)
        colour = MAGNITUDE_TABLE[int(256 * min(strength[k], 1)), :3] * 255
        cv2.circle(drawn, centre, radius, colour.tolist(), -1, cv2.LINE_AA, fine)
        cv2.circle(drawn, centre, radius, (255, 255, 255), 1, cv2.LINE_AA, fine)
    return drawn


def bars_picture(answer: Answer, top: float, width: int) -> np.ndarray:
    """Draw the change of every feature, falling; orange above a tenth of the largest."""
    order = answer.change.argsort()[::-1]
    columns = order[np.arange(width) * len(order) // width]  # the filter that each column shows
    heights = ((BARS - 2) * answer.change[columns] / (top or 1.0)).round()
    colours = np.where(answer.changed[columns, None], ORANGE, BLUE)
    filled = np.arange(BARS)[:, None] >= BARS - 1 - heights
    drawn = np.where(filled[..., None], colours, 255).astype(np.uint8)
    drawn[-1] = 150  # the axis
    return drawn


def answer_picture(view: View, title: str, filters: np.ndarray, top: float) -> np.ndarray:
    """Return all there is to see of one network: response maps, the peak map, the changes."""
    answer, ground = view.answers[title], pale(view.covered)
    heat = {k: heat_picture(ground, answer.maps[k], answer.limits[k]) for k in filters}
    maps = [_titled(picture, f"filter {k}") for k, picture in heat.items()]
    rows = [maps[first : first + COLUMNS] for first in range(0, len(maps), COLUMNS)]
    bars = bars_picture(answer, top, (COLUMNS - 1) * (TILE + GAP) - GAP)
    words = "change of every feature, sorted", f"full height {top:.3f}"
    rows.append([_titled(peaks_picture(ground, answer, top), "all peaks"), _titled(bars, *words)])
    return np.vstack([np.hstack(row) for row in rows])[:-GAP, :-GAP]


def pair_picture(view: PairView, title: str) -> np.ndarray:
    """Lay one network's exact maps over both faces, on one scale, which no cover changes."""
    limit = float(np.abs(view.bare[title].maps).max())
    pairs = zip(view.faces, view.covered[title].maps, strict=True)
    return _row(PAIR, [heat_picture(pale(face), places, limit) for face, places in pairs])


def in_words(view: View, title: str) -> str:
    """Return one network's answer as a sentence: the caption, and the text for who cannot see."""
    return f"{title}: {SENTENCE.format_map(view.answers[title].figures())}"


class Panel:
    """One face as a widget that answers each move; in a saved notebook, its last pictures."""

    names = ("person", "yaw", "cover", "x", "y", "width", "height", "filters")  # of its controls

    def __init__(self, explorer: Explorer, setting: Setting | None = None) -> None:
        self.explorer = explorer
        controls = _controls(setting or Setting(), len(explorer.seeds))
        self._controls = {name: controls[name] for name in self.names}
        self.view = self._look()
        self._pages = {title: widgets.HTML() for title in ("faces", *explorer.models)}
        for control in self._controls.values():
            control.observe(self._moved, "value")
        faces, *answers = self._pages.values()
        self.widget = widgets.HBox([widgets.VBox([*self._controls.values(), faces]), *answers])
        self.widget.layout.flex_flow = "row wrap"  # below each other where the window is narrow
        self._show()

    def set(self, **values: object) -> Any:
        """Move controls by name, such as ``yaw`` or ``x``, and return what is shown then."""
        unknown, known = sorted(set(values) - set(self._controls)), ", ".join(self._controls)
        if unknown:
            raise UserError(f"no control {', '.join(unknown)}: there are {known}")
        for name, value in values.items():
            self._controls[name].value = value
        return self.view

    def pictures(self) -> dict[str, tuple[str, str]]:
        """Return the pictures on show, captioned, as HTML and in words, by title."""
        drawn = self._draw()
        return {title: (_captioned(picture, words), words) for title, picture, words in drawn}

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        """Return the live widget, with its pictures for viewers that have no kernel."""
        pages, words = zip(*self.pictures().values(), strict=True)
        texts = {"text/html": "".join(pages), "text/plain": "\n".join(words)}
        return dict(self.widget._repr_mimebundle_()) | texts

    def _setting(self) -> Setting:
        chosen = {name: control.value for name, control in self._controls.items()}
        x, y, width, height = (chosen[name] for name in ("x", "y", "width", "height"))
        box = (min(x, CROP_SIZE - width), min(y, CROP_SIZE - height), width, height)  # stays inside
        return Setting(chosen["person"], chosen["yaw"], chosen["cover"], box)

    def _look(self) -> Any:
        return self.explorer.look(self._setting())

    def _draw(self) -> Iterable[tuple[str, np.ndarray, str]]:
        view = self.view
        top = max(float(one.change.max(initial=0)) for one in view.answers.values())
        faces = _row(("bare", "covered"), map(face_picture, (view.bare, view.covered)))
        yield "faces", faces, _face_in_words(view.setting)
        for title, answer in view.answers.items():
            filters = self.explorer.steady[title]
            if self._controls["filters"].value == CHANGED:
                filters = answer.change.argsort(kind="stable")[::-1][: len(filters)]
            yield title, answer_picture(view, title, filters, top), in_words(view, title)

    def _moved(self, change: dict[str, Any]) -> None:
        if change["owner"] is not self._controls.get("filters"):
            self.view = self._look()
        self._show()

    def _show(self) -> None:
        for title, (page, _) in self.pictures().items():
            self._pages[title].value = page


class PairPanel(Panel):
    """Two faces and one cover: each network's score, its exact map on both, and its threshold."""

    names = ("person", "yaw", "other", "cover", "x", "y", "width", "height")

    def _look(self) -> PairView:
        return self.explorer.compare(self._setting(), self._controls["other"].value)

    def _draw(self) -> Iterable[tuple[str, np.ndarray, str]]:
        view = self.view
        whose = f"Beside it: another picture of person {view.other + 1}."
        shown = _row(PAIR, map(face_picture, view.faces))
        yield "faces", shown, f"{_face_in_words(view.setting)} {whose}"
        for title, found in view.covered.items():
            words = interpretation.in_words(found, self.explorer.thresholds[title])
            bare = f"Without the cover the score is {view.bare[title].score:.2f}."
            yield title, pair_picture(view, title), f"{title}: {words} {bare}"


class Tabs(Panel):
    """Both panels as tabs; in a saved notebook, the last pictures of both."""

    def __init__(self, explorer: Explorer) -> None:
        self.panels = dict(zip(TABS, (Panel(explorer), PairPanel(explorer)), strict=True))
        self.widget = widgets.Tab([panel.widget for panel in self.panels.values()], titles=TABS)

    def pictures(self) -> dict[str, tuple[str, str]]:
        """Return the pictures of both panels."""
        shown = [(tab, panel.pictures()) for tab, panel in self.panels.items()]
        return {f"{tab}: {title}": page for tab, one in shown for title, page in one.items()}


def slide(panel: Panel, name: str, values: Sequence[int]) -> str:
    """Return a slider over pictures made beforehand, one for each value of a control, as HTML.

    It works in a saved page, without a kernel. Where its script is taken out, all pictures stand.
    """
    steps: list[str] = []
    for value in values:
        panel.set(**{name: value})
        pages = "".join(page for page, _ in panel.pictures().values())
        row = f'<div style="display: flex; flex-wrap: wrap">{pages}</div>'
        steps.append(f"<div{' hidden' if steps else ''}>{row}</div>")
    label = escape(panel._controls[name].description)
    show = "[...this.closest('div').children].slice(1).forEach((d, k) => d.hidden = k != value)"
    own_keys = 'data-lm-suppress-shortcuts="true"'  # else JupyterLab takes the arrow keys
    facts = f'type="range" min="0" max="{len(steps) - 1}" value="0" {own_keys}'
    slider = f'<label>{label} <input {facts} oninput="{show}"></label>'
    return f"<div>{slider}{''.join(steps)}</div>"


def _controls(setting: Setting, people: int) -> dict[str, widgets.Widget]:
    """Return the controls by name; each can be reached and moved from the keyboard."""
    x, y, width, height = map(int, setting.box)
    look = dict(layout=widgets.Layout(width="290px"))

    def slider(name: str, value: int, low: int, high: int, step: int, tip: str) -> widgets.Widget:
        return widgets.IntSlider(value, low, high, step, description=name, tooltip=tip, **look)

    def choice(name: str, value: object, options: Sequence, tip: str) -> widgets.Widget:
        shown = dict(description=name, tooltip=tip, **look)
        return widgets.Dropdown(options=options, value=value, **shown)

    names = [(f"person {number + 1}", number) for number in range(people)]
    edge = CROP_SIZE - 4
    return dict(
        person=choice("face", setting.person, names, "whose face"),
        other=choice("other", setting.person, names, "whose other picture it is compared with"),
        yaw=slider("turn (°)", int(setting.yaw), -60, 60, 5, "to the left or right, in degrees"),
        cover=choice("cover", setting.cover, COVERS, "what hides a part of the face"),
        x=slider("left (px)", x, 0, edge, 2, "left edge of the rectangle, frontal frame"),
        y=slider("top (px)", y, 0, edge, 2, "upper edge of the rectangle, frontal frame"),
        width=slider("width (px)", width, 4, 48, 2, "of the rectangle"),
        height=slider("height (px)", height, 4, 48, 2, "of the rectangle"),
        filters=choice("filters", SPREAD, (SPREAD, CHANGED), "which six response maps are shown"),
    )


def _face_in_words(setting: Setting) -> str:
    cover = setting.cover
    if cover == RECTANGLE:
        x, y, width, height = setting.box
        cover = f"a black rectangle, {width:.0f} × {height:.0f} pixels at {x:.0f}, {y:.0f}"
    return f"Person {setting.person + 1}, turned by {setting.yaw:.0f}°; cover: {cover}."


def _captioned(picture: np.ndarray, words: str) -> str:
    """Return a picture as HTML, with a sentence as its caption and as its text alternative."""
    png = cv2.imencode(".png", picture[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
    image = picture_html(png.tobytes(), words, picture.shape[1])
    return (
        '<figure style="margin: 4px 12px 4px 0"><figcaption style="line-height: 1.4; '
        f'max-width: {max(280, picture.shape[1])}px">{escape(words)}</figcaption>{image}</figure>'
    )


def _row(names: Iterable[str], tiles: Iterable[np.ndarray]) -> np.ndarray:
    """Put titled tiles side by side."""
    titled = [_titled(tile, name) for name, tile in zip(names, tiles, strict=True)]
    return np.hstack(titled)[:-GAP, :-GAP]


def _titled(picture: np.ndarray, *lines: str) -> np.ndarray:
    """Put lines of text above a picture, and a gap below it and at its right."""
    (height, width), above = picture.shape[:2], TITLE * len(lines)
    sheet = Image.new("RGB", (width + GAP, above + height + GAP), "white")
    sheet.paste(Image.fromarray(picture), (0, above))
    pen = ImageDraw.Draw(sheet)
    for number, text in enumerate(lines):
        pen.text((0, number * TITLE), text, fill=(40, 40, 40), font=FONT)
    return np.asarray(sheet)
