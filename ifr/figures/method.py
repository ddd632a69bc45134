"""Figure 2: the two branches of the network and where each loss of the method acts."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from numpy.typing import ArrayLike

from ifr.figures import style

SAD, FAD, IDENTITY = (style.variant(name).colour for name in ("sad", "fad", "base"))
PLACES = ((0.7, 0.3), (0.3, 0.6), (0.6, 0.75))  # where the three drawn maps answer


@style.house()
def figure_2(face: ArrayLike, twin: ArrayLike) -> Figure:
    """Draw Figure 2 with a face and its occluded twin, each (H, W, 3): the network and losses."""
    figure = Figure(figsize=(style.WIDTH, 4.6), layout="constrained")
    ax = figure.add_subplot(xlim=(0, 100), ylim=(0, 51), aspect="equal")
    ax.axis("off")
    shown = style.require_images(face, "face", "HW"), style.require_images(twin, "twin", "HW")
    branches = ("\\mathbf{I}", 36), ("\\hat{\\mathbf{I}}", 9)
    for image, (symbol, middle) in zip(shown, branches, strict=True):
        ax.imshow(image, extent=(0.5, 9.5, middle - 4.5, middle + 4.5), interpolation="bicubic")
        _branch(ax, symbol, middle)
    _words(ax, 5, 30, "a face")
    _words(ax, 5, 2.5, "its twin, occluded")
    _arrow(ax, (17, 30.5), (17, 14.5), arrowstyle="<|-|>")
    _words(ax, 22.5, 22.5, "the same\nweights")
    _box(ax, (33, 19), (12, 7), "$K$ filters $\\mathbf{F}_i$", "0.3")
    _box(ax, (50, 19), (14, 7), "SAD, Eq. 1:\nfilters apart", SAD)
    _box(ax, (57, 44), (19, 6), "SAD, Eq. 2:\nresponses apart", SAD)
    _box(ax, (71, 19), (16, 7), "FAD, Eq. 4:\nalike where $\\tau_i = 1$", FAD)
    links: list[tuple] = [((39, 26), (39, 35.3), "0.3"), ((39, 19), (39, 9.7), "0.3")]
    links += [((50, 22.5), (45.3, 22.5), SAD), ((66.5, 44), (66.5, 41), SAD)]
    links += [((79, 26), (79, 31.2), FAD), ((79, 19), (79, 13.8), FAD)]
    for start, end, colour in links:
        _arrow(ax, start, end, color=colour)
    return figure


def _branch(ax: Axes, symbol: str, middle: float) -> None:
    """Draw one branch from left to right, around the height ``middle``."""
    for k, (height, shade) in enumerate(((9, "0.92"), (7, "0.84"), (5, "0.76"))):
        _slab(ax, 13 + 3 * k, middle - height / 2, 2.2, height, shade)
        _slab(ax, 27 + 2.2 * k, middle - 4, 2.2, 8, shade)
    for k, (across, up) in enumerate(PLACES):
        for left, wide in ((50, 40), (65, 0)):  # after LMF the peak alone is left
            low = middle - 4.6 + 3.15 * k
            _slab(ax, left, low, 2.9, 2.9, "white")
            spot: style.Look = dict(color="0.15", linewidth=0, zorder=3)
            for size, alpha in ((8, 1), (wide, 0.35), (3 * wide, 0.15)):
                ax.scatter(left + 2.9 * across, low + 2.9 * up, s=size, alpha=alpha, **spot)
    for k in range(6):
        _slab(ax, 78, middle - 4.2 + 1.4 * k, 2, 1.4, ("0.95", "0.6", "0.8")[k % 3])
    clean = "hat" not in symbol
    last = "identity, Eq. 3" if clean else "identity of\n$\\tau \\odot \\mathbf{f}$, Eq. 5"
    _box(ax, (87, middle - 3), (12.5, 6), last, IDENTITY)
    for start, end in ((9.8, 12.7), (21.6, 26.7), (33.9, 49.6), (53.4, 64.6), (68.4, 77.7)):
        _arrow(ax, (start, middle), (end, middle))
    _arrow(ax, (80.3, middle), (86.7, middle))
    _words(ax, 30.3, middle - 6, "hypercolumn")
    _words(ax, 51.5, middle - 6, f"responses $\\psi_i({symbol})$")
    _words(ax, 83.5, middle - 6, f"$\\mathbf{{f}}({symbol})$")
    _words(ax, 59, middle + 2.4, "LMF: the\nlargest stay")
    _words(ax, 73, middle + 1.4, "mean")
    _words(ax, 17, middle + (6 if clean else -6), "convolutions")


def _slab(ax: Axes, x: float, y: float, width: float, height: float, shade: str) -> None:
    ax.add_patch(Rectangle((x, y), width, height, facecolor=shade, edgecolor="0.35", zorder=2))


def _box(ax: Axes, at: tuple, size: tuple, words: str, colour: str) -> None:
    """Draw words in a box, pale in its colour; ``at`` is the lower left corner."""
    look: style.Look = dict(boxstyle="round,pad=0,rounding_size=1", linewidth=1.2)
    ax.add_patch(FancyBboxPatch(at, *size, facecolor=colour, alpha=0.25, **look))
    ax.add_patch(FancyBboxPatch(at, *size, fill=False, edgecolor=colour, **look))
    _words(ax, at[0] + size[0] / 2, at[1] + size[1] / 2, words)


def _arrow(ax: Axes, start: tuple, end: tuple, **look: Any) -> None:
    shape: style.Look = dict(arrowstyle="-|>", mutation_scale=9, linewidth=1.2, color="0.3")
    ax.add_patch(FancyArrowPatch(start, end, shrinkA=0, shrinkB=0, **(shape | look)))


def _words(ax: Axes, x: float, y: float, words: str) -> None:
    ax.text(x, y, words, ha="center", va="center", fontsize=8)
