"""Figures of filters (Fig. 1, 5-9), of what an occlusion changes and what makes a score.

Faces are (..., H, W, 3) uint8; places, boxes and outlines are pixels of them, x then y. What is
given by the name of a variant is drawn with its look (``style.APPEARANCE``).
"""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PathCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.path import Path
from numpy.typing import ArrayLike

from ifr.figures import style
from ifr.figures.style import Named, Names

SCATTER = 40  # pixels, the end of Figure 5's scale: peaks all over the image have 39
SMOOTH: style.Look = dict(interpolation="bilinear", interpolation_stage="data")
NOWHERE: style.Look = dict(marker="x", color=style.OUTLINE, linewidth=1, label="off the face")


@style.house()
def figure_5(
    face: ArrayLike, positive: Named, negative: Named, spreadness: Named, *, outline: ArrayLike
) -> Figure:
    """Draw Figure 5, by variant: (K, 3) x, y, deviation, NaN without a peak; and d̄.

    Filters whose place lies beyond the ``outline`` (P, 2) of the face are crosses.
    """
    face = style.require_images(face, "face", "HW")
    given = dict(positive=positive, negative=negative)
    signs = {sign: style.require_each(peaks, ("K", 3), sign) for sign, peaks in given.items()}
    edge = style.require(outline, ("P", 2), "outline")
    dbar = {style.variant(name).title: float(np.asarray(spreadness[name])) for name in positive}
    titles = [f"{title}, $\\bar{{d}}$ = {value:.1f}" for title, value in dbar.items()]
    figure, axes = style.grid(["", ""], titles, cell=2.4, extra=0.9, share=True)
    for row, (sign, tables) in zip(axes, signs.items(), strict=True):
        for ax, name in zip(row, positive, strict=True):
            inside = Path(edge).contains_points(tables[name][:, :2])
            marks = _dots(ax, face, tables[name][inside], SCATTER, 16)
            ax.scatter(*tables[name][~inside, :2].T, s=14, **NOWHERE)
            ax.plot(*np.vstack([edge, edge[:1]]).T, color="white", linewidth=1.5)
            style.pixel_axes(ax, len(face))
        row[0].set_ylabel(f"{sign} peaks\ny (pixels)")
    label = "scatter of the peak (pixels)"
    figure.colorbar(marks, ax=axes, label=label, shrink=0.8, extend="max")
    style.legend_below(figure, axes[0, 0])
    return figure


def _dots(
    ax: Axes, face: np.ndarray, peaks: np.ndarray, top: float, size: float, growth: float = 0
) -> PathCollection:
    """Mark (K, 3) x, y, value by dots; with ``growth`` larger values have larger dots, on top."""
    style.picture(ax, face, grey=True)
    x, y, values = (peaks[np.argsort(peaks[:, 2])] if growth else peaks).T
    look: style.Look = dict(cmap=style.MAGNITUDE, vmin=0, vmax=top, edgecolor="white")
    return ax.scatter(x, y, size + growth * values / top, values, linewidth=0.3, **look)


@style.house()
def figure_7(face: ArrayLike, locations: ArrayLike, differences: Named, boxes: Named) -> Figure:
    """Draw Figure 7: occluded part -> (K,) mean differences at (K, 2) locations, and occluder.

    Each panel has a scale of its own, and names its largest difference.
    """
    face, locations = style.require_images(face, "face", "HW"), np.asarray(locations)
    changes = style.require_each(differences, (len(locations),), "differences")
    tops = {part: float(np.nanmax(change)) for part, change in changes.items()}
    titles = [f"{part.replace('_', ' ')}\nlargest {top:.2g}" for part, top in tops.items()]
    figure, axes = style.grid([""], titles, cell=1.9, extra=1, share=True)
    for ax, (part, change) in zip(axes[0], changes.items(), strict=True):
        share = change / (tops[part] or 1.0)
        marks = _dots(ax, face, np.column_stack([locations, share]), 1, 4, growth=36)
        style.outline_box(ax, boxes[part])
        style.pixel_axes(ax, len(face))
    label = "mean |feature difference|,\nshare of the panel's largest"
    figure.colorbar(marks, ax=axes, label=label, shrink=0.9)
    return figure


@style.house()
def figure_explorer(faces: ArrayLike, peaks: Named, changes: Named, *, row_names: Names) -> Figure:
    """Draw R covered faces, and by variant its (R, K, 2) peaks and (R, K) changes."""
    faces = style.require_images(faces, "faces")
    places = style.require_each(peaks, (len(faces), "K", 2), "peaks")
    change = style.require_each(changes, (len(faces), "K"), "changes")
    top = max(float(values.max()) for values in change.values()) or 1.0
    titles = ["covered", *(style.variant(name).title for name in peaks), "change, sorted"]
    figure, axes = style.grid(row_names, titles, cell=1.5, extra=1)
    for row, face in enumerate(faces):
        covered, *panels, curve = axes[row]
        style.picture(covered, face)
        for ax, name in zip(panels, places, strict=True):
            values = change[name][row]
            dots = np.column_stack([places[name][row], values])
            marks = _dots(ax, face, dots, top, 4, growth=36)
            curve.plot(np.sort(values)[::-1], **style.curve(name))
        curve.set(ylim=(0, 1.05 * top), box_aspect=1)
        curve.yaxis.tick_right()
        curve.label_outer()
    axes[-1, -1].set_xlabel("rank of the filter")
    figure.colorbar(marks, ax=axes, label="|feature difference|", shrink=0.6, pad=0.02)
    style.legend_below(figure, axes[0, -1])
    return figure


@style.house()
def figure_9(
    queries: ArrayLike, retrieved: ArrayLike, same: ArrayLike, boxes: ArrayLike, *, parts: Names
) -> Figure:
    """Draw Figure 9: Q queries by a part, the k faces found for each, and who is the ``same``.

    ``boxes`` (Q, 1 + k, 4), x, y, width and height, are around the part of query and found.
    """
    queries = style.require_images(queries, "queries")
    retrieved = style.require(retrieved, (len(queries), "k", *queries.shape[1:]), "retrieved")
    same = style.require(same, retrieved.shape[:2], "same")
    count = retrieved.shape[1]
    boxes = style.require(boxes, (len(queries), 1 + count, 4), "boxes")
    titles = ["query", *(f"rank {k + 1}" for k in range(count))]
    figure, axes = style.grid(parts, titles, cell=1.25, extra=0.4)
    hit, miss = ("✓ same person", style.YES, "-"), ("✗ other person", style.NO, "--")
    for index, row in enumerate(axes):
        style.picture_row(row, [queries[index], *retrieved[index]])
        for ax, box in zip(row, boxes[index], strict=True):
            style.outline_box(ax, box, edgecolor="white")
        for ax, known in zip(row[1:], same[index], strict=True):
            label, colour, dashes = hit if known else miss
            ax.spines[:].set(visible=True, linewidth=3, color=colour, linestyle=dashes)
            ax.set_xlabel(label, fontsize=8, labelpad=3)
    return figure


@style.house()
def figure_maps(
    faces: ArrayLike, maps: Named, *, row_names: Names, shares: bool = False, occluders: Any = None
) -> Figure:
    """Draw R faces and by name maps (R, h, w) over each, every one on a scale of its own.

    Or, as Figures 1 and 8 do, ``shares`` within ±1 of what a filter answers at most: the largest
    of each map, where below 1, is written in it. ``occluders`` (R, H, W) bool are outlined.
    """
    faces = style.require_images(faces, "faces")
    shown = style.require_each(maps, (len(faces), "h", "w"), "maps")
    largest = {name: np.abs(values).max(axis=(1, 2)) for name, values in shown.items()}
    if shares and (top := max(tops.max() for tops in largest.values())) > 1 + 1e-6:
        raise ValueError(f"maps must be shares within -1..1, got {top:.3g}")
    masks = np.zeros(faces.shape[:3], bool) if occluders is None else np.asarray(occluders)
    titles = ["face", *(textwrap.fill(style.variant(name).title, 12) for name in shown)]
    figure, axes = style.grid(row_names, titles, cell=1.25, extra=1)
    for row, (line, face, mask) in enumerate(zip(axes, faces, masks, strict=True)):
        style.picture(line[0], face)
        for ax, (name, values) in zip(line[1:], shown.items(), strict=True):
            top = largest[name][row]
            end = 1 if shares else top or 1
            scale = ScalarMappable(Normalize(-end, end), style.SIGNED)
            _overlay(ax, face, values[row], scale, **(SMOOTH if shares else {}))
            words = f"{top:.2f}" if shares and top < 0.995 else ""
            number: style.Look = dict(transform=ax.transAxes, ha="right", fontsize=7, zorder=4)
            ground: style.Look = dict(facecolor="white", alpha=0.6, linewidth=0, pad=0.6)
            ax.text(0.97, 0.04, words, bbox=ground if words else None, **number)
        for ax in line if mask.any() else ():
            ax.contour(mask, levels=[0.5], colors=style.OUTLINE, linewidths=1, zorder=3)
    if shares:
        label = "response / the filter's largest\n(orange: positive, purple: negative)"
        figure.colorbar(scale, ax=axes, label=label, ticks=[-1, 0, 1], shrink=0.8, pad=0.01)
    return figure


@style.house()
def figure_similarity(matrices: Named, *, label: str, limits: tuple[float, float]) -> Figure:
    """Draw how alike all pairs of filters are, variant -> (K, K), less the diagonal.

    The filters come in the order of their places, from the top of the face to the bottom.
    """
    squares = style.require_each(matrices, ("K", "K"), "matrices")
    pairs = {name: np.where(np.eye(len(one)), np.nan, one) for name, one in squares.items()}
    means = {style.variant(name).title: np.nanmean(values) for name, values in pairs.items()}
    titles = [f"{title}\nmean {mean:.3f}" for title, mean in means.items()]
    figure, axes = style.grid([""], titles, cell=2.3, extra=1)
    look: style.Look = dict(cmap=style.MAGNITUDE, norm=Normalize(*limits), interpolation="nearest")
    for ax, matrix in zip(axes[0], pairs.values(), strict=True):
        marks = ax.imshow(matrix, **look)
        ax.set(xticks=[], yticks=[])
    axes[0, 0].set(ylabel="filters, from forehead to chin", xlabel="filters, in the same order")
    figure.colorbar(marks, ax=list(axes[0]), label=label, shrink=0.85, extend="max")
    return figure


@style.house()
def figure_explanation(
    faces: Sequence[np.ndarray], maps: Sequence[np.ndarray], frontal_faces: ArrayLike,
    frontal_maps: ArrayLike, parts: pd.DataFrame, *, sentence: str,
) -> Figure:  # fmt: skip
    """Draw faces, maps (H, W), both from the front, and ``parts`` (rows) of each face (columns)."""
    fronts = style.require_images(frontal_faces, "frontal_faces")
    rows = len(fronts)
    fronts_shown = style.require(frontal_maps, (rows, "h", "w"), "frontal_maps")
    top = max(float(np.nanmax(np.abs(one), initial=0)) for one in [*maps, *fronts_shown]) or 1.0
    scale = ScalarMappable(Normalize(-top, top), style.SIGNED)
    figure = Figure(figsize=(9.4, 1.8 * rows + 0.9), layout="constrained")
    panels: list = [[f"face {k}", f"map {k}", f"front {k}", "bars"] for k in range(rows)]
    axes = figure.subplot_mosaic(panels, width_ratios=(1, 1, 1, 1.5))
    bars = axes.pop("bars")
    for row, name in enumerate(parts):
        style.picture(axes[f"face {row}"], faces[row])
        axes[f"face {row}"].set_ylabel(name)
        _overlay(axes[f"map {row}"], faces[row], maps[row], scale)
        _overlay(axes[f"front {row}"], fronts[row], fronts_shown[row], scale)
    for kind, title in dict(face="face", map="what it contributes", front="from the front").items():
        axes[f"{kind} 0"].set_title(title)
    named = parts.rename(columns="places of {}".format)
    named.plot.barh(ax=bars, width=0.8, color=["0.3", "0.65"][:rows])
    bars.axvline(0, color="0.3", linewidth=0.8)
    bars.invert_yaxis()
    bars.set(xlabel="share of the score", ylabel="")
    bars.legend(loc="lower center", bbox_to_anchor=(0.4, 1))
    label = "share of the score\nof 1 % of the crop"
    figure.colorbar(scale, ax=list(axes.values()), label=label, shrink=0.8)
    figure.supxlabel("\n".join(textwrap.wrap(sentence, 132)), fontsize=9, x=0.01, ha="left")
    return figure


def _overlay(
    ax: Axes, face: np.ndarray, values: np.ndarray, scale: ScalarMappable, **look: Any
) -> None:
    """Lay signed values over a pale picture."""
    style.picture(ax, face, grey=True)
    extent = (0, face.shape[1], face.shape[0], 0)
    look |= dict(cmap=scale.cmap, norm=scale.norm, zorder=2, extent=extent)
    ax.imshow(values, **look)
