"""Figures of faces: the data, the mesh and what covers them (Fig. 3 and 4).

Faces are (N, H, W, 3) uint8; points are pixels of them, x then y.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from numpy.typing import ArrayLike

from ifr.figures import style
from ifr.mesh import NUM_BORDER


@style.house()
def figure_3(
    template: ArrayLike,
    mesh_points: ArrayLike,
    triangles: ArrayLike,
    rectangle: Sequence[float],
    faces: ArrayLike,
    quadrilaterals: ArrayLike,
    *,
    titles: Sequence[str],
) -> Figure:
    """Draw Figure 3: a rectangle (x, y, width, height) on the template (H, W, 3), and on N faces.

    The template is shown under its mesh: (76, 2) points and (142, 3) indices into them; on each
    face the (4, 2) corners of its warped rectangle are filled.
    """
    faces, template = style.require_images(faces, "faces"), style.require_image(template, "template")
    corners = style.require(quadrilaterals, (len(faces), 4, 2), "quadrilaterals")
    figure, axes = style.grid(1, len(faces) + 1, cell=1.6, extra=0.35)
    first, *others = axes[0]
    style.picture(first, template)
    _mesh(first, np.asarray(mesh_points), triangles, linewidth=0.4)
    style.outline_box(first, rectangle)
    first.set(xlim=(0, template.shape[1]), ylim=(template.shape[0], 0), title="template")
    for ax, face, outline, title in zip(others, faces, corners, titles, strict=True):
        style.picture(ax, face)
        ax.add_patch(Polygon(outline, facecolor="black", alpha=0.75, **style.OCCLUDER))
        ax.set_title(title)
    return figure
    first.triplot(*points.T, triangles=np.asarray(triangles), color=style.PALETTE[0], linewidth=0.4)
    x, y, width, height = rectangle
    first.add_patch(Rectangle((x, y), width, height, fill=False, **style.OCCLUDER))
    first.set(xlim=(0, template.shape[1]), ylim=(template.shape[0], 0), title="template")
    for ax, face, outline, title in zip(others, faces, corners, titles, strict=True):
        style.picture(ax, face)
        ax.add_patch(Polygon(outline, facecolor="black", alpha=0.75, **style.OCCLUDER))
        ax.set_title(title)
    return figure


@style.house()
def figure_4(examples: Mapping[str, ArrayLike]) -> Figure:
    """Draw Figure 4: examples of each data set, one row each; name of the set -> faces."""
    rows = style.require_each(examples, ("N", "H", "W", 3), "examples")
    figure, axes = style.grid(len(rows), max(map(len, rows.values())), cell=1.1, extra=0.4)
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        style.picture_row(line, style.require_images(images, f"examples[{name!r}]"))
        line[0].set_ylabel(name)
    return figure


@style.house()
def figure_contact_sheet(
    images: ArrayLike, titles: Sequence[str] = (), *, columns: int = 8
) -> Figure:
    """Draw faces in a grid, row by row, with a title each or none."""
    images = style.require_images(images, "images")
    figure, axes = style.gallery(images, titles, columns=columns, cell=1.1, extra=0.2)
    for ax in axes:
        ax.title.set_fontsize(8)
    return figure


@style.house()
def figure_landmarks(
    images: ArrayLike, landmarks: ArrayLike, visible: ArrayLike, *, titles: Sequence[str] = ()
) -> Figure:
    """Draw landmarks (N, P, 2) over faces: dots where visible (N, P), crosses where hidden."""
    images = style.require_images(images, "images")
    landmarks = style.require(landmarks, (len(images), "P", 2), "landmarks")
    visible = style.require(visible, landmarks.shape[:2], "visible").astype(bool)
    figure, axes = style.gallery(images, titles, columns=6, cell=1.8, extra=0.5)
    seen: style.Look = dict(ms=2.6, color="#ffff33", mec="black", mew=0.3, label="visible")
    hidden: style.Look = dict(ms=3.6, color="#00e5ff", mew=1, label="hidden")
    for ax, points, shown in zip(axes, landmarks, visible, strict=True):
        ax.plot(*points[shown].T, "o", **seen)
        ax.plot(*points[~shown].T, "x", **hidden)
    legend = style.legend_below(figure, axes[0])
    legend.set(frame_on=True)
    legend.get_frame().set_facecolor("0.6")  # the marks are pale
    return figure


@style.house()
def figure_face_mesh(image: ArrayLike, points: ArrayLike, triangles: ArrayLike) -> Figure:
    """Draw the frontal template (H, W, 3) under the 142 triangles of its 76 points (Sec. 3.3)."""
    points, triangles = style.require(points, ("P", 2), "points"), np.asarray(triangles)
    figure, ax = style.plot(5.2, 5.2)
    style.picture(ax, style.require_images(image, "image", ("H", "W", 3)))
    ax.triplot(*points.T, triangles=triangles, color=style.PALETTE[0], linewidth=0.7)
    ax.plot(*points[:-NUM_BORDER].T, "o", color="white", markeredgecolor="black", markersize=3.5)
    ax.plot(*points[-NUM_BORDER:].T, "s", color=style.PALETTE[1], markersize=6)
    low, high = points.min() - 3, points.max() + 3  # the border points lie outside the image
    ax.set(xlim=(low, high), ylim=(high, low))
    ax.set_title(f"{len(points)} points, {len(triangles)} triangles")
    return figure


@style.house()
def figure_folded_triangles(yaw: ArrayLike, folded: ArrayLike, binned: pd.DataFrame) -> Figure:
    """Draw how many of the 142 triangles turn over as the head turns.

    Args:
        yaw: (N,) degrees.
        folded: (N,) number of folded triangles of each face.
        binned: columns ``yaw`` (mean of the bin's absolute yaw, degrees) and ``folded`` (mean).
    """
    style.require_columns(binned, ("yaw", "folded"), "binned")
    figure, ax = style.plot(5.6, 3.4)
    ax.plot(np.abs(yaw), folded, ".", color="0.7", markersize=4, label="one face")
    ax.plot(binned["yaw"], binned["folded"], "o-", color=style.PALETTE[0], label="mean of the bin")
    ax.set(xlabel="|yaw| (degrees)", ylabel="folded triangles of 142", ylim=(0, None))
    ax.legend()
    return figure


@style.house()
def figure_mask_coverage(
    coverage: Mapping[str, ArrayLike], hull: ArrayLike, face: ArrayLike
) -> Figure:
    """Draw how often each pixel of the frontal face is masked, for each rule of placement.

    Args:
        coverage: title -> (H, W) share of the drawn rectangles that cover the pixel.
        hull: (P, 2) outline of the face.
        face: (H, W, 3) uint8 mean frontal face.
    """
    face = style.require_images(face, "face", ("H", "W", 3))
    height, width = face.shape[:2]
    shares = style.require_each(coverage, (height, width), "coverage")
    figure, axes = style.grid(1, len(shares), cell=2.8, extra=0.9)
    outline = np.concatenate([hull, np.asarray(hull)[:1]])
    top = max(share.max() for share in shares.values())
    look: style.Look = dict(vmin=0, vmax=top, cmap=style.MAGNITUDE, alpha=0.75)
    for ax, (title, share) in zip(axes[0], shares.items(), strict=True):
        style.picture(ax, face, grey=True)
        marks = ax.imshow(share, extent=(0, width, height, 0), **look)
        ax.plot(*outline.T, color="white", linewidth=1.2)
        ax.set(xlim=(0, width), ylim=(height, 0), title=title)
    figure.colorbar(marks, ax=list(axes[0]), label="share of masks", shrink=0.85)
    return figure
