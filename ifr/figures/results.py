"""Figures of what was measured: training, accuracy, and the evidence behind each claim."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from ifr.figures import style


@style.house()
def figure_table2(table: pd.DataFrame) -> Figure:
    """Draw Table 2 as dots: each method on each set, measured here and quoted from the paper.

    Args:
        table: columns method, set, measured_percent, low, high, paper_percent.
    """
    measured = ["measured_percent", "low", "high"]
    style.require_columns(table, ("method", "set", *measured, "paper_percent"))
    methods, sets = table["method"].unique(), table["set"].unique()
    size = 2.4 * len(sets) + 1.6, 0.36 * len(methods) + 1.3
    figure, axes = style.panels(len(sets), *size, sharex=True, sharey=True)
    at = np.arange(len(methods))
    quoted: style.Look = dict(mfc="none", color=style.PALETTE[1], label="quoted, paper")
    for ax, name in zip(axes, sets, strict=True):
        rows = table[table["set"] == name].set_index("method").reindex(methods)
        style.intervals(ax, at, rows[measured], across=True, label="measured here")
        ax.plot(rows["paper_percent"], at, "D", **quoted)
        ax.set(title=name, xlabel="percent")
        ax.grid(axis="x", alpha=0.4)
    style.name_rows(axes[0], methods)
    style.legend_below(figure, axes[0])
    return figure


@style.house()
def figure_lfw(table: pd.DataFrame) -> Figure:
    """Draw LFW's mean accuracy of each variant with the standard deviation over its folds.

    Args:
        table: columns title, condition, accuracy_percent, accuracy_percent_std.
    """
    columns = ("title", "condition", "accuracy_percent", "accuracy_percent_std")
    style.require_columns(table, columns)
    titles, conditions = table["title"].unique(), table["condition"].unique()
    figure, ax = style.plot(6, 0.42 * len(titles) + 1.3)
    for index, condition in enumerate(conditions):
        rows = table[table["condition"] == condition].set_index("title").reindex(titles)
        value, deviation = rows["accuracy_percent"], rows["accuracy_percent_std"]
        at = np.arange(len(titles)) + 0.22 * (index - (len(conditions) - 1) / 2)
        ends = np.column_stack([value, value - deviation, value + deviation])
        look = dict(fmt=style.MARKERS[index], color=style.PALETTE[index], label=condition)
        style.intervals(ax, at, ends, across=True, **look)
    style.name_rows(ax, titles)
    ax.set(xlabel="accuracy over ten folds (percent; chance is 50)")
    style.legend_below(figure, ax)
    return figure


@style.house()
def figure_quality_baselines(table: pd.DataFrame) -> Figure:
    """Draw what simple methods reach on the data, against chance.

    Args:
        table: columns baseline, accuracy_percent, low, high, chance_percent.
    """
    measured = ["accuracy_percent", "low", "high"]
    style.require_columns(table, ("baseline", *measured, "chance_percent"))
    figure, ax = style.plot(6.4, 0.36 * len(table) + 1.1)
    at = np.arange(len(table))
    style.intervals(ax, at, table[measured], across=True, label="measured")
    ax.plot(table["chance_percent"], at, "|", color="0.3", ms=12, mew=2, label="chance")
    style.name_rows(ax, table["baseline"])
    ax.set(xlabel="accuracy (percent)", xlim=(0, None))
    style.legend_below(figure, ax)
    return figure


@style.house()
def figure_training_curves(curves: pd.DataFrame) -> Figure:
    """Draw each part of the loss over the steps of training, one line a variant.

    Args:
        curves: columns variant, step and one for each part of the loss; a part that a variant
            lacks is NaN.
    """
    style.require_columns(curves, ("variant", "step"), "curves")
    parts = curves.drop(columns=["variant", "step"]).dropna(axis=1, how="all").columns
    if parts.empty:
        raise ValueError(f"curves must have a column of losses, got {list(curves.columns)}")
    lines, columns = -(-len(parts) // 3), min(3, len(parts))
    figure = Figure(figsize=(2.7 * columns + 0.4, 2.3 * lines + 0.5), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False)
    for ax, part in zip(axes.flat, parts, strict=False):
        for index, (variant, rows) in enumerate(curves.groupby("variant", sort=False)):
            known = rows.dropna(subset=part)
            ax.plot(known["step"], known[part], label=variant, linewidth=1, **style.line(index))
        ax.set(title=part.replace("_", " "), xlabel="step")
    for ax in axes.flat[len(parts) :]:
        ax.axis("off")
    for ax in axes[:, 0]:
        ax.set_ylabel("weighted loss")
    style.legend_below(figure, axes[0, 0])
    return figure


@style.house()
def figure_roc(curves: Mapping[str, tuple[ArrayLike, ArrayLike]], *, floor: float = 1e-3) -> Figure:
    """Draw receiver operating curves with a logarithmic false accept rate.

    Args:
        curves: name -> (false accept rates, true accept rates), each (P,).
        floor: smallest false accept rate shown.
    """
    if not curves:
        raise ValueError("curves must name at least one curve, got none")
    figure, ax = style.plot(4.6, 3.6)
    for index, (name, (far, tar)) in enumerate(curves.items()):
        ax.plot(far, tar, label=name, **style.line(index))
    ax.plot(*[np.geomspace(floor, 1)] * 2, color="0.6", linewidth=0.8, label="chance")
    ax.set(xscale="log", xlim=(floor, 1), xlabel="false accept rate")
    ax.set(ylim=(0, 1.01), ylabel="true accept rate")
    ax.grid(alpha=0.4)
    ax.legend(loc="lower right", frameon=True)
    return figure


@style.house()
def claims_overview(evidence: pd.DataFrame) -> Figure:
    """Draw every measured quantity behind a claim with its interval and verdict.

    Quantities differ in unit, so each row has its own scale: zero is in the middle and the largest
    magnitude of the row at the edge. The figures are written beside.

    Args:
        evidence: columns claim, quantity, value, low, high, holds.
    """
    measured = ["value", "low", "high"]
    style.require_columns(evidence, ("claim", "quantity", *measured, "holds"), "evidence")
    numbers, holds = evidence[measured].to_numpy(float), evidence["holds"].to_numpy(bool)
    largest = np.nanmax(np.abs(numbers), axis=1, initial=0, keepdims=True)
    scaled, at = numbers / np.where(largest > 0, largest, 1), np.arange(len(evidence))
    figure, ax = style.plot(10, 0.27 * len(evidence) + 1.1)
    passed: style.Look = dict(fmt="o", color=style.SAME, label="holds")
    failed: style.Look = dict(fmt="X", color=style.OTHER, label="does not hold")
    style.intervals(ax, at[holds], scaled[holds], across=True, **passed)
    style.intervals(ax, at[~holds], scaled[~holds], across=True, **failed)
    ax.axvline(0, color="0.5", linewidth=0.8)
    names = [f"{row.claim}  {row.quantity}" for row in evidence.itertuples()]
    ax.set_yticks(at, [name if len(name) <= 64 else name[:63] + "…" for name in names])
    ax.set(xlim=(-1.08, 1.08), ylim=(len(at) - 0.4, -0.6), xticks=[0], xticklabels=["0"])
    ax.set_xlabel("measured value and interval, each row on its own scale")
    texts = [
        f"{'✓' if ok else '✗'}  {value:.3g} [{low:.3g}, {high:.3g}]"
        for ok, (value, low, high) in zip(holds, numbers, strict=True)
    ]
    beside = ax.twinx()
    beside.set(ylim=ax.get_ylim())
    beside.set_yticks(at, texts)
    beside.tick_params(length=0)
    style.legend_below(figure, ax)
    return figure
