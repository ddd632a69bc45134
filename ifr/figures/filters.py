"""Figures of filters (Fig. 1, 5-9), of what an occlusion changes and what makes a score.

Faces are (..., H, W, 3) uint8; places and boxes are pixels of them, x then y.
"""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PathCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from ifr.figures import style
from ifr.figures.style import Named, Names


@style.house()
def figure_5(
    face: ArrayLike, positive: Named, negative: Named, spreadness: Mapping[str, float]
) -> Figure:
    """Draw Figure 5, by title of the model: (K, 3) x, y, deviation, NaN without a peak; and d̄."""
    face = style.require_images(face, "face", "HW")
    given = dict(positive=positive, negative=negative)
    signs = {sign: style.require_each(peaks, ("K", 3), sign) for sign, peaks in given.items()}
    deviations = [table[:, 2] for tables in signs.values() for table in tables.values()]
    top = float(np.nanmax(np.concatenate(deviations), initial=1.0))
    titles = [f"{title}\n$\\bar{{d}}$ = {spreadness[title]:.1f} pixels" for title in positive]
    figure, axes = style.grid(["", ""], titles, cell=2.4, extra=0.7, share=True)
    for row, (sign, tables) in zip(axes, signs.items(), strict=True):
        for ax, title in zip(row, positive, strict=True):
            marks = _dots(ax, face, tables[title], top, 14)
            style.pixel_axes(ax, len(face))
        row[0].set_ylabel(f"{sign} peaks\ny (pixels)")
    figure.colorbar(marks, ax=axes, label="standard deviation of the peak (pixels)", shrink=0.8)
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
def figure_5_weight_sweep(table: pd.DataFrame) -> Figure:
    """Draw d̄ against the weight of the loss; columns weight, d_bar_pixels, low, high."""
    table = table.sort_values("weight")
    figure, (ax,) = style.panels(1, 4, 3)
    style.intervals(ax, table[["d_bar_pixels", "low", "high"]], fmt="o-")
    # Evenly spaced: the weights run over powers of ten and include 0.
    ax.set_xticks(np.arange(len(table)), [f"{weight:g}" for weight in table["weight"]])
    ax.set(xlabel="weight of the response loss", ylim=(0, None))
    ax.set_ylabel("spreadness $\\bar{d}$ (pixels)")
    return figure


@style.house()
def figure_6(differences: Mapping[str, Named]) -> Figure:
    """Draw Figure 6, mean feature differences sorted: occluded part -> title of model -> (K,)."""
    figure, axes = style.panels(len(differences), 3.4 * len(differences) + 0.4, 3, sharey=True)
    for ax, (part, models) in zip(axes, differences.items(), strict=True):
        for index, (title, values) in enumerate(models.items()):
            falling = np.sort(np.asarray(values))[::-1]
            ax.plot(np.arange(1, len(falling) + 1), falling, label=title, **style.line(index))
        ax.set(title=f"{part} occluded", xlabel="filters, sorted by difference", xlim=(1, None))
    axes[0].set(ylabel="mean |feature difference|\n(features of length 1)", ylim=(0, None))
    axes[-1].legend()
    return figure


@style.house()
def figure_7(face: ArrayLike, locations: ArrayLike, differences: Named, boxes: Named) -> Figure:
    """Draw Figure 7: occluded part -> (K,) mean differences at (K, 2) locations, and occluder."""
    face, locations = style.require_images(face, "face", "HW"), np.asarray(locations)
    changes = style.require_each(differences, (len(locations),), "differences")
    top = max(float(np.nanmax(change)) for change in changes.values()) or 1.0
    titles = [
        f"{part.replace('_', ' ')}\nlargest {np.nanmax(changes[part]):.2g}" for part in changes
    ]
    figure, axes = style.grid([""], titles, cell=1.9, extra=0.8, share=True)
    for ax, (part, change) in zip(axes[0], changes.items(), strict=True):
        marks = _dots(ax, face, np.column_stack([locations, change]), top, 6, growth=44)
        style.outline_box(ax, boxes[part])
        style.pixel_axes(ax, len(face))
    figure.colorbar(marks, ax=axes, label="mean |feature\ndifference|", shrink=0.9)
    return figure


@style.house()
def figure_selected_features(differences: Named, *, keep: int) -> Figure:
    """Draw sorted mean differences, title -> (K,), and the ``keep`` that τ selects (Sec. 3.2)."""
    figure, axes = style.panels(len(differences), 2.7 * len(differences) + 0.4, 2.6, sharey=True)
    for ax, (title, values) in zip(axes, differences.items(), strict=True):
        rising = np.sort(np.asarray(values))
        at = np.arange(len(rising))
        ax.bar(at[:keep], rising[:keep], width=1, color=style.SAME, label="τ = 1, held alike")
        ax.bar(at[keep:], rising[keep:], width=1, color=style.OTHER, label="τ = 0, free")
        ax.set(title=title, xlabel="feature element, sorted")
    axes[0].set_ylabel("mean |f(I) − f(Î)|")
    style.legend_below(figure, axes[0])
    return figure


@style.house()
def figure_explorer(faces: ArrayLike, peaks: Named, changes: Named, *, row_names: Names) -> Figure:
    """Draw R covered faces, and by title of a network its (R, K, 2) peaks and (R, K) changes."""
    faces = style.require_images(faces, "faces")
    places = style.require_each(peaks, (len(faces), "K", 2), "peaks")
    change = style.require_each(changes, (len(faces), "K"), "changes")
    top = max(float(values.max()) for values in change.values()) or 1.0
    titles = ["covered face", *peaks, "change, sorted"]
    figure, axes = style.grid(row_names, titles, cell=1.5, extra=0.9)
    for row, face in enumerate(faces):
        covered, *panels, curve = axes[row]
        style.picture(covered, face)
        for column, (ax, title) in enumerate(zip(panels, places, strict=True)):
            values = change[title][row]
            dots = np.column_stack([places[title][row], values])
            marks = _dots(ax, face, dots, top, 4, growth=36)
            curve.plot(np.sort(values)[::-1], label=title, **style.line(column))
        curve.set(ylim=(0, top), box_aspect=1)
        curve.yaxis.tick_right()
    axes[-1, -1].set_xlabel("rank of the filter")
    axes[0, -1].legend(loc="upper right", fontsize=6)
    figure.colorbar(marks, ax=axes, label="|feature difference|", shrink=0.6, pad=0.02)
    return figure


@style.house()
def figure_9(queries: ArrayLike, retrieved: ArrayLike, same: ArrayLike, *, parts: Names) -> Figure:
    """Draw Figure 9: Q queries by a part, the k faces found for each, and who is the ``same``."""
    queries = style.require_images(queries, "queries")
    retrieved = style.require(retrieved, (len(queries), "k", *queries.shape[1:]), "retrieved")
    same = style.require(same, retrieved.shape[:2], "same")
    titles = ["query", *(f"rank {k + 1}" for k in range(retrieved.shape[1]))]
    figure, axes = style.grid(parts, titles, cell=1.15, extra=0.4)
    hit, miss = ("✓ same person", style.SAME, "-"), ("✗ other person", style.OTHER, "--")
    for index, row in enumerate(axes):
        style.picture_row(row, [queries[index], *retrieved[index]])
        for ax, known in zip(row[1:], same[index], strict=True):
            label, colour, dashes = hit if known else miss
            ax.spines[:].set(visible=True, linewidth=3, color=colour, linestyle=dashes)
            ax.set_xlabel(label, fontsize=8, labelpad=3)
    return figure


@style.house()
def figure_1(
    faces: ArrayLike,
    responses: ArrayLike,
    *,
    row_names: Names,
    filter_names: Names,
    occluders: ArrayLike | None = None,
) -> Figure:
    """Draw Figure 1: R faces, (R, F, h, w) responses, and outlines of (R, H, W) bool occluders."""
    figure, axes = _response_grid(faces, responses, row_names, filter_names, 1.25)
    if occluders is not None:
        masks = style.require(occluders, np.shape(faces)[:3], "occluders")
        y, x = (np.arange(size) + 0.5 for size in masks.shape[1:])  # pixel centres
        look: style.Look = dict(levels=[0.5], colors=style.OUTLINE, linewidths=1, zorder=3)
        for row, mask in zip(axes, masks, strict=True):
            for ax in row if mask.any() else ():
                ax.contour(x, y, mask.astype(float), **look)
    return figure


@style.house()
def figure_8(
    faces: ArrayLike, responses: ArrayLike, *, filter_names: Names, groups: Mapping[str, int]
) -> Figure:
    """Draw Figure 8, like Figure 1; ``groups`` is name -> number of its rows, in all R."""
    count = len(np.asarray(faces))
    if sum(groups.values()) != count:
        raise ValueError(f"groups must add up to the {count} faces, got {dict(groups)}")
    # Each name stands beside the middle of its rows.
    names = [name if at == rows // 2 else "" for name, rows in groups.items() for at in range(rows)]
    return _response_grid(faces, responses, names, filter_names, 0.95)[0]


def _response_grid(
    faces: ArrayLike, responses: ArrayLike, row_names: Names, filter_names: Names, cell: float
) -> tuple[Figure, np.ndarray]:
    """Draw each face, then each filter's map over it, the more opaque the larger."""
    faces = style.require_images(faces, "faces")
    responses = style.require(responses, (len(faces), "F", "h", "w"), "responses")
    figure, axes = style.grid(row_names, ["face", *filter_names], cell=cell, extra=0.7)
    limits = np.abs(responses).max(axis=(0, 2, 3), initial=0)
    scaled = responses / np.where(limits > 0, limits, 1)[:, None, None]
    scale = ScalarMappable(Normalize(-1, 1), style.SIGNED)
    smooth: style.Look = dict(interpolation="bilinear", interpolation_stage="data")
    for line, face, maps in zip(axes, faces, scaled, strict=True):
        style.picture(line[0], face)
        for ax, response in zip(line[1:], maps, strict=True):
            _overlay(ax, face, response, scale, **smooth)
    label = "response / the filter's largest\n(orange: positive, purple: negative)"
    figure.colorbar(scale, ax=axes, label=label, ticks=[-1, 0, 1], shrink=0.8, pad=0.01)
    return figure, axes


@style.house()
def figure_kept_magnitude(kept: ArrayLike, held: Named, *, marks: Sequence[float]) -> Figure:
    """Draw the share of magnitude in the share ``kept`` of responses; "noise" is dotted grey."""
    curves = style.require_each(held, np.shape(kept), "held")
    figure, (ax,) = style.panels(1, 5.2, 3.4)
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
def figure_similarity(matrices: Named, *, label: str, limits: tuple[float, float]) -> Figure:
    """Draw how alike all pairs of filters are, title of network -> (K, K), less the diagonal."""
    squares = style.require_each(matrices, ("K", "K"), "matrices")
    figure, axes = style.grid([""], list(squares), cell=2.3, extra=0.8)
    look: style.Look = dict(cmap=style.MAGNITUDE, norm=Normalize(*limits), interpolation="nearest")
    for ax, matrix in zip(axes[0], squares.values(), strict=True):
        marks = ax.imshow(np.where(np.eye(len(matrix)), np.nan, matrix), **look)
        ends = [0, len(matrix) - 1]
        ax.set(xlabel="filter", xticks=ends, yticks=ends)
    axes[0, 0].set_ylabel("filter")
    figure.colorbar(marks, ax=list(axes[0]), label=label, shrink=0.85, extend="max")
    return figure


@style.house()
def figure_peak_overlap(table: pd.DataFrame) -> Figure:
    """Draw what Eq. 2 sees of two peaks apart; columns smoothing, distance, squared_cosine."""
    figure, (ax,) = style.panels(1, 4.6, 3)
    for index, (name, rows) in enumerate(table.groupby("smoothing", sort=False)):
        look = style.line(index) | dict(marker=style.MARKERS[index], label=name)
        ax.plot(rows["distance"], rows["squared_cosine"], **look)
    ax.set(xlabel="distance of the two peaks (responses)", ylabel="squared cosine", ylim=(0, 1.05))
    ax.legend(title="size of $g_\\sigma$")
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
    named.plot.barh(ax=bars, width=0.8, color=list(style.PALETTE[:rows]))
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


@style.house()
def figure_maps(faces: ArrayLike, maps: Named, *, row_names: Names) -> Figure:
    """Draw R faces and by name maps (R, h, w) of each, every one on a scale of its own."""
    faces = style.require_images(faces, "faces")
    titles = ["face", *(textwrap.fill(name, 12) for name in maps)]
    figure, axes = style.grid(row_names, titles, cell=1.05, extra=0.6)
    for row, (line, face) in enumerate(zip(axes, faces, strict=True)):
        style.picture(line[0], face)
        for ax, values in zip(line[1:], maps.values(), strict=True):
            one = np.asarray(values)[row]
            top = np.abs(one).max() or 1.0
            _overlay(ax, face, one, ScalarMappable(Normalize(-top, top), style.SIGNED))
    return figure
