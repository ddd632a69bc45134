"""The look all figures share: colours, sizes, pictures with marks on them, and what they take."""

import base64
import io
import re
from collections import namedtuple
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import seaborn
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.rcsetup import cycler
from numpy.typing import ArrayLike

from ifr import profiles
from ifr.common.files import written_whole

MAGNITUDE = "viridis"  # magnitudes; even steps of lightness, also in grey print
_ORANGE, _PURPLE = (0.90, 0.38, 0.0), (0.37, 0.18, 0.66)  # the ends of PuOr, apart for all eyes
_BELOW = [(0.0, (0.18, 0.0, 0.35, 1.0)), (0.2, (*_PURPLE, 0.85)), (0.5, (*_PURPLE, 0.0))]
_ABOVE = [(0.5, (*_ORANGE, 0.0)), (0.8, (*_ORANGE, 0.85)), (1.0, (0.60, 0.16, 0.0, 1.0))]
# Signed values: orange above zero, purple below, the more see-through the smaller.
SIGNED = LinearSegmentedColormap.from_list("signed", _BELOW + _ABOVE)
PALETTE = tuple(seaborn.color_palette("colorblind").as_hex())
YES, NO = "#23456b", "#d6487e"  # same person or other, supported or not; neither is a variant's
CONDITIONS = {"clean": "-", "synthetic": ":", "natural": "--"}  # of a curve, by its dashes


# What one variant of the network is called and how it looks, in all figures alike.
VariantLook = namedtuple("VariantLook", "title colour marker dashes")
# Colour, marker and dashes of each. Greens have SAD alone, violet LMF alone, reds and browns both
# losses; the last are no variants.
APPEARANCE = {
    "base": ("#8a8a8a", "o", "-"),
    "augmented": ("#0173b2", "s", "--"),
    "sad": ("#029e73", "^", "-."),
    "fad": ("#e5a50a", "v", ":"),
    "full": ("#d55e00", "D", "-"),
    "lmf": ("#8a5bb5", "P", (0, (5, 1, 1, 1, 1, 1))),
    "sad_twins": ("#45bfae", ">", "--"),
    "sad_paper": ("#7fbf3f", "<", "--"),
    "sad_r10": ("#00543c", "X", ":"),
    "full_t130": ("#f2a08a", "s", "--"),
    "full_t320": ("#8c2d04", "s", "-."),
    "full_gaud": ("#a6611a", "*", ":"),
    "full_lmf75": ("#e7298a", "<", "--"),
    "full_lmf875": ("#980043", ">", "-."),
    "untrained": ("black", "x", ":"),
    "shuffled": ("black", "+", "--"),
    "noise": ("black", "o", ":"),
    "chance": ("0.75", "o", "-"),
}
_TITLES = {name: one.title for name, one in profiles.VARIANTS.items()}
LOOKS = {name: VariantLook(_TITLES.get(name, name), *look) for name, look in APPEARANCE.items()}
LOOKS |= {look.title: look for look in LOOKS.values()}  # tables have the title
OUTLINE = "#e8000b"  # the paper draws occluders in red
Look = dict[str, Any]  # keyword arguments of a Matplotlib artist
Named = Mapping[str, ArrayLike]  # a title, a part or a network -> an array
Names = Sequence[str]
Drawn = tuple[Figure, np.ndarray]  # with its axes
SCREEN = 900  # pixels a picture in a notebook is wide at most
WIDTH = SCREEN / 100  # inches, at which type is shown at its own size
LAYOUT: Look = dict(dpi=150, bbox_inches="tight", pad_inches=0.06)
OCCLUDER: Look = dict(edgecolor=OUTLINE, linewidth=1.5)


@contextmanager
def house() -> Iterator[None]:
    """Set the house style for what is drawn inside; also usable as a decorator, ``@house()``."""
    settings = {
        **seaborn.axes_style("ticks"),
        "font.family": "DejaVu Sans",  # ships with Matplotlib, so every machine draws the same
        **dict.fromkeys(("font.size", "axes.titlesize", "axes.labelsize"), 9),
        **dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), 8),
        **dict.fromkeys(("legend.frameon", "axes.spines.top", "axes.spines.right"), False),
        "axes.prop_cycle": cycler(color=PALETTE),
        "figure.dpi": 100,
        "pdf.fonttype": 42,  # text stays text
    }
    with matplotlib.rc_context(settings):
        yield


def panels(columns: int, width: float, height: float, *, rows: int = 1, **sharing: Any) -> Drawn:
    """Return a figure of plots row by row, in inches, apart from pyplot, lest it show twice."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **sharing).ravel()


def grid(rows: Names, columns: Names, *, cell: float, extra: float, share: bool = False) -> Drawn:
    """Return a figure of square panels of ``cell`` inches, with ``extra`` inches for the words.

    The words of ``rows`` stand beside, of ``columns`` above; empty ones are not seen. Panels are
    smaller where the figure would be wider than a page.
    """
    cell = min(cell, (WIDTH - extra) / len(columns))
    size = len(columns) * cell + extra, len(rows) * cell + extra
    figure, shape = Figure(figsize=size, layout="compressed"), (len(rows), len(columns))
    axes = figure.subplots(*shape, squeeze=False, sharex=share, sharey=share)
    for ax, name in zip(axes[:, 0], rows, strict=True):
        ax.set_ylabel(name)
    for ax, title in zip(axes[0], columns, strict=True):
        ax.set_title(title)
    return figure, axes


def picture_row(axes: Sequence[Axes] | np.ndarray, images: Sequence | np.ndarray) -> None:
    """Show images one after the other and take off the axes that are left over."""
    for ax, image in zip(axes, images, strict=False):
        picture(ax, image)
    for ax in axes[len(images) :]:
        ax.axis("off")


def picture(ax: Axes, image: np.ndarray, *, grey: bool = False) -> None:
    """Show an (H, W, 3) uint8 image in continuous pixels; ``grey`` is pale, a ground of marks."""
    height, width = image.shape[:2]
    if grey:
        # Rec. 601 luma, lifted towards white so that dark marks stay visible.
        image = 0.3 + 0.7 * (image @ np.array([0.299, 0.587, 0.114])) / 255
    look: Look = dict(cmap="gray", vmin=0, vmax=1, interpolation="bicubic")
    ax.imshow(image, extent=(0, width, height, 0), **look)
    ax.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def pixel_axes(ax: Axes, size: int) -> None:
    """Give a picture pixel ticks, and axis labels where it stands at the edge of the figure."""
    ticks = [0, size // 2, size]
    ax.set(xticks=ticks, yticks=ticks, xlabel="x (pixels)", ylabel="y (pixels)")
    ax.tick_params(length=2)
    ax.label_outer()


def outline_box(ax: Axes, box: ArrayLike, **look: Any) -> None:
    """Outline an occluder, or another box: x, y, width, height in pixels."""
    x, y, width, height = np.asarray(box, float)
    ax.add_patch(Rectangle((x, y), width, height, fill=False, **(OCCLUDER | look)))


def variant(name: str, index: int = 0) -> VariantLook:
    """Return the look of a variant, or of the index-th of other things: a grey, and dashes."""
    dashes = ("-", "--", "-.", ":")[index % 4]
    return LOOKS.get(name, VariantLook(name, str(0.25 + 0.15 * (index % 4)), "o", dashes))


def curve(name: str, index: int = 0) -> Look:
    """Return the look of a line: a variant's, its condition in the dashes, or the index-th other.

    That of the full model is thick and solid, and below the others.
    """
    known, _, condition = name.rpartition(", ")
    known, condition = (known, condition) if condition in CONDITIONS else (name, "")
    title, colour, _, dashes = variant(known, index)
    words = f"{title}, {condition}" if condition else title
    look: Look = dict(label=words, color=colour, linestyle=CONDITIONS.get(condition, dashes))
    main = title == LOOKS["full"].title
    return look | (dict(linewidth=3, zorder=1.9) if main else dict(linewidth=1.5))


def titled(quantity: str) -> str:
    """Return the words of a quantity with the titles of variants in place of their names."""
    return re.sub(r"\w+", lambda word: variant(word[0]).title, quantity)


def measured(value: float, low: float, high: float, unit: str) -> str:
    """Return a value with its interval (NaN: none), in the digits that its unit deserves."""
    digits = 1 if unit in ("pixels", "points", "percent") else 3
    numbers = [f"{number:z.{digits}f}".replace("-", "−") for number in (value, low, high)]
    known = "" if np.isnan(low) else f" [{numbers[1]}, {numbers[2]}]"
    return f"{'+' * (value > 0)}{numbers[0]}{known}"


def interval(ax: Axes, at: float, value: float, low: float, high: float, **look: Any) -> None:
    """Draw a value and its interval (NaN: none) across, at a height."""
    ends = np.nan_to_num(np.clip([[value - low], [high - value]], 0, None))
    points: Look = dict(markersize=5, capsize=2.5, elinewidth=1.2, fmt="o")
    ax.errorbar([value], [at], xerr=ends, **(points | look))


def legend_below(figure: Figure, ax: Axes, **look: Any) -> None:
    """Put the legend of one axes below the whole figure."""
    handles, names = ax.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(5, len(names)), **look)


def require(array: ArrayLike, shape: Sequence[int | str], name: str) -> np.ndarray:
    """Return an array of that shape: for each axis a size, or a letter for any size."""
    array = np.asarray(array)
    sizes = zip(shape, array.shape, strict=False)
    fits = all(isinstance(want, str) or want == got for want, got in sizes)
    if array.ndim != len(shape) or not fits:
        wanted = ", ".join(map(str, shape))
        raise ValueError(f"{name} must have shape ({wanted}), got {array.shape}")
    return array


def require_images(images: ArrayLike, name: str, axes: str = "NHW") -> np.ndarray:
    """Return (N, H, W, 3) uint8 images, or those of other axes."""
    images = require(images, (*axes, 3), name)
    if images.dtype != np.uint8:
        raise ValueError(f"{name} must be uint8 RGB in 0..255, got {images.dtype}")
    return images


def require_each(arrays: Named, shape: Sequence[int | str], name: str) -> dict[str, np.ndarray]:
    """Return named arrays, each of that shape."""
    return {key: require(array, shape, f"{name}[{key!r}]") for key, array in arrays.items()}


def save_figure(figure: Figure, folder: str | Path, name: str, *, alt: str) -> tuple[Path, Path]:
    """Write PNG and PDF whose bytes depend on nothing but the figure; both keep ``alt``, what it
    shows to readers who cannot see it (PNG text ``Description``, PDF ``Subject``)."""
    if not alt.strip():
        raise ValueError(f"alt of {name!r} is empty: say in a sentence what the figure shows")
    if not name or Path(name).name != name:
        raise ValueError(f"name must be a file name without a folder, got {name!r}")
    png, pdf = Path(folder, f"{name}.png"), Path(folder, f"{name}.pdf")
    # No dates and no program version: equal figures give equal files.
    undated = {"Creator": None, "Producer": None, "CreationDate": None, "Title": name}
    facts = {png: {"Description": alt, "Software": None}, pdf: undated | {"Subject": alt}}
    for path, metadata in facts.items():
        with house(), written_whole(path) as partial:
            figure.savefig(partial, format=path.suffix[1:], metadata=metadata, **LAYOUT)
    return png, pdf


def picture_html(png: bytes, alt: str, width: int) -> str:
    """Return a PNG as HTML with its text alternative, which JupyterLab drops from PNG."""
    data = base64.b64encode(png).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{escape(alt)}" width="{width}">'


def show_picture(png: bytes, alt: str, *, width: int) -> None:
    """Show a PNG in the notebook, ``width`` pixels wide, with its text alternative."""
    from IPython.display import display  # late: only notebooks have it at hand

    display({"text/html": picture_html(png, alt, width), "text/plain": alt}, raw=True)


def show_figure(figure: Figure, *, alt: str) -> None:
    """Show a figure in the notebook, with its text alternative; nothing is written to disk."""
    png = io.BytesIO()
    figure.savefig(png, format="png", **LAYOUT)
    show_picture(png.getvalue(), alt, width=min(SCREEN, int(figure.bbox.width)))
    pyplot.close(figure)  # lest the notebook show it again, without the text


def as_pictures(images: ArrayLike) -> np.ndarray:
    """Return network input (N, 3, S, S) in [-1, 1] as (N, S, S, 3) uint8 pictures."""
    scaled = (np.moveaxis(np.asarray(images), 1, -1) + 1) * 127.5
    return scaled.round().clip(0, 255).astype(np.uint8)
