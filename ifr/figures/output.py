"""How a figure leaves the program: as files, or shown in a notebook with its text alternative."""

import base64
import io
from html import escape
from pathlib import Path

import numpy as np
from matplotlib import pyplot
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from ifr.common.files import written_whole
from ifr.figures.style import Look, house

SCREEN = 900  # pixels a picture in a notebook is wide at most
LAYOUT: Look = dict(dpi=150, bbox_inches="tight", pad_inches=0.06)


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
