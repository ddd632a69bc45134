"""One function for each figure: takes numbers, returns a Matplotlib figure, computes no result."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle
from numpy.typing import ArrayLike

from ifr.figures.style import (
    LINES,
    MAGNITUDE,
    MARKERS,
    OUTLINE,
    PALETTE,
    SIGNED,
    border,
    canvas,
    frame_axes,
    grid,
    heat,
    picture,
    require,
    require_columns,
    require_images,
    require_same_keys,
    style,
)
from ifr.figures.style import save_figure as save_figure

SAME, OTHER = PALETTE[0], PALETTE[1]  # blue and orange, told apart by every kind of colour vision
RESPONSE_LABEL = "response / the filter's largest\n(orange: positive, purple: negative)"


@style()
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
    faces = require_images(faces, "faces")
    figure, axes = _response_grid(faces, responses, row_names, filter_names)
    if occluders is not None:
        masks = require(occluders, faces.shape[:3], "occluders")
        for row, mask in zip(axes, masks, strict=True):
            for ax in row:
                _outline(ax, mask)
    return figure


@style()
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
    faces = require_images(faces, "faces")
    if sum(groups.values()) != len(faces):
        raise ValueError(f"groups must add up to the {len(faces)} faces, got {dict(groups)}")
    names = [
        title if row == count // 2 else ""  # beside the middle of its rows
        for title, count in groups.items()
        for row in range(count)
    ]
    figure, _ = _response_grid(faces, responses, names, filter_names, cell=0.95)
    return figure


def _response_grid(faces, responses, row_names, filter_names, *, cell: float = 1.25):
    responses = require(responses, (len(faces), "F", "h", "w"), "responses")
    rows, filters = responses.shape[:2]
    require(row_names, (rows,), "row_names")
    require(filter_names, (filters,), "filter_names")
    figure, axes = grid(rows, filters + 1, cell=cell, extra=0.7)
    limits = np.abs(responses).max(axis=(0, 2, 3), initial=0)
    for row in range(rows):
        picture(axes[row, 0], faces[row])
        axes[row, 0].set_ylabel(row_names[row])
        for column in range(filters):
            ax = axes[row, column + 1]
            picture(ax, faces[row], grey=True)
            heat(ax, responses[row, column], faces.shape[1:3], limits[column])
    for ax, name in zip(axes[0], ["face", *filter_names], strict=True):
        ax.set_title(name)
    scale = ScalarMappable(Normalize(-1, 1), SIGNED)
    figure.colorbar(scale, ax=axes, label=RESPONSE_LABEL, ticks=[-1, 0, 1], shrink=0.8, pad=0.01)
    return figure, axes


def _outline(ax: Axes, mask: np.ndarray) -> None:
    if mask.any():
        rows, columns = (np.arange(size) + 0.5 for size in mask.shape)  # pixel centres
        ax.contour(columns, rows, mask.astype(float), [0.5], colors=OUTLINE, linewidths=1, zorder=3)


@style()
def figure_3(
    template: ArrayLike,
    mesh_points: ArrayLike,
    triangles: ArrayLike,
    rectangle: Sequence[float],
    faces: ArrayLike,
    quadrilaterals: ArrayLike,
    *,
    titles: Sequence[str] = (),
) -> Figure:
    """Draw Figure 3: a rectangle on the template, warped to faces of other poses.

    Args:
        template: (H, W, 3) uint8 frontal face.
        mesh_points: (76, 2) mesh points in pixels of the template.
        triangles: (142, 3) indices into the points.
        rectangle: x, y, width, height in pixels of the template.
        faces: (N, H, W, 3) uint8.
        quadrilaterals: (N, 4, 2) corners of the warped mask in pixels of each face.
        titles: N titles, for example the yaw.
    """
    faces = require_images(faces, "faces")
    template = require_images(np.asarray(template)[None], "template")[0]
    quadrilaterals = require(quadrilaterals, (len(faces), 4, 2), "quadrilaterals")
    points = require(mesh_points, ("P", 2), "mesh_points")
    figure, axes = grid(1, len(faces) + 1, cell=1.6, extra=0.35)
    first, *others = axes[0]
    picture(first, template)
    first.triplot(*points.T, triangles=np.asarray(triangles), color=PALETTE[0], linewidth=0.4)
    x, y, width, height = rectangle
    first.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor=OUTLINE, linewidth=1.5))
    first.set(xlim=(0, template.shape[1]), ylim=(template.shape[0], 0), title="template")
    for index, ax in enumerate(others):
        picture(ax, faces[index])
        ax.add_patch(
            Polygon(
                quadrilaterals[index],
                closed=True,
                fill=True,
                facecolor="black",
                alpha=0.75,
                edgecolor=OUTLINE,
                linewidth=1.5,
            )
        )
        if len(titles):
            ax.set_title(titles[index])
    return figure


@style()
def figure_4(examples: Mapping[str, ArrayLike]) -> Figure:
    """Draw Figure 4: examples of each data set, one row each.

    Args:
        examples: name of the set -> (n, H, W, 3) uint8.
    """
    if not examples:
        raise ValueError("examples must name at least one data set, got none")
    columns = max(len(images) for images in examples.values())
    figure, axes = grid(len(examples), columns, cell=1.1, extra=0.4)
    for row, (name, images) in zip(axes, examples.items(), strict=True):
        images = require_images(images, f"examples[{name!r}]")
        for ax, image in zip(row, images, strict=False):
            picture(ax, image)
        for ax in row[len(images) :]:
            ax.axis("off")
        row[0].set_ylabel(name)
    return figure


@style()
def figure_5(
    face: ArrayLike,
    positive: Mapping[str, ArrayLike],
    negative: Mapping[str, ArrayLike],
    spreadness: Mapping[str, float],
    *,
    limit: float | None = None,
) -> Figure:
    """Draw Figure 5: the average peak location of each filter, positive above, negative below.

    Args:
        face: (H, W, 3) uint8 mean frontal face; locations are pixels of it.
        positive: title of the model -> (K, 3): x, y, standard deviation, all in pixels. Rows with
            NaN (a filter without such a peak) are left out.
        negative: the same for negative peaks.
        spreadness: title of the model -> d̄ in pixels, mean of both signs.
        limit: top of the colour scale; the largest standard deviation if None.
    """
    face = require_images(np.asarray(face)[None], "face")[0]
    require_same_keys(dict(positive), dict(negative), "positive and negative")
    require_same_keys(dict(positive), dict(spreadness), "positive and spreadness")
    rows = [
        {title: require(table, ("K", 3), f"{sign}[{title!r}]") for title, table in tables.items()}
        for sign, tables in (("positive", positive), ("negative", negative))
    ]
    spreads = np.concatenate([table[:, 2] for row in rows for table in row.values()])
    top = limit or float(np.nanmax(spreads, initial=1.0))
    figure, axes = grid(2, len(positive), cell=2.4, extra=0.7, sharex=True, sharey=True)
    for line, row in enumerate(rows):
        for column, (title, table) in enumerate(row.items()):
            ax = axes[line, column]
            picture(ax, face, grey=True)
            marks = ax.scatter(
                *table[:, :2].T,
                c=table[:, 2],
                cmap=MAGNITUDE,
                vmin=0,
                vmax=top,
                s=14,
                edgecolor="white",
                linewidth=0.3,
            )
            frame_axes(ax, face.shape[0], left=column == 0, bottom=line == 1)
            if line == 0:
                ax.set_title(f"{title}\n$\\bar{{d}}$ = {spreadness[title]:.1f} pixels")
        axes[line, 0].set_ylabel(f"{('positive', 'negative')[line]} peaks\ny (pixels)")
    figure.colorbar(marks, ax=axes, label="standard deviation of the peak (pixels)", shrink=0.8)
    return figure


@style()
def figure_5_weight_sweep(table: pd.DataFrame) -> Figure:
    """Draw d̄ against the weight of the response loss.

    Args:
        table: columns weight, d_bar_pixels, low, high.
    """
    require_columns(table, ("weight", "d_bar_pixels", "low", "high"))
    table = table.sort_values("weight")
    figure = canvas(4, 3)
    ax = figure.subplots()
    at = np.arange(len(table))
    _interval(ax, at, table["d_bar_pixels"], table["low"], table["high"], marker="o-")
    # Evenly spaced: the weights run over powers of ten and include 0.
    ax.set_xticks(at, [f"{weight:g}" for weight in table["weight"]])
    ax.set(xlabel="weight of the response loss", ylabel="spreadness $\\bar{d}$ (pixels)")
    ax.set_ylim(bottom=0)
    return figure


@style()
def figure_6(differences: Mapping[str, Mapping[str, ArrayLike]]) -> Figure:
    """Draw Figure 6: mean feature difference of each filter, sorted, for each model.

    Args:
        differences: occluded part -> title of the model -> (K,) mean absolute differences.
    """
    if not differences:
        raise ValueError("differences must name at least one occluded part, got none")
    figure = canvas(3.4 * len(differences) + 0.4, 3)
    axes = figure.subplots(1, len(differences), sharey=True, squeeze=False)[0]
    for ax, (part, models) in zip(axes, differences.items(), strict=True):
        for index, (title, values) in enumerate(models.items()):
            values = np.sort(require(values, ("K",), f"differences[{part!r}][{title!r}]"))[::-1]
            rank = np.arange(1, len(values) + 1)
            ax.plot(rank, values, linestyle=LINES[index % len(LINES)], label=title)
        ax.set(title=f"{part} occluded", xlabel="filters, sorted by difference", xlim=(1, None))
    axes[0].set_ylabel("mean |feature difference|\n(features of length 1)")
    axes[0].set_ylim(bottom=0)
    axes[-1].legend()
    return figure


@style()
def figure_7(
    face: ArrayLike,
    locations: ArrayLike,
    differences: Mapping[str, ArrayLike],
    boxes: Mapping[str, Sequence[float]],
) -> Figure:
    """Draw Figure 7: how much each filter's feature changes, at the place where the filter looks.

    Args:
        face: (H, W, 3) uint8 mean frontal face.
        locations: (K, 2) average peak locations in pixels of it.
        differences: occluded part -> (K,) mean absolute differences.
        boxes: occluded part -> x, y, width, height of the occluder in pixels of the face.
    """
    face = require_images(np.asarray(face)[None], "face")[0]
    locations = require(locations, ("K", 2), "locations")
    require_same_keys(dict(differences), dict(boxes), "differences and boxes")
    values = {
        part: require(changes, (len(locations),), f"differences[{part!r}]")
        for part, changes in differences.items()
    }
    top = max(float(np.nanmax(changes)) for changes in values.values()) or 1.0
    figure, axes = grid(1, len(values), cell=1.9, extra=0.8, sharex=True, sharey=True)
    for column, (ax, (part, changes)) in enumerate(zip(axes[0], values.items(), strict=True)):
        picture(ax, face, grey=True)
        order = np.argsort(changes)  # the largest on top
        sizes = 6 + 44 * changes[order] / top
        marks = ax.scatter(
            *locations[order].T,
            c=changes[order],
            s=sizes,
            cmap=MAGNITUDE,
            vmin=0,
            vmax=top,
            edgecolor="white",
            linewidth=0.3,
        )
        x, y, width, height = boxes[part]
        ax.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor=OUTLINE, linewidth=1.5))
        frame_axes(ax, face.shape[0], left=column == 0, bottom=True)
        ax.set_title(f"{part.replace('_', ' ')}\nlargest {np.nanmax(changes):.2g}")
    figure.colorbar(marks, ax=axes, label="mean |feature\ndifference|", shrink=0.9)
    return figure


@style()
def figure_explorer(
    faces: ArrayLike,
    peaks: Mapping[str, ArrayLike],
    changes: Mapping[str, ArrayLike],
    *,
    row_names: Sequence[str],
) -> Figure:
    """Draw views of the explorer: a covered face, and where which feature changed, by network.

    Args:
        faces: (R, H, W, 3) uint8, the covered faces, one row each.
        peaks: title of a network -> (R, K, 2) peaks of its filters in pixels of the faces.
        changes: title -> (R, K) change of each feature; one scale for all.
        row_names: R names of the covers.
    """
    faces = require_images(faces, "faces")
    require_same_keys(dict(peaks), dict(changes), "peaks and changes")
    require(row_names, (len(faces),), "row_names")
    top = max(float(np.max(values)) for values in changes.values()) or 1.0
    figure, axes = grid(len(faces), len(peaks) + 2, cell=1.5, extra=0.9)
    for row, face in enumerate(faces):
        picture(axes[row, 0], face)
        axes[row, 0].set_ylabel(row_names[row])
        curve = axes[row, -1]
        for column, title in enumerate(peaks):
            places = require(peaks[title], (len(faces), "K", 2), f"peaks[{title!r}]")[row]
            values = np.asarray(changes[title])[row]
            ax, order = axes[row, column + 1], np.argsort(values)
            picture(ax, face, grey=True)
            marks = ax.scatter(
                *places[order].T,
                c=values[order],
                s=4 + 36 * values[order] / top,
                cmap=MAGNITUDE,
                vmin=0,
                vmax=top,
                edgecolor="white",
                linewidth=0.3,
            )
            curve.plot(
                np.sort(values)[::-1], color=PALETTE[column], label=title, linestyle=LINES[column]
            )
        curve.set(ylim=(0, top), xlabel="rank of the filter" if row == len(faces) - 1 else "")
        curve.yaxis.tick_right()
        curve.set_box_aspect(1)
    for ax, title in zip(axes[0], ["covered face", *peaks, "change, sorted"], strict=True):
        ax.set_title(title)
    axes[0, -1].legend(loc="upper right", fontsize=6)
    figure.colorbar(marks, ax=axes, label="|feature difference|", shrink=0.6, pad=0.02)
    return figure


@style()
def figure_9(
    queries: ArrayLike, retrieved: ArrayLike, same: ArrayLike, *, parts: Sequence[str]
) -> Figure:
    """Draw Figure 9: queries by one part of the face and the faces found, best first.

    Args:
        queries: (Q, H, W, 3) uint8.
        retrieved: (Q, k, H, W, 3) uint8.
        same: (Q, k) bool, whether the face found is of the person of the query.
        parts: Q names of the part that was compared.
    """
    queries = require_images(queries, "queries")
    retrieved = require(retrieved, (len(queries), "k", *queries.shape[1:]), "retrieved")
    same = require(same, retrieved.shape[:2], "same")
    require(parts, (len(queries),), "parts")
    figure, axes = grid(len(queries), retrieved.shape[1] + 1, cell=1.15, extra=0.4)
    for row, ax in enumerate(axes[:, 0]):
        picture(ax, queries[row])
        ax.set_ylabel(parts[row])
        for column, other in enumerate(axes[row, 1:]):
            picture(other, retrieved[row, column])
            hit = bool(same[row, column])
            border(other, SAME if hit else OTHER, line="-" if hit else "--")
            other.set_xlabel("✓ same person" if hit else "✗ other person", fontsize=8, labelpad=3)
    axes[0, 0].set_title("query")
    for rank, ax in enumerate(axes[0, 1:], start=1):
        ax.set_title(f"rank {rank}")
    return figure


@style()
def figure_table2(table: pd.DataFrame) -> Figure:
    """Draw Table 2 as dots: each method on each set, measured here and quoted from the paper.

    Args:
        table: columns method, set, measured_percent, low, high, paper_percent.
    """
    columns = ("method", "set", "measured_percent", "low", "high", "paper_percent")
    require_columns(table, columns)
    methods, sets = list(dict.fromkeys(table["method"])), list(dict.fromkeys(table["set"]))
    figure = canvas(2.4 * len(sets) + 1.6, 0.36 * len(methods) + 1.3)
    axes = figure.subplots(1, len(sets), sharex=True, sharey=True, squeeze=False)[0]
    for ax, name in zip(axes, sets, strict=True):
        rows = table[table["set"] == name].set_index("method").reindex(methods)
        at = np.arange(len(methods))
        _interval(
            ax,
            at,
            rows["measured_percent"],
            rows["low"],
            rows["high"],
            across=True,
            label="measured here",
        )
        ax.plot(rows["paper_percent"], at, "D", mfc="none", color=PALETTE[1], label="quoted, paper")
        ax.set(title=name, xlabel="percent")
        ax.grid(axis="x", alpha=0.4)
    axes[0].set_yticks(at, methods)
    axes[0].invert_yaxis()
    _legend_below(figure, axes[0])
    return figure


@style()
def figure_lfw(table: pd.DataFrame) -> Figure:
    """Draw LFW's mean accuracy of each variant with the standard deviation over its folds.

    Args:
        table: columns title, condition, accuracy_percent, accuracy_percent_std.
    """
    columns = ("title", "condition", "accuracy_percent", "accuracy_percent_std")
    require_columns(table, columns)
    titles, conditions = (list(dict.fromkeys(table[name])) for name in ("title", "condition"))
    figure = canvas(6, 0.42 * len(titles) + 1.3)
    ax = figure.subplots()
    for index, condition in enumerate(conditions):
        rows = table[table["condition"] == condition].set_index("title").reindex(titles)
        value, spread = rows["accuracy_percent"], rows["accuracy_percent_std"]
        at = np.arange(len(titles)) + 0.22 * (index - (len(conditions) - 1) / 2)
        _interval(
            ax,
            at,
            value,
            value - spread,
            value + spread,
            across=True,
            label=condition,
            marker=MARKERS[index],
            color=PALETTE[index],
        )
    ax.set_yticks(np.arange(len(titles)), titles)
    ax.invert_yaxis()
    ax.set(xlabel="accuracy over ten folds (percent; chance is 50)")
    ax.grid(axis="x", alpha=0.4)
    _legend_below(figure, ax)
    return figure


@style()
def figure_ablation(
    table: pd.DataFrame, *, label: str = "percent", groups: str = "condition"
) -> Figure:
    """Draw one measured quantity for each variant, with its interval, by condition.

    Args:
        table: columns title, value, low, high and the one named by ``groups``.
        label: of the value axis, with its unit.
        groups: column that tells apart the marks of one variant.
    """
    require_columns(table, ("title", "value", "low", "high", groups))
    titles, names = list(dict.fromkeys(table["title"])), list(dict.fromkeys(table[groups]))
    figure = canvas(6.4, 0.4 * len(titles) + 1.3)
    ax = figure.subplots()
    shifts = np.linspace(-0.2, 0.2, len(names)) if len(names) > 1 else np.zeros(1)
    for index, name in enumerate(names):
        rows = table[table[groups] == name].set_index("title").reindex(titles)
        at = np.arange(len(titles)) + shifts[index]
        look = dict(marker=MARKERS[index % len(MARKERS)], color=f"C{index}", label=str(name))
        _interval(ax, at, rows["value"], rows["low"], rows["high"], across=True, **look)
    ax.set_yticks(np.arange(len(titles)), titles)
    ax.invert_yaxis()
    ax.set_xlabel(label)
    ax.grid(axis="x", alpha=0.4)
    _legend_below(figure, ax)
    return figure


@style()
def figure_training_curves(curves: pd.DataFrame) -> Figure:
    """Draw each part of the loss over the steps of training, one line a variant.

    Args:
        curves: columns variant, step and one for each part of the loss; a part that a variant
            lacks is NaN.
    """
    require_columns(curves, ("variant", "step"), "curves")
    parts = [name for name in curves.columns if name not in ("variant", "step")]
    parts = [name for name in parts if curves[name].notna().any()]
    if not parts:
        raise ValueError(f"curves must have a column of losses, got {list(curves.columns)}")
    figure = canvas(2.7 * min(3, len(parts)) + 0.4, 2.3 * -(-len(parts) // 3) + 0.5)
    axes = figure.subplots(-(-len(parts) // 3), min(3, len(parts)), squeeze=False).ravel()
    variants = list(dict.fromkeys(curves["variant"]))
    for ax, part in zip(axes, parts, strict=False):
        for index, variant in enumerate(variants):
            rows = curves[curves["variant"] == variant].dropna(subset=part)
            ax.plot(
                rows["step"],
                rows[part],
                label=variant,
                linewidth=1,
                color=f"C{index}",
                linestyle=LINES[index % len(LINES)],
            )
        ax.set(title=part.replace("_", " "), xlabel="step")
    for ax in axes[::3]:
        ax.set_ylabel("weighted loss")
    for ax in axes[len(parts) :]:
        ax.axis("off")
    _legend_below(figure, axes[0])
    return figure


@style()
def figure_roc(curves: Mapping[str, tuple[ArrayLike, ArrayLike]], *, floor: float = 1e-3) -> Figure:
    """Draw receiver operating curves with a logarithmic false accept rate.

    Args:
        curves: name -> (false accept rates, true accept rates), each (P,).
        floor: smallest false accept rate shown.
    """
    if not curves:
        raise ValueError("curves must name at least one curve, got none")
    figure = canvas(4.6, 3.6)
    ax = figure.subplots()
    for index, (name, (far, tar)) in enumerate(curves.items()):
        far = require(far, ("P",), f"curves[{name!r}][0]")
        tar = require(tar, (len(far),), f"curves[{name!r}][1]")
        ax.plot(far, tar, label=name, linestyle=LINES[index % len(LINES)])
    ax.plot(*[np.geomspace(floor, 1)] * 2, color="0.6", linewidth=0.8, label="chance")
    ax.set(xscale="log", xlim=(floor, 1), ylim=(0, 1.01))
    ax.set(xlabel="false accept rate", ylabel="true accept rate")
    ax.grid(alpha=0.4)
    ax.legend(loc="lower right", frameon=True)
    return figure


@style()
def figure_contact_sheet(
    images: ArrayLike, titles: Sequence[str] = (), *, columns: int = 8, cell: float = 1.1
) -> Figure:
    """Draw images in a grid, row by row.

    Args:
        images: (N, H, W, 3) uint8.
        titles: N titles, or none.
        columns: images in a row.
        cell: side of an image in inches.
    """
    images = require_images(images, "images")
    if len(titles):
        require(titles, (len(images),), "titles")
    columns = min(columns, len(images))
    figure, axes = grid(-(-len(images) // columns), columns, cell=cell, extra=0.2)
    for index, ax in enumerate(axes.ravel()):
        if index >= len(images):
            ax.axis("off")
            continue
        picture(ax, images[index])
        if len(titles):
            ax.set_title(titles[index], fontsize=8)
    return figure


@style()
def figure_landmarks(
    images: ArrayLike,
    landmarks: ArrayLike,
    visible: ArrayLike | None = None,
    *,
    titles: Sequence[str] = (),
) -> Figure:
    """Draw landmarks over faces: dots where visible, crosses where hidden.

    Args:
        images: (N, H, W, 3) uint8.
        landmarks: (N, P, 2) pixels of the images.
        visible: (N, P) bool; all visible if None.
        titles: N titles, or none.
    """
    images = require_images(images, "images")
    landmarks = require(landmarks, (len(images), "P", 2), "landmarks")
    shape = landmarks.shape[:2]
    seen = np.ones(shape, bool) if visible is None else require(visible, shape, "visible")
    seen = seen.astype(bool)
    columns = min(6, len(images))
    figure, axes = grid(-(-len(images) // columns), columns, cell=1.8, extra=0.5)
    for index, ax in enumerate(axes.ravel()):
        if index >= len(images):
            ax.axis("off")
            continue
        picture(ax, images[index])
        points = landmarks[index]
        ax.plot(
            *points[seen[index]].T,
            "o",
            ms=2.6,
            color="#ffff33",
            mec="black",
            mew=0.3,
            label="visible",
        )
        ax.plot(*points[~seen[index]].T, "x", ms=3.6, color="#00e5ff", mew=1, label="hidden")
        if len(titles):
            ax.set_title(titles[index])
    legend = _legend_below(figure, axes[0, 0])
    legend.set(frame_on=True)
    legend.get_frame().set_facecolor("0.6")  # the marks are pale
    return figure


@style()
def figure_quality_baselines(table: pd.DataFrame) -> Figure:
    """Draw what simple methods reach on the data, against chance.

    Args:
        table: columns baseline, accuracy_percent, low, high, chance_percent.
    """
    require_columns(table, ("baseline", "accuracy_percent", "low", "high", "chance_percent"))
    figure = canvas(6.4, 0.36 * len(table) + 1.1)
    ax = figure.subplots()
    at = np.arange(len(table))
    _interval(
        ax,
        at,
        table["accuracy_percent"],
        table["low"],
        table["high"],
        across=True,
        label="measured",
    )
    ax.plot(table["chance_percent"], at, "|", color="0.3", ms=12, mew=2, label="chance")
    ax.set_yticks(at, table["baseline"])
    ax.invert_yaxis()
    ax.set(xlabel="accuracy (percent)", xlim=(0, None))
    ax.grid(axis="x", alpha=0.4)
    _legend_below(figure, ax)
    return figure


@style()
def claims_overview(evidence: pd.DataFrame) -> Figure:
    """Draw every measured quantity behind a claim with its interval and verdict.

    Quantities differ in unit, so each row has its own scale: zero is in the middle and the largest
    magnitude of the row at the edge. The figures are written beside.

    Args:
        evidence: columns claim, quantity, value, low, high, holds.
    """
    require_columns(evidence, ("claim", "quantity", "value", "low", "high", "holds"), "evidence")
    numbers = evidence[["value", "low", "high"]].to_numpy(float)
    largest = np.nanmax(np.abs(numbers), axis=1, initial=0, keepdims=True)
    value, low, high = (numbers / np.where(largest > 0, largest, 1)).T
    figure = canvas(10, 0.27 * len(evidence) + 1.1)
    ax = figure.subplots()
    at, holds = np.arange(len(evidence)), evidence["holds"].to_numpy(bool)
    for verdict, colour, mark, name in (
        (True, SAME, "o", "holds"),
        (False, OTHER, "X", "does not hold"),
    ):
        rows = holds == verdict
        _interval(
            ax,
            at[rows],
            value[rows],
            low[rows],
            high[rows],
            across=True,
            color=colour,
            marker=mark,
            label=name,
        )
    ax.axvline(0, color="0.5", linewidth=0.8)
    ax.set_yticks(at, [_short(f"{r.claim}  {r.quantity}") for r in evidence.itertuples()])
    ax.set(xlim=(-1.08, 1.08), ylim=(len(at) - 0.4, -0.6), xticks=[0], xticklabels=["0"])
    ax.set_xlabel("measured value and interval, each row on its own scale")
    beside = ax.twinx()
    beside.set(ylim=ax.get_ylim())
    texts = [
        f"{'✓' if ok else '✗'}  {v:.3g} [{a:.3g}, {b:.3g}]"
        for ok, (v, a, b) in zip(holds, numbers, strict=True)
    ]
    beside.set_yticks(at, texts)
    beside.tick_params(length=0)
    _legend_below(figure, ax)
    return figure


def _short(text: str, longest: int = 64) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _interval(
    ax: Axes, at, value, low, high, *, across: bool = False, marker: str = "o", **look
) -> None:
    """Draw values with intervals (NaN: none), along x if ``across``."""
    value, low, high = (np.asarray(numbers, float) for numbers in (value, low, high))
    ends = np.nan_to_num(np.clip([value - low, high - value], 0, None))
    look = dict(markersize=5, capsize=2.5, elinewidth=1.2, fmt=marker) | look
    if across:
        ax.errorbar(value, at, xerr=ends, **look)
    else:
        ax.errorbar(at, value, yerr=ends, **look)


def _legend_below(figure: Figure, ax: Axes):
    handles, names = ax.get_legend_handles_labels()
    return figure.legend(handles, names, loc="outside lower center", ncols=min(5, len(names)))


@style()
def figure_face_mesh(image: ArrayLike, points: ArrayLike, triangles: ArrayLike) -> Figure:
    """Draw the frontal template under its triangles (Sec. 3.3).

    Args:
        image: (H, W, 3) uint8, the mean frontal face.
        points: (76, 2) pixels of that image; the last eight are the border points.
        triangles: (142, 3) indices into the points.
    """
    points, triangles = require(points, ("P", 2), "points"), np.asarray(triangles)
    figure = canvas(5.2, 5.2)
    ax = figure.subplots()
    picture(ax, require_images(np.asarray(image)[None], "image")[0])
    ax.triplot(*points.T, triangles=triangles, color=PALETTE[0], linewidth=0.7)
    ax.plot(*points[:-8].T, "o", color="white", markeredgecolor="black", markersize=3.5)
    ax.plot(*points[-8:].T, "s", color=PALETTE[1], markersize=6)
    low, high = points.min() - 3, points.max() + 3  # the border points lie outside the image
    ax.set(xlim=(low, high), ylim=(high, low))
    ax.set_title(f"{len(points)} points, {len(triangles)} triangles")
    return figure


@style()
def figure_folded_triangles(yaw: ArrayLike, folded: ArrayLike, binned: pd.DataFrame) -> Figure:
    """Draw how many of the 142 triangles turn over as the head turns.

    Args:
        yaw: (N,) degrees.
        folded: (N,) number of folded triangles of each face.
        binned: columns ``yaw`` (mean of the bin's absolute yaw, degrees) and ``folded`` (mean).
    """
    yaw = require(yaw, ("N",), "yaw")
    folded = require(folded, (len(yaw),), "folded")
    require_columns(binned, ("yaw", "folded"), "binned")
    figure = canvas(5.6, 3.4)
    ax = figure.subplots()
    ax.plot(np.abs(yaw), folded, ".", color="0.7", markersize=4, label="one face")
    ax.plot(binned["yaw"], binned["folded"], "o-", color=PALETTE[0], label="mean of the bin")
    ax.set(xlabel="|yaw| (degrees)", ylabel="folded triangles of 142", ylim=(0, None))
    ax.legend()
    return figure


@style()
def figure_mask_coverage(
    coverage: Mapping[str, ArrayLike], hull: ArrayLike, face: ArrayLike
) -> Figure:
    """Draw how often each pixel of the frontal face is masked, for each rule of placement.

    Args:
        coverage: title -> (H, W) share of the drawn rectangles that cover the pixel.
        hull: (P, 2) outline of the face, pixels.
        face: (H, W, 3) uint8, the mean frontal face, drawn faintly below.
    """
    face = require_images(np.asarray(face)[None], "face")[0]
    height, width = face.shape[:2]
    figure, axes = grid(1, len(coverage), cell=2.8, extra=0.9)
    top = max(np.max(share) for share in coverage.values())
    outline = np.concatenate([hull, np.asarray(hull)[:1]])
    for ax, (title, share) in zip(axes[0], coverage.items(), strict=True):
        picture(ax, face, grey=True)
        share = require(share, (height, width), f"coverage[{title!r}]")
        shown = ax.imshow(
            share, extent=(0, width, height, 0), vmin=0, vmax=top, cmap=MAGNITUDE, alpha=0.75
        )
        ax.plot(*outline.T, color="white", linewidth=1.2)
        ax.set(xlim=(0, width), ylim=(height, 0), title=title)
    figure.colorbar(shown, ax=list(axes[0]), label="share of masks", shrink=0.85)
    return figure


@style()
def figure_kept_magnitude(
    kept: ArrayLike, held: Mapping[str, ArrayLike], *, marks: Sequence[float]
) -> Figure:
    """Draw the share of a map's magnitude that its largest responses hold (Sec. 3.1).

    Args:
        kept: (P,) share of responses kept, rising from 0 to 1.
        held: title -> (P,) share of the magnitude; the title ``"noise"`` is drawn dotted and grey.
        marks: shares kept to mark with a vertical line.
    """
    kept = require(kept, ("P",), "kept")
    figure = canvas(5.2, 3.4)
    ax = figure.subplots()
    for mark in marks:
        ax.axvline(mark, color="0.85", linewidth=1)
        ax.text(mark, 1.01, f"{mark:.1%}", ha="center", va="bottom", fontsize=7, color="0.35")
    styles = [name for name in held if name != "noise"]
    for name, share in held.items():
        looks = dict(color="0.5", linestyle=":", linewidth=2, zorder=1)
        if name in styles:
            place = styles.index(name)
            looks = dict(color=PALETTE[place], linestyle=LINES[place % len(LINES)])
        ax.plot(kept, require(share, (len(kept),), f"held[{name!r}]"), label=name, **looks)
    ax.set(
        xlim=(0, 1),
        ylim=(0, 1),
        xlabel="share of responses kept, largest first",
        ylabel="share of the map's magnitude",
    )
    ax.legend(loc="lower right")
    return figure


@style()
def figure_similarity(
    matrices: Mapping[str, ArrayLike], *, label: str, limits: tuple[float, float]
) -> Figure:
    """Draw how alike all pairs of filters are, one (K, K) matrix for each network.

    Args:
        matrices: title -> (K, K), the diagonal is left blank.
        label: of the colour bar.
        limits: ends of the colour scale.
    """
    figure, axes = grid(1, len(matrices), cell=2.3, extra=0.8)
    for ax, (title, matrix) in zip(axes[0], matrices.items(), strict=True):
        matrix = np.array(require(matrix, ("K", "K"), f"matrices[{title!r}]"), float)
        np.fill_diagonal(matrix, np.nan)
        low, high = limits
        shown = ax.imshow(matrix, vmin=low, vmax=high, cmap=MAGNITUDE, interpolation="nearest")
        ax.set(
            title=title, xlabel="filter", xticks=[0, len(matrix) - 1], yticks=[0, len(matrix) - 1]
        )
    axes[0, 0].set_ylabel("filter")
    figure.colorbar(shown, ax=list(axes[0]), label=label, shrink=0.85, extend="max")
    return figure


@style()
def figure_peak_overlap(table: pd.DataFrame) -> Figure:
    """Draw what Eq. 2 sees of two single peaks at a distance, for each smoothing.

    Args:
        table: columns smoothing, distance (responses) and squared_cosine.
    """
    require_columns(table, ("smoothing", "distance", "squared_cosine"))
    figure = canvas(4.6, 3)
    ax = figure.subplots()
    for place, (name, rows) in enumerate(table.groupby("smoothing", sort=False)):
        ax.plot(
            rows["distance"],
            rows["squared_cosine"],
            color=PALETTE[place],
            marker=MARKERS[place],
            linestyle=LINES[place],
            label=name,
        )
    ax.set(xlabel="distance of the two peaks (responses)", ylabel="squared cosine", ylim=(0, 1.05))
    ax.legend(title="size of $g_\\sigma$")
    return figure


@style()
def figure_selected_features(differences: Mapping[str, ArrayLike], *, keep: int) -> Figure:
    """Draw the sorted mean differences of a batch and which of them τ selects (Sec. 3.2).

    Args:
        differences: title -> (K,) mean absolute difference of each feature element.
        keep: how many of the smallest are selected.
    """
    figure = canvas(2.7 * len(differences) + 0.4, 2.6)
    axes = figure.subplots(1, len(differences), squeeze=False, sharey=True)[0]
    for ax, (title, values) in zip(axes, differences.items(), strict=True):
        values = np.sort(require(values, ("K",), f"differences[{title!r}]"))
        at = np.arange(len(values))
        ax.bar(at[:keep], values[:keep], width=1, color=PALETTE[0], label="τ = 1, held alike")
        ax.bar(at[keep:], values[keep:], width=1, color=PALETTE[1], label="τ = 0, free")
        ax.set(title=title, xlabel="feature element, sorted")
    axes[0].set_ylabel("mean |f(I) − f(Î)|")
    _legend_below(figure, axes[0])
    return figure
