"""The look all figures share, and how one is written to disk."""

import base64
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path

import matplotlib
import numpy as np
import seaborn
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

DPI = 150
SCREEN = 900  # pixels a picture in a notebook is wide at most
MAGNITUDE = "viridis"  # magnitudes; even steps of lightness, also in grey print
_ORANGE, _PURPLE = (0.90, 0.38, 0.0), (0.37, 0.18, 0.66)  # the ends of PuOr, apart for all eyes
# Signed values: orange above zero, purple below, the more see-through the smaller.
SIGNED = LinearSegmentedColormap.from_list(
    "signed",
    [
        (0.0, (0.18, 0.0, 0.35, 1.0)),
        (0.2, (*_PURPLE, 0.85)),
        (0.5, (*_PURPLE, 0.0)),
        (0.5, (*_ORANGE, 0.0)),
        (0.8, (*_ORANGE, 0.85)),
        (1.0, (0.60, 0.16, 0.0, 1.0)),
    ],
)
PALETTE = tuple(seaborn.color_palette("colorblind").as_hex())
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*", "<", ">")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
OUTLINE = "#e8000b"  # the paper draws occluders in red


@contextmanager
def style() -> Iterator[None]:
    """Set the house style for what is drawn inside; also usable as a decorator, ``@style()``."""
    settings = seaborn.axes_style("ticks") | {
        "font.family": "DejaVu Sans",  # ships with Matplotlib, so every machine draws the same
        "font.size": 9,
        "axes.titlesize": 9,
        "axes.labelsize": 9,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "legend.fontsize": 8,
        "legend.frameon": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.prop_cycle": matplotlib.cycler(color=PALETTE),
        "figure.dpi": 100,
        "pdf.fonttype": 42,  # text stays text
    }
    with matplotlib.rc_context(settings):
        yield


def canvas(width: float, height: float, layout: str = "constrained") -> Figure:
    """Return an empty figure in inches, apart from pyplot so that nothing is shown twice."""
    return Figure(figsize=(width, height), layout=layout)


def grid(rows: int, columns: int, *, cell: float = 1.2, extra: float = 0.5, **sizes) -> tuple:
    """Return a figure of equal square panels and its (rows, columns) array of axes.

    Args:
        rows: number of rows.
        columns: number of columns.
        cell: side of a panel in inches.
        extra: inches of height and width left for titles, labels and a colour bar.
        sizes: passed to ``Figure.subplots``.
    """
    figure = canvas(columns * cell + extra, rows * cell + extra, layout="compressed")
    return figure, figure.subplots(rows, columns, squeeze=False, **sizes)


def save_figure(figure: Figure, folder: str | Path, name: str, *, alt: str) -> tuple[Path, Path]:
    """Write a figure as PNG and PDF whose bytes depend on nothing but the figure.

    Args:
        figure: what to write.
        folder: where; made if needed.
        name: file name without ending.
        alt: what the figure shows, for readers who cannot see it; kept in both files
            (PNG text ``Description``, PDF ``Subject``).

    Returns:
        Paths of the PNG and the PDF.

    Raises:
        ValueError: for an empty ``alt`` or a name that is a path.
    """
    if not alt.strip():
        raise ValueError(f"alt of {name!r} is empty: say in a sentence what the figure shows")
    if not name or Path(name).name != name:
        raise ValueError(f"name must be a file name without a folder, got {name!r}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    png, pdf = folder / f"{name}.png", folder / f"{name}.pdf"
    # No dates and no program version: equal figures give equal files.
    undated = {"Creator": None, "Producer": None, "CreationDate": None}
    with style():
        _write(figure, png, metadata={"Description": alt, "Software": None})
        _write(figure, pdf, metadata=undated | {"Title": name, "Subject": alt})
    return png, pdf


def picture_html(png: str, alt: str, width: int) -> str:
    """Return a picture as HTML with its text alternative, which JupyterLab drops from plain PNG.

    Args:
        png: base64.
        alt: what it shows.
        width: on the screen, pixels.
    """
    return f'<img src="data:image/png;base64,{png}" alt="{escape(alt)}" width="{width}">'


def show_picture(png: bytes, alt: str, *, width: int) -> None:
    """Show a PNG in the notebook, with its text alternative."""
    from IPython.display import display

    page = picture_html(base64.b64encode(png).decode(), alt, width)
    display({"text/html": page, "text/plain": alt}, raw=True)


def show_figure(figure: Figure, *, alt: str) -> None:
    """Show a figure in the notebook, with its text alternative; nothing is written to disk.

    A figure of pyplot is closed, so that the notebook does not show it again without the text.
    """
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.06)
    show_picture(png.getvalue(), alt, width=min(SCREEN, int(figure.bbox.width)))
    pyplot.close(figure)


def _write(figure: Figure, path: Path, *, metadata: dict) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        figure.savefig(
            partial,
            format=path.suffix[1:],
            dpi=DPI,
            metadata=metadata,
            bbox_inches="tight",
            pad_inches=0.06,
        )
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def require(array: ArrayLike, shape: Sequence[int | str | None], name: str) -> np.ndarray:
    """Return an array after checking its shape.

    Args:
        array: what the caller was given.
        shape: one entry per axis: a size, or a letter for any size (shown in the message).
        name: of the argument.

    Raises:
        ValueError: naming the argument, the shape expected and the shape met.
    """
    array = np.asarray(array)
    fits = array.ndim == len(shape) and all(
        not isinstance(want, int) or want == got
        for want, got in zip(shape, array.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join(str(size) for size in shape)
        raise ValueError(f"{name} must have shape ({wanted}), got {array.shape}")
    return array


def require_images(images: ArrayLike, name: str, count: int | None = None) -> np.ndarray:
    """Return (N, H, W, 3) uint8 images after checking shape, type and, if given, N."""
    images = require(images, ("N" if count is None else count, "H", "W", 3), name)
    if images.dtype != np.uint8:
        raise ValueError(f"{name} must be uint8 RGB in 0..255, got {images.dtype}")
    return images


def require_columns(table, columns: Sequence[str], name: str = "table") -> None:
    """Raise a ValueError unless a DataFrame has these columns and at least one row."""
    missing = [column for column in columns if column not in table.columns]
    if missing or not len(table):
        raise ValueError(
            f"{name} must have rows and the columns {', '.join(columns)}; "
            f"got {len(table)} rows and the columns {', '.join(map(str, table.columns))}"
        )


def require_same_keys(first: dict, second: dict, names: str) -> None:
    """Raise a ValueError unless two dictionaries name the same things."""
    if not first or set(first) != set(second):
        raise ValueError(
            f"{names} must have the same, non-empty keys, got {list(first)} and {list(second)}"
        )


def bare(ax: Axes) -> None:
    """Take ticks and spines off an axes that shows a picture, keeping its labels."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def picture(ax: Axes, image: np.ndarray, *, grey: bool = False) -> None:
    """Show an (H, W, 3) image so that data coordinates are its continuous pixels.

    Args:
        ax: where.
        image: uint8.
        grey: draw it as pale grey, as the ground of coloured marks.
    """
    height, width = image.shape[:2]
    if grey:
        # Rec. 601 luma, lifted towards white so that dark marks stay visible.
        image = 0.3 + 0.7 * (image @ np.array([0.299, 0.587, 0.114])) / 255
    ax.imshow(image, cmap="gray", vmin=0, vmax=1, extent=(0, width, height, 0))
    ax.set(xlim=(0, width), ylim=(height, 0))
    bare(ax)


def heat(ax: Axes, response: np.ndarray, size: tuple[int, int], limit: float) -> None:
    """Lay one signed response map (h, w) over a picture, the more opaque the larger.

    Args:
        ax: shows the picture already.
        response: (h, w) signed.
        size: height and width of the picture in pixels.
        limit: magnitude at the ends of the symmetric colour scale.
    """
    scaled = np.asarray(response, float) / (limit if limit > 0 else 1.0)
    ax.imshow(
        scaled,
        cmap=SIGNED,
        norm=Normalize(-1, 1),
        interpolation="bilinear",
        interpolation_stage="data",
        extent=(0, size[1], size[0], 0),
        zorder=2,
    )


def border(ax: Axes, colour: str, *, line: str = "-", width: float = 3) -> None:
    """Frame a picture."""
    for spine in ax.spines.values():
        spine.set(visible=True, color=colour, linewidth=width, linestyle=line)


def frame_axes(ax: Axes, size: int, *, left: bool, bottom: bool) -> None:
    """Give a picture pixel ticks, and axis labels where it stands at the edge of the figure."""
    ticks = [0, size // 2, size]
    ax.set(xticks=ticks, yticks=ticks)
    ax.tick_params(labelleft=left, labelbottom=bottom, length=2)
    if left:
        ax.set_ylabel("y (pixels)")
    if bottom:
        ax.set_xlabel("x (pixels)")
