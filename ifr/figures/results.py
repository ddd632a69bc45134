"""Figures of what was measured: training, accuracy, and the evidence behind each claim."""

import textwrap
from collections import namedtuple
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from ifr.figures import style

Panels = Mapping[str, style.Named]  # by title
Marks = Mapping[float, str]  # words at an x
NO_MARKS: Marks = {}
MOST_ROWS = 40  # of evidence in one figure; more is not read
COLUMN = 0.75  # inches, of one setting beside the claims
# How a verdict looks, told by its symbol, its colour and in grey; the ink is on that colour.
Verdict = namedtuple("Verdict", "symbol marker colour ink line")
VERDICTS = {
    "supported": Verdict("✓", "o", style.YES, "white", style.YES),
    "contradicted": Verdict("✗", "X", style.NO, "black", style.NO),
    "undecided": Verdict("?", "D", "0.82", "0.25", "0.4"),
    "not tested here": Verdict("·", "", "0.97", "0.7", "0.7"),
}


@style.house()
def figure_claims(table: pd.DataFrame) -> Figure:
    """Draw one row a claim, one column a setting, a verdict each; columns id, claim, settings."""
    settings = [name for name in table if name not in ("id", "claim")]
    if unknown := set(table[settings].to_numpy().ravel()) - set(VERDICTS):
        raise ValueError(f"table must hold the verdicts {', '.join(VERDICTS)}, got {unknown}")
    left = style.WIDTH / COLUMN - len(settings)  # what is left for the words, in columns
    figure, (ax,) = style.panels(1, style.WIDTH, 0.27 * len(table) + 1)
    for row, (number, claim) in enumerate(zip(table["id"], table["claim"], strict=True)):
        words: style.Look = dict(va="center", fontsize=7.5, linespacing=1)
        ax.text(-left, row, number, fontweight="bold", **words)
        ax.text(0.6 - left, row, textwrap.fill(claim, int(13.2 * (left - 1))), **words)
        for column, setting in enumerate(settings):
            symbol, _, colour, ink, _ = VERDICTS[table[setting].iloc[row]]
            ax.add_patch(Rectangle((column - 0.48, row - 0.45), 0.96, 0.9, facecolor=colour))
            ax.text(column, row, symbol, color=ink, ha="center", va="center", fontweight="bold")
    headings = [textwrap.fill(name.replace("_", " "), 11) for name in settings]
    ax.set_xticks(range(len(settings)), headings)
    ax.set(xlim=(-left, len(settings) - 0.5), ylim=(len(table) - 0.5, -0.5), yticks=[])
    ax.tick_params(length=0, labeltop=True, labelbottom=False)
    ax.spines[:].set_visible(False)
    for verdict, look in VERDICTS.items():
        ax.plot([], [], "s", ms=9, color=look.colour, mec="0.7", label=f"{look.symbol} {verdict}")
    style.legend_below(figure, ax)
    return figure


@style.house()
def figure_evidence(pooled: pd.DataFrame, by_seed: pd.DataFrame) -> Figure:
    """Draw what supports claims: a dot a seed, mean and interval, one panel for each unit.

    The margin of a row is a red tick, two where it is an allowance to both sides of 0.
    """
    if not 0 < len(pooled) <= MOST_ROWS:
        raise ValueError(f"pooled must have 1 to {MOST_ROWS} rows, got {len(pooled)}")
    parts = pooled["quantity"].str.extract(r"^(?P<what>.*?)(?: \((?P<unit>[^()]*)\))?$")
    rows = pooled.assign(what=parts["what"], unit=parts["unit"].fillna("no unit"))
    rows = rows.sort_values(["claim", "role"], kind="stable")  # controls below their claim
    begin = rows["claim"] + np.where(rows["role"] == "control", "  control: ", "  ")
    rows["words"] = [textwrap.fill(one, 64) for one in begin + rows["what"].map(style.titled)]
    rows["height"] = 1 + 0.5 * rows["words"].str.count("\n")
    # Numbers without a unit of two claims have no scale in common.
    scales = rows["claim"].where(rows["unit"] == "no unit", rows["unit"])
    panels = [own for _, own in rows.groupby(scales, sort=False)]
    heights = [own["height"].sum() + 1.5 for own in panels]
    figure, axes = style.panels(
        1, style.WIDTH, 0.26 * sum(heights) + 0.6, rows=len(panels), height_ratios=heights
    )
    seeds = by_seed.set_index(["claim", "quantity"])["value"].sort_index()
    for ax, own in zip(axes, panels, strict=True):
        ends = own["height"].cumsum()
        places = ends - own["height"] / 2
        for at, (_, row) in zip(places, own.iterrows(), strict=True):
            _evidence_row(ax, at, row, seeds.loc[[(row.claim, row.quantity)]].to_numpy())
        for last in ends[own["claim"] != own["claim"].shift(-1)][:-1]:
            ax.axhline(last, color="0.85", linewidth=0.8)
        ax.set_yticks(places, own["words"], fontsize=7)
        for label, role in zip(ax.get_yticklabels(), own["role"], strict=True):
            label.set_color("0.45" if role == "control" else "black")
        ax.axvline(0, color="0.5", linewidth=0.8, zorder=0)
        ax.set(ylim=(ends.iloc[-1] + 0.1, -0.1), xlabel=own["unit"].iloc[0], xmargin=0.06)
    for verdict, shown in list(VERDICTS.items())[:3]:
        axes[0].plot([], [], shown.marker, color=shown.colour, mec=shown.line, label=verdict)
    axes[0].plot([], [], "|", ms=10, mew=1.6, color=style.OUTLINE, label="margin")
    axes[0].plot([], [], "o", ms=3, color="0.7", label="one seed")
    style.legend_below(figure, axes[0])
    return figure


def _evidence_row(ax: Axes, at: int, row: pd.Series, seeds: np.ndarray) -> None:
    """Draw one row of the pooled evidence, and write its figures beside."""
    values = row.value, row.low, row.high
    ends = [row.margin, -row.margin] if row.test == "within" else [row.margin]
    if len(seeds) > 1:
        ax.plot(seeds, [at] * len(seeds), "o", ms=3, color="0.7", zorder=1)
    ax.plot(ends, [at] * len(ends), "|", ms=10, mew=1.6, color=style.OUTLINE)
    look = VERDICTS[row.verdict]
    style.interval(ax, at, *values, fmt=look.marker, color=look.line, mfc=look.colour)
    beside = ax.get_yaxis_transform()
    words = style.measured(*values, row.unit) + ", one seed" * bool(np.isnan(row.low))
    ax.text(1.01, at, words, transform=beside, va="center", fontsize=7)


@style.house()
def figure_measures(
    table: pd.DataFrame, labels: Mapping[str, str], *, columns: int = 3, share: bool = False
) -> Figure:
    """Draw values and intervals, a panel a measure: columns measure, name, value, low, high.

    ``labels`` are the axes by measure; names of variants have their looks. Where a column
    ``series`` tells rows of one name apart, the first is filled and the second hollow.
    """
    names = list(dict.fromkeys(table["name"]))
    kinds = list(dict.fromkeys(table["series"])) if "series" in table else []
    lines = -(-len(labels) // (columns := min(columns, len(labels))))
    size = min(style.WIDTH, 2.9 * columns + 1.8), lines * (0.23 * len(names) + 0.7) + 0.2
    figure, axes = style.panels(columns, *size, rows=lines, sharey=True, sharex=share)
    for ax, (measure, label) in zip(axes, labels.items(), strict=False):
        for _, row in table[table["measure"] == measure].iterrows():
            second = bool(kinds) and row["series"] != kinds[0]
            _, colour, marker, _ = style.variant(row["name"])
            look: style.Look = dict(fmt="d", mfc="white") if second else dict(fmt=marker)
            at = names.index(row["name"]) + (0.36 * second - 0.18 if kinds else 0)
            style.interval(ax, at, *row[["value", "low", "high"]], color=colour, **look)
        low, high = ax.get_xlim()
        if low < 0 < high:
            ax.axvline(0, color="0.5", linewidth=0.8, zorder=0)
        ax.set_xlabel(label)
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.grid(axis="x", alpha=0.4)
    for kind, marker, fill in zip(kinds, "od", ("0.25", "white"), strict=False):
        axes[0].plot([], [], marker, color="0.25", mfc=fill, label=kind)
    axes[0].set_yticks(range(len(names)), [style.variant(name).title for name in names])
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    for ax in axes[max(0, len(labels) - columns) : len(labels)]:
        ax.tick_params(labelbottom=True)  # where the panel below is empty
    for ax in axes[len(labels) :]:
        ax.axis("off")
    if kinds:
        style.legend_below(figure, axes[0])
    return figure


@style.house()
def figure_curves(
    panels: Panels, *, x: str, y: str, marks: Marks = NO_MARKS, share: bool = False, **axis: Any
) -> Figure:
    """Draw lines, title of a panel -> name -> (2, P) x and y, or (4, P) with low and high.

    A name is a variant's, perhaps with a condition after a comma, or any other. ``marks`` are
    words at an x; ``share`` gives all panels one y axis, the rest sets the axes.
    """
    columns = min(3, len(panels))
    lines, width = -(-len(panels) // columns), style.WIDTH if columns > 1 else 5.6
    figure, axes = style.panels(columns, width, 2.3 * lines + 0.9, rows=lines, sharey=share)
    for ax, (title, curves) in zip(axes, panels.items(), strict=False):
        for index, (name, points) in enumerate(curves.items()):
            table, look = np.atleast_2d(points), style.curve(name, index)
            ax.plot(*table[:2], **look)
            if len(table) == 4:
                ax.fill_between(table[0], *table[2:], color=look["color"], alpha=0.2, linewidth=0)
        for at, words in marks.items():
            ax.axvline(at, color="0.7", linewidth=1, zorder=0)
            ax.text(at, 1.01, words, transform=ax.get_xaxis_transform(), ha="center", fontsize=7)
        ax.set(title=title, xlabel=x, **axis)
    for ax in axes[len(panels) :]:
        ax.remove()
    for ax in axes[: len(panels) : columns]:
        ax.set_ylabel(y)
    style.legend_below(figure, axes[0])
    return figure
