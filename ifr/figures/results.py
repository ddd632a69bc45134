"""Figures of what was measured: training, accuracy, and the evidence behind each claim."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ifr.figures import style

VERDICTS: dict[str, style.Look] = {
    "supported": dict(fmt="o", color=style.SAME),
    "contradicted": dict(fmt="X", color=style.OTHER),
    "undecided": dict(fmt="D", color="0.4", mfc="white"),
}


@style.house()
def figure_table2(table: pd.DataFrame) -> Figure:
    """Draw Table 2 as dots: each method on each set, measured here and quoted from the paper."""
    measured = ["measured_percent", "low", "high"]
    methods, sets = table["method"].unique(), table["set"].unique()
    size = 2.4 * len(sets) + 1.6, 0.36 * len(methods) + 1.3
    figure, axes = style.panels(len(sets), *size, sharex=True, sharey=True)
    quoted: style.Look = dict(mfc="none", color=style.PALETTE[1], label="quoted, paper")
    for ax, name in zip(axes, sets, strict=True):
        rows = table[table["set"] == name].set_index("method").reindex(methods)
        style.intervals(ax, rows[measured], across=True, label="measured here")
        ax.plot(rows["paper_percent"], np.arange(len(methods)), "D", **quoted)
        ax.set(title=name, xlabel="percent")
        ax.grid(axis="x", alpha=0.4)
    style.name_rows(figure, axes[0], methods)
    return figure


@style.house()
def figure_lfw(table: pd.DataFrame) -> Figure:
    """Draw LFW's mean accuracy of each variant with the standard deviation over its folds."""
    measured = ["accuracy_percent", "accuracy_percent_std"]
    titles, conditions = table["title"].unique(), table["condition"].unique()
    figure, (ax,) = style.panels(1, 6, 0.42 * len(titles) + 1.3)
    for index, condition in enumerate(conditions):
        rows = table[table["condition"] == condition].set_index("title").reindex(titles)
        value, deviation = rows[measured].to_numpy(float).T
        at = np.arange(len(titles)) + 0.22 * (index - (len(conditions) - 1) / 2)
        ends = np.column_stack([value, value - deviation, value + deviation])
        look = dict(fmt=style.MARKERS[index], color=style.PALETTE[index], label=condition)
        style.intervals(ax, ends, at, across=True, **look)
    ax.set(xlabel="accuracy over ten folds (percent; chance is 50)")
    style.name_rows(figure, ax, titles)
    return figure


@style.house()
def figure_quality_baselines(table: pd.DataFrame) -> Figure:
    """Draw what simple methods reach on the data, against chance."""
    measured = ["accuracy_percent", "low", "high"]
    figure, (ax,) = style.panels(1, 6.4, 0.36 * len(table) + 1.1)
    style.intervals(ax, table[measured], across=True, label="measured")
    chance: style.Look = dict(color="0.3", ms=12, mew=2, label="chance")
    ax.plot(table["chance_percent"], np.arange(len(table)), "|", **chance)
    ax.set(xlabel="accuracy (percent)", xlim=(0, None))
    style.name_rows(figure, ax, table["baseline"])
    return figure


@style.house()
def figure_training_curves(curves: pd.DataFrame) -> Figure:
    """Draw each part of the loss, a column each, NaN where a variant lacks it, over the steps."""
    parts = curves.drop(columns=["variant", "step"]).dropna(axis=1, how="all").columns
    if parts.empty:
        raise ValueError(f"curves must have a column of losses, got {list(curves.columns)}")
    lines, columns = -(-len(parts) // 3), min(3, len(parts))
    figure, axes = style.panels(columns, 2.7 * columns + 0.4, 2.3 * lines + 0.5, rows=lines)
    for ax, part in zip(axes, parts, strict=False):
        for index, (variant, rows) in enumerate(curves.groupby("variant", sort=False)):
            known = rows.dropna(subset=part)
            ax.plot(known["step"], known[part], label=variant, linewidth=1, **style.line(index))
        ax.set(title=part.replace("_", " "), xlabel="step")
    for ax in axes[len(parts) :]:
        ax.axis("off")
    for ax in axes[::columns]:
        ax.set_ylabel("weighted loss")
    style.legend_below(figure, axes[0])
    return figure


@style.house()
def figure_roc(curves: style.Named, *, floor: float = 1e-3) -> Figure:
    """Draw name -> (2, P) false and true accept rates, from a false one of ``floor`` up."""
    figure, (ax,) = style.panels(1, 4.6, 3.6)
    for index, (name, curve) in enumerate(curves.items()):
        ax.plot(*np.asarray(curve), label=name, **style.line(index))
    ax.plot(*[np.geomspace(floor, 1)] * 2, color="0.6", linewidth=0.8, label="chance")
    ax.set(xscale="log", xlim=(floor, 1), xlabel="false accept rate")
    ax.set(ylim=(0, 1.01), ylabel="true accept rate")
    ax.grid(alpha=0.4)
    ax.legend(loc="lower right", frameon=True)
    return figure


@style.house()
def figure_evidence(pooled: pd.DataFrame, by_seed: pd.DataFrame) -> Figure:
    """Draw what supports claims: a dot a seed, mean and interval, each row on its own scale.

    The margin of a row is a red tick, two where it is an allowance to both sides of 0.
    """
    measured = ["value", "low", "high"]
    seeds = by_seed.set_index(["claim", "quantity"])["value"]
    figure, (ax,) = style.panels(1, 10, 0.27 * len(pooled) + 1.1)
    for at, row in enumerate(pooled.itertuples()):
        dots = seeds.loc[[(row.claim, row.quantity)]].to_numpy()
        ends = [row.margin, -row.margin] if row.test == "within" else [row.margin]
        values = np.array([row.value, row.low, row.high])
        scale = np.nanmax(np.abs([*values, *dots, *ends])) or 1
        ax.plot(dots / scale, [at] * len(dots), "o", ms=3, color="0.75", zorder=1)
        ax.plot(np.array(ends) / scale, [at] * len(ends), "|", ms=11, color=style.OUTLINE)
        style.intervals(ax, values[None] / scale, [at], across=True, **VERDICTS[row.verdict])
    ax.axvline(0, color="0.5", linewidth=0.8)
    for verdict, look in VERDICTS.items():
        ax.plot([], [], linestyle="none", label=verdict, marker=look["fmt"], color=look["color"])
    marks = np.where(pooled["role"] == "control", " control: ", "  ")
    words, rows = pooled["claim"] + marks + pooled["quantity"], np.arange(len(pooled))
    ax.set_yticks(rows, [name if len(name) <= 78 else name[:77] + "…" for name in words])
    ax.set(xlim=(-1.08, 1.08), ylim=(len(rows) - 0.4, -0.6), xticks=[0], xticklabels=["0"])
    ax.set_xlabel("mean over seeds and its 95 % interval, each row on its own scale")
    beside = ax.twinx()  # the figures are written beside
    beside.set(ylim=ax.get_ylim())
    forms = np.where(pooled["low"].isna(), "{:+.3g}, one seed", "{:+.3g} [{:+.3g}, {:+.3g}]")
    numbers = zip(forms, pooled[measured].to_numpy(), strict=True)
    beside.set_yticks(rows, [form.format(*row) for form, row in numbers])
    beside.tick_params(length=0)
    style.legend_below(figure, ax)
    return figure


@style.house()
def figure_measures(table: pd.DataFrame, units: Mapping[str, str], *, columns: int = 3) -> Figure:
    """Draw values and intervals; columns measure, name, value, low, high; measure -> axis label."""
    names = list(dict.fromkeys(table["name"]))
    rows = -(-len(units) // columns)
    size = (3.1 * columns + 1.2, rows * (0.21 * len(names) + 0.8))
    figure, axes = style.panels(columns, *size, rows=rows, sharey=True)
    for ax, (measure, label) in zip(axes, units.items(), strict=False):
        own = table[table["measure"] == measure].set_index("name").reindex(names)
        style.intervals(ax, own[["value", "low", "high"]], across=True)
        ax.set_xlabel(label)
        ax.set_yticks(np.arange(len(names)), names)
        ax.grid(axis="x", alpha=0.4)
    axes[0].invert_yaxis()
    for ax in axes[len(units) :]:
        ax.axis("off")
    return figure
