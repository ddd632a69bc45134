"""The explorer on the screen: ipywidgets in a live notebook, a picture everywhere else.

Pictures are put together from arrays: a Matplotlib figure would take longer than all the rest.
"""

import base64
from html import escape

import cv2
import ipywidgets as widgets
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ifr.apps.explorer import COVERS, RECTANGLE, Answer, Explorer, Setting, View
from ifr.figures.output import picture_html
from ifr.figures.style import MAGNITUDE, PALETTE, SIGNED
from ifr.landmarks import CROP_SIZE

TILE = 108  # side of a face on the screen, pixels: both networks fit beside the controls
GAP = 6
TITLE = 16  # height of a line of text
BARS = 70  # height of the bar chart
COLUMNS = 3
SPREAD, CHANGED = "that keep to places far apart", "whose feature changes most"
ORANGE, BLUE = (tuple(int(PALETTE[k][i : i + 2], 16) for i in (1, 3, 5)) for k in (1, 0))
GREY = (150, 150, 150)
FONT = ImageFont.load_default(12)


def table_of(name: object, steps: int = 257) -> np.ndarray:
    """Return a Matplotlib colour map as (steps, 4) float32 in 0..1; odd steps have a middle."""
    colours = matplotlib.colormaps[name] if isinstance(name, str) else name
    return colours(np.linspace(0, 1, steps)).astype(np.float32)


SIGNED_TABLE, MAGNITUDE_TABLE = table_of(SIGNED), table_of(MAGNITUDE)


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
        place = [int(v) for v in answer.peaks[k] * (TILE / CROP_SIZE * 2**fine)]
        radius = int((2 + 3.5 * strength[k]) * 2**fine)
        colour = MAGNITUDE_TABLE[int(256 * min(strength[k], 1)), :3] * 255
        cv2.circle(drawn, place, radius, colour.tolist(), -1, cv2.LINE_AA, fine)
        cv2.circle(drawn, place, radius, (255, 255, 255), 1, cv2.LINE_AA, fine)
    return drawn


def bars_picture(answer: Answer, top: float, width: int) -> np.ndarray:
    """Draw the change of every feature, falling; orange above a tenth of the largest."""
    drawn = np.full((BARS, width, 3), 255, np.uint8)
    order = answer.change.argsort()[::-1]
    edges = np.linspace(0, width, len(order) + 1).round().astype(int)
    heights = ((BARS - 2) * answer.change[order] / (top or 1.0)).round().astype(int)
    for place in range(len(order))[::-1]:  # the largest last: bars may be narrower than a pixel
        left, right = edges[place], max(edges[place] + 1, edges[place + 1])
        colour = ORANGE if answer.changed[order[place]] else BLUE
        drawn[BARS - 1 - heights[place] : BARS - 1, left:right] = colour
    drawn[-1] = GREY
    return drawn


def answer_picture(view: View, title: str, filters: np.ndarray, top: float) -> np.ndarray:
    """Return all there is to see of one network: response maps, the peak map, the changes."""
    answer, ground = view.answers[title], pale(view.covered)
    width = COLUMNS * TILE + (COLUMNS - 1) * GAP
    tiles = [
        (f"filter {k}", heat_picture(ground, answer.maps[k], answer.limits[k])) for k in filters
    ]
    rows = -(-len(tiles) // COLUMNS)
    height = rows * (TITLE + TILE + GAP) + TITLE + TILE
    sheet = np.full((height, width, 3), 255, np.uint8)
    words: list[tuple[tuple[int, int], str]] = []
    for place, (name, tile) in enumerate(tiles):
        x = (place % COLUMNS) * (TILE + GAP)
        y = (place // COLUMNS) * (TITLE + TILE + GAP)
        sheet[y + TITLE : y + TITLE + TILE, x : x + TILE] = tile
        words.append(((x, y), name))
    y = rows * (TITLE + TILE + GAP)
    sheet[y + TITLE :, :TILE] = peaks_picture(ground, answer, top)
    left = TILE + GAP
    sheet[y + TITLE + TILE - BARS :, left:] = bars_picture(answer, top, width - left)
    words += [
        ((0, y), "all peaks"),
        ((left, y), "change of every feature, sorted"),
        ((left, y + TITLE), f"full height {top:.3f}"),
    ]
    return _lettered(sheet, words)


def faces_picture(view: View) -> np.ndarray:
    """Return the face without and with its cover, side by side."""
    sheet = np.full((TITLE + TILE, 2 * TILE + GAP, 3), 255, np.uint8)
    sheet[TITLE:, :TILE] = face_picture(view.bare)
    sheet[TITLE:, TILE + GAP :] = face_picture(view.covered)
    return _lettered(sheet, [((0, 0), "bare"), ((TILE + GAP, 0), "covered")])


def png_of(picture: np.ndarray) -> bytes:
    """Return an RGB picture as PNG."""
    done, data = cv2.imencode(".png", picture[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise ValueError(f"cannot write a picture of shape {picture.shape} as PNG")
    return data.tobytes()


def in_words(view: View, title: str) -> str:
    """Return one network's answer as a sentence: the caption, and the text for who cannot see."""
    found = view.answers[title].figures()
    return (
        f"{title}: {found['changed_percent']:.0f} % of the features change by more than a tenth of "
        f"the most changed one, mean change {found['mean_change']:.4f}; peaks move by "
        f"{found['peaks_moved_pixels']:.1f} pixels on average."
    )


class Panel:
    """The explorer as a widget: sliders and lists on the left, both networks beside each other.

    Shown in a live notebook it answers each move; in a saved or converted notebook it is the
    picture of the last setting.

    Args:
        explorer: what is explored.
        setting: to begin with.
    """

    def __init__(self, explorer: Explorer, setting: Setting | None = None):
        self.explorer = explorer
        self.view = explorer.look(setting or Setting())
        self._controls = _controls(self.view.setting, len(explorer.seeds))
        self._faces = widgets.HTML()
        self._answers = {title: widgets.HTML() for title in explorer.models}
        for control in self._controls.values():
            control.observe(self._moved, "value")
        left = widgets.VBox([*self._controls.values(), self._faces])
        self.widget = widgets.HBox([left, *self._answers.values()])
        self.widget.layout.flex_flow = "row wrap"  # below each other where the window is narrow
        self._show()

    def set(self, **values: object) -> View:
        """Move controls by name, as a reader would, and return what is shown then.

        Args:
            values: of ``person``, ``yaw``, ``cover``, ``x``, ``y``, ``width``, ``height``,
                ``filters``.
        """
        unknown = sorted(set(values) - set(self._controls))
        if unknown:
            raise ValueError(
                f"no control {', '.join(unknown)}: there are {', '.join(self._controls)}"
            )
        for name, value in values.items():
            self._controls[name].value = value
        return self.view

    def pictures(self) -> dict[str, tuple[str, str]]:
        """Return the pictures on show as HTML with the text that stands for each, by title."""
        view = self.view
        top = max(float(one.change.max(initial=0)) for one in view.answers.values())
        found = {"faces": (_html(faces_picture(view), _face_in_words(view)), _face_in_words(view))}
        for title, answer in view.answers.items():
            filters = self.explorer.steady[title]
            if self._controls["filters"].value == CHANGED:
                filters = answer.change.argsort(kind="stable")[::-1][: len(filters)]
            words = in_words(view, title)
            found[title] = (_html(answer_picture(view, title, filters, top), words), words)
        return found

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        """Return the live widget, with its pictures for viewers that have no kernel."""
        bundle = dict(self.widget._repr_mimebundle_())
        shown = self.pictures()
        bundle["text/html"] = "".join(_captioned(*pair) for pair in shown.values())
        bundle["text/plain"] = "\n".join(words for _, words in shown.values())
        return bundle

    def _moved(self, _: object) -> None:
        values = {name: control.value for name, control in self._controls.items()}
        width, height = values["width"], values["height"]
        x, y = min(values["x"], CROP_SIZE - width), min(values["y"], CROP_SIZE - height)
        box = (x, y, width, height)
        setting = Setting(values["person"], values["yaw"], values["cover"], tuple(map(float, box)))
        if setting != self.view.setting:
            self.view = self.explorer.look(setting)
        self._show()

    def _show(self) -> None:
        shown = self.pictures()
        self._faces.value = _captioned(*shown.pop("faces"))
        for title, pair in shown.items():
            self._answers[title].value = _captioned(*pair)


def _controls(setting: Setting, people: int) -> dict[str, widgets.Widget]:
    """Return the controls by name; each can be reached and moved from the keyboard."""
    x, y, width, height = map(int, setting.box)
    wide = widgets.Layout(width="290px")

    def slider(
        name: str, value: int, low: int, high: int, step: int, tip: str
    ) -> widgets.IntSlider:
        return widgets.IntSlider(value, low, high, step, description=name, tooltip=tip, layout=wide)

    def choice(name: str, value, options, tip: str) -> widgets.Dropdown:
        return widgets.Dropdown(
            options=options, value=value, description=name, tooltip=tip, layout=wide
        )

    return dict(
        person=choice(
            "face", setting.person, [(f"person {k + 1}", k) for k in range(people)], "whose face"
        ),
        yaw=slider("turn (°)", int(setting.yaw), -60, 60, 5, "to the left or right, in degrees"),
        cover=choice("cover", setting.cover, COVERS, "what hides a part of the face"),
        x=slider("left (px)", x, 0, CROP_SIZE - 4, 2, "left edge of the rectangle, frontal frame"),
        y=slider("top (px)", y, 0, CROP_SIZE - 4, 2, "upper edge of the rectangle, frontal frame"),
        width=slider("width (px)", width, 4, 48, 2, "of the rectangle"),
        height=slider("height (px)", height, 4, 48, 2, "of the rectangle"),
        filters=choice("filters", SPREAD, (SPREAD, CHANGED), "which six response maps are shown"),
    )


def _face_in_words(view: View) -> str:
    one = view.setting
    cover = one.cover
    if cover == RECTANGLE:
        x, y, width, height = one.box
        cover = f"a black rectangle, {width:.0f} × {height:.0f} pixels at {x:.0f}, {y:.0f}"
    return f"Person {one.person + 1}, turned by {one.yaw:.0f}°; cover: {cover}."


def _html(picture: np.ndarray, alt: str) -> str:
    return picture_html(base64.b64encode(png_of(picture)).decode(), alt, picture.shape[1])


def _captioned(picture: str, words: str) -> str:
    return (
        '<figure style="margin: 4px 12px 4px 0"><figcaption style="max-width: 340px; line-height: '
        f'1.4">{escape(words)}</figcaption>{picture}</figure>'
    )


def _lettered(sheet: np.ndarray, words: list[tuple[tuple[int, int], str]]) -> np.ndarray:
    image = Image.fromarray(sheet)
    pen = ImageDraw.Draw(image)
    for place, text in words:
        pen.text(place, text, fill=(40, 40, 40), font=FONT)
    return np.asarray(image)
