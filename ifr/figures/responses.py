"""Figures of response maps: on faces, through LMF, and how alike filters are (Fig. 1 and 8)."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from ifr.figures import style

RESPONSE_LABEL = "response / the filter's largest\n(orange: positive, purple: negative)"


@style.house()
def figure_1(
    faces: ArrayLike,
    responses: ArrayLike,
    *,
    row_names: Sequence[str],
    filter_names: Sequence[str],
    occluders: ArrayLike | None = None,
) -> Figure:
    """Draw Figure 1: one person clean and occluded, and what six filters answer.

    Args:
        faces: (R, H, W, 3) uint8, one row each.
        responses: (R, F, h, w) signed response maps; each filter has its own scale, the same in
            all rows.
        row_names: R names, such as clean, glasses, scarf.
        filter_names: F names.
        occluders: (R, H, W) bool, outlined in red where true.
    """
    faces = style.require_images(faces, "faces")
    figure, axes = _response_grid(faces, responses, row_names, filter_names)
    if occluders is not None:
        masks = style.require(occluders, faces.shape[:3], "occluders")
        y, x = (np.arange(size) + 0.5 for size in masks.shape[1:])  # pixel centres
        look: style.Look = dict(levels=[0.5], colors=style.OUTLINE, linewidths=1, zorder=3)
        for row, mask in zip(axes, masks, strict=True):
            for ax in row if mask.any() else ():
                ax.contour(x, y, mask.astype(float), **look)
    return figure


@style.house()
def figure_8(
    faces: ArrayLike,
    responses: ArrayLike,
    *,
    filter_names: Sequence[str],
    groups: Mapping[str, int],
) -> Figure:
    """Draw Figure 8: filters (columns) on faces (rows) of several people, then of one.

    Args:
        faces: (R, H, W, 3) uint8.
        responses: (R, F, h, w) signed response maps, scaled as in Figure 1.
        filter_names: F names.
        groups: title of each run of rows -> its number of rows; the numbers add up to R.
    """
    faces = style.require_images(faces, "faces")
    if sum(groups.values()) != len(faces):
        raise ValueError(f"groups must add up to the {len(faces)} faces, got {dict(groups)}")
    names = [
        title if row == count // 2 else ""  # beside the middle of its rows
        for title, count in groups.items()
        for row in range(count)
    ]
    return _response_grid(faces, responses, names, filter_names, cell=0.95)[0]


def _response_grid(
    faces: np.ndarray,
    responses: ArrayLike,
    row_names: Sequence[str],
    filter_names: Sequence[str],
    *,
    cell: float = 1.25,
) -> tuple[Figure, np.ndarray]:
    """Draw each face, then each filter's map over it, the more opaque the larger."""
    responses = style.require(responses, (len(faces), "F", "h", "w"), "responses")
    figure, axes = style.grid(len(faces), responses.shape[1] + 1, cell=cell, extra=0.7)
    limits = np.abs(responses).max(axis=(0, 2, 3), initial=0)
    scaled = responses / np.where(limits > 0, limits, 1)[:, None, None]
    scale = ScalarMappable(Normalize(-1, 1), style.SIGNED)
    look: style.Look = dict(
        cmap=scale.cmap,
        norm=scale.norm,
        extent=(0, faces.shape[2], faces.shape[1], 0),
        interpolation="bilinear",
        interpolation_stage="data",
        zorder=2,
    )
    for line, face, maps, name in zip(axes, faces, scaled, row_names, strict=True):
        style.picture(line[0], face)
        line[0].set_ylabel(name)
        for ax, response in zip(line[1:], maps, strict=True):
            style.picture(ax, face, grey=True)
            ax.imshow(response, **look)
    for ax, name in zip(axes[0], ["face", *filter_names], strict=True):
        ax.set_title(name)
    figure.colorbar(scale, ax=axes, label=RESPONSE_LABEL, ticks=[-1, 0, 1], shrink=0.8, pad=0.01)
    return figure, axes


@style.house()
def figure_kept_magnitude(
    kept: ArrayLike, held: Mapping[str, ArrayLike], *, marks: Sequence[float]
) -> Figure:
    """Draw the share of a map's magnitude that its largest responses hold (Sec. 3.1).

    Args:
        kept: (P,) share of responses kept, rising from 0 to 1.
        held: title -> (P,) share of the magnitude; the title ``"noise"`` is drawn dotted and grey.
        marks: shares kept to mark with a vertical line.
    """
    kept = style.require(kept, ("P",), "kept")
    curves = style.require_each(held, kept.shape, "held")
    figure, ax = style.plot(5.2, 3.4)
    for mark in marks:
        ax.axvline(mark, color="0.85", linewidth=1)
        ax.text(mark, 1.01, f"{mark:.1%}", ha="center", va="bottom", fontsize=7, color="0.35")
    networks = [name for name in curves if name != "noise"]
    looks: dict[str, style.Look] = {name: style.line(k) for k, name in enumerate(networks)}
    looks["noise"] = dict(color="0.5", linestyle=":", linewidth=2, zorder=1)
    for name, share in curves.items():
        ax.plot(kept, share, label=name, **looks[name])
    ax.set(xlim=(0, 1), xlabel="share of responses kept, largest first")
    ax.set(ylim=(0, 1), ylabel="share of the map's magnitude")
    ax.legend(loc="lower right")
    return figure


@style.house()
def figure_similarity(
    matrices: Mapping[str, ArrayLike], *, label: str, limits: tuple[float, float]
) -> Figure:
    """Draw how alike all pairs of filters are, one (K, K) matrix for each network.

    Args:
        matrices: title -> (K, K), the diagonal is left blank.
        label: of the colour bar.
        limits: ends of the colour scale.
    """
    squares = style.require_each(matrices, ("K", "K"), "matrices")
    figure, axes = style.grid(1, len(squares), cell=2.3, extra=0.8)
    look: style.Look = dict(zip(("vmin", "vmax"), limits, strict=True), cmap=style.MAGNITUDE)
    for ax, (title, matrix) in zip(axes[0], squares.items(), strict=True):
        blank = np.where(np.eye(len(matrix)), np.nan, matrix)
        marks = ax.imshow(blank, interpolation="nearest", **look)
        ends = [0, len(matrix) - 1]
        ax.set(title=title, xlabel="filter", xticks=ends, yticks=ends)
    axes[0, 0].set_ylabel("filter")
    figure.colorbar(marks, ax=list(axes[0]), label=label, shrink=0.85, extend="max")
    return figure


@style.house()
def figure_peak_overlap(table: pd.DataFrame) -> Figure:
    """Draw what Eq. 2 sees of two single peaks at a distance, for each smoothing.

    Args:
        table: columns smoothing, distance (responses) and squared_cosine.
    """
    style.require_columns(table, ("smoothing", "distance", "squared_cosine"))
    figure, ax = style.plot(4.6, 3)
    for index, (name, rows) in enumerate(table.groupby("smoothing", sort=False)):
        look = style.line(index) | dict(marker=style.MARKERS[index], label=name)
        ax.plot(rows["distance"], rows["squared_cosine"], **look)
    ax.set(xlabel="distance of the two peaks (responses)", ylabel="squared cosine", ylim=(0, 1.05))
    ax.legend(title="size of $g_\\sigma$")
    return figure
