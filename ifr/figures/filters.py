"""Figures of filters: where they look, what an occlusion changes (Fig. 5, 6, 7 and 9).

Faces are (..., H, W, 3) uint8; places and boxes are pixels of them, x then y.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike

from ifr.figures import style


@style.house()
def figure_5(
    face: ArrayLike,
    positive: Mapping[str, ArrayLike],
    negative: Mapping[str, ArrayLike],
    spreadness: Mapping[str, float],
) -> Figure:
    """Draw Figure 5: the average peak location of each filter, positive above, negative below.

    Args:
        face: mean frontal face.
        positive: title of the model -> (K, 3): x, y, standard deviation, all in pixels. Rows with
            NaN (a filter without such a peak) are left out.
        negative: the same for negative peaks.
        spreadness: title of the model -> d̄ in pixels, mean of both signs.
    """
    face = style.require_images(face, "face", ("H", "W", 3))
    style.require_same_keys(positive, negative, "positive and negative")
    style.require_same_keys(positive, spreadness, "positive and spreadness")
    signs = {
        "positive": style.require_each(positive, ("K", 3), "positive"),
        "negative": style.require_each(negative, ("K", 3), "negative"),
    }
    deviations = [table[:, 2] for tables in signs.values() for table in tables.values()]
    top = float(np.nanmax(np.concatenate(deviations), initial=1.0))
    figure, axes = style.grid(2, len(positive), cell=2.4, extra=0.7, share=True)
    for row, (sign, tables) in zip(axes, signs.items(), strict=True):
        for ax, title in zip(row, positive, strict=True):
            style.picture(ax, face, grey=True)
            marks = style.dots(ax, tables[title][:, :2], tables[title][:, 2], top, 14)
            style.pixel_axes(ax, len(face))
        row[0].set_ylabel(f"{sign} peaks\ny (pixels)")
    for ax, title in zip(axes[0], positive, strict=True):
        ax.set_title(f"{title}\n$\\bar{{d}}$ = {spreadness[title]:.1f} pixels")
    figure.colorbar(marks, ax=axes, label="standard deviation of the peak (pixels)", shrink=0.8)
    return figure


@style.house()
def figure_5_weight_sweep(table: pd.DataFrame) -> Figure:
    """Draw d̄ against the weight of the response loss.

    Args:
        table: columns weight, d_bar_pixels, low, high.
    """
    measured = ["d_bar_pixels", "low", "high"]
    style.require_columns(table, ("weight", *measured))
    table = table.sort_values("weight")
    figure, ax = style.plot(4, 3)
    at = np.arange(len(table))
    style.intervals(ax, at, table[measured], fmt="o-")
    # Evenly spaced: the weights run over powers of ten and include 0.
    ax.set_xticks(at, [f"{weight:g}" for weight in table["weight"]])
    ax.set(xlabel="weight of the response loss", ylabel="spreadness $\\bar{d}$ (pixels)")
    ax.set_ylim(bottom=0)
    return figure


@style.house()
def figure_6(differences: Mapping[str, Mapping[str, ArrayLike]]) -> Figure:
    """Draw Figure 6: mean feature difference of each filter, sorted, for each model.

    Args:
        differences: occluded part -> title of the model -> (K,) mean absolute differences.
    """
    if not differences:
        raise ValueError("differences must name at least one occluded part, got none")
    figure, axes = style.panels(len(differences), 3.4 * len(differences) + 0.4, 3, sharey=True)
    for ax, (part, models) in zip(axes, differences.items(), strict=True):
        for index, (title, values) in enumerate(models.items()):
            falling = np.sort(np.asarray(values))[::-1]
            ax.plot(np.arange(1, len(falling) + 1), falling, label=title, **style.line(index))
        ax.set(title=f"{part} occluded", xlabel="filters, sorted by difference", xlim=(1, None))
    axes[0].set_ylabel("mean |feature difference|\n(features of length 1)")
    axes[0].set_ylim(bottom=0)
    axes[-1].legend()
    return figure


@style.house()
def figure_7(
    face: ArrayLike,
    locations: ArrayLike,
    differences: Mapping[str, ArrayLike],
    boxes: Mapping[str, Sequence[float]],
) -> Figure:
    """Draw Figure 7: how much each filter's feature changes, at the place where the filter looks.

    Args:
        face: mean frontal face.
        locations: (K, 2) average peak locations.
        differences: occluded part -> (K,) mean absolute differences.
        boxes: occluded part -> x, y, width, height of the occluder.
    """
    face = style.require_images(face, "face", ("H", "W", 3))
    locations = style.require(locations, ("K", 2), "locations")
    style.require_same_keys(differences, boxes, "differences and boxes")
    changes = style.require_each(differences, (len(locations),), "differences")
    top = max(float(np.nanmax(change)) for change in changes.values()) or 1.0
    figure, axes = style.grid(1, len(changes), cell=1.9, extra=0.8, share=True)
    for ax, (part, change) in zip(axes[0], changes.items(), strict=True):
        style.picture(ax, face, grey=True)
        order = np.argsort(change)  # the largest on top
        sizes = 6 + 44 * change[order] / top
        marks = style.dots(ax, locations[order], change[order], top, sizes)
        x, y, width, height = boxes[part]
        ax.add_patch(Rectangle((x, y), width, height, fill=False, **style.OCCLUDER))
        style.pixel_axes(ax, len(face))
        ax.set_title(f"{part.replace('_', ' ')}\nlargest {np.nanmax(change):.2g}")
    figure.colorbar(marks, ax=axes, label="mean |feature\ndifference|", shrink=0.9)
    return figure


@style.house()
def figure_selected_features(differences: Mapping[str, ArrayLike], *, keep: int) -> Figure:
    """Draw the sorted mean differences of a batch and which of them τ selects (Sec. 3.2).

    Args:
        differences: title -> (K,) mean absolute difference of each feature element.
        keep: how many of the smallest are selected.
    """
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
def figure_explorer(
    faces: ArrayLike,
    peaks: Mapping[str, ArrayLike],
    changes: Mapping[str, ArrayLike],
    *,
    row_names: Sequence[str],
) -> Figure:
    """Draw views of the explorer: a covered face, and where which feature changed, by network.

    Args:
        faces: R covered faces, one row each.
        peaks: title of a network -> (R, K, 2) peaks of its filters.
        changes: title -> (R, K) change of each feature; one scale for all.
        row_names: R names of the covers.
    """
    faces = style.require_images(faces, "faces")
    style.require_same_keys(peaks, changes, "peaks and changes")
    places = style.require_each(peaks, (len(faces), "K", 2), "peaks")
    change = style.require_each(changes, (len(faces), "K"), "changes")
    top = max(float(values.max()) for values in change.values()) or 1.0
    figure, axes = style.grid(len(faces), len(peaks) + 2, cell=1.5, extra=0.9)
    for row, (face, name) in enumerate(zip(faces, row_names, strict=True)):
        covered, *panels, curve = axes[row]
        style.picture(covered, face)
        covered.set_ylabel(name)
        for column, (ax, title) in enumerate(zip(panels, places, strict=True)):
            order = np.argsort(change[title][row])  # the largest on top
            values = change[title][row, order]
            style.picture(ax, face, grey=True)
            marks = style.dots(ax, places[title][row, order], values, top, 4 + 36 * values / top)
            curve.plot(values[::-1], label=title, **style.line(column))
        curve.set(ylim=(0, top), box_aspect=1)
        curve.yaxis.tick_right()
    axes[-1, -1].set_xlabel("rank of the filter")
    for ax, title in zip(axes[0], ["covered face", *peaks, "change, sorted"], strict=True):
        ax.set_title(title)
    axes[0, -1].legend(loc="upper right", fontsize=6)
    figure.colorbar(marks, ax=axes, label="|feature difference|", shrink=0.6, pad=0.02)
    return figure


@style.house()
def figure_9(
    queries: ArrayLike, retrieved: ArrayLike, same: ArrayLike, *, parts: Sequence[str]
) -> Figure:
    """Draw Figure 9: queries by one part of the face and the faces found, best first.

    Args:
        queries: Q faces.
        retrieved: (Q, k, H, W, 3) uint8.
        same: (Q, k) bool, whether the face found is of the person of the query.
        parts: Q names of the part that was compared.
    """
    queries = style.require_images(queries, "queries")
    retrieved = style.require(retrieved, (len(queries), "k", *queries.shape[1:]), "retrieved")
    same = style.require(same, retrieved.shape[:2], "same")
    figure, axes = style.grid(len(queries), retrieved.shape[1] + 1, cell=1.15, extra=0.4)
    hit: style.Look = dict(color=style.SAME, linestyle="-")
    miss: style.Look = dict(color=style.OTHER, linestyle="--")
    for index, (row, part) in enumerate(zip(axes, parts, strict=True)):
        style.picture_row(row, [queries[index], *retrieved[index]])
        row[0].set_ylabel(part)
        for ax, known in zip(row[1:], same[index], strict=True):
            for side in ax.spines.values():
                side.set(visible=True, linewidth=3, **(hit if known else miss))
            ax.set_xlabel("✓ same person" if known else "✗ other person", fontsize=8, labelpad=3)
    for rank, ax in enumerate(axes[0]):
        ax.set_title(f"rank {rank}" if rank else "query")
    return figure
