"""Figures of faces: the data, the mesh and what covers them (Fig. 3 and 4).

Faces are (N, H, W, 3) uint8; points are pixels of them, x then y.
"""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from numpy.typing import ArrayLike

from ifr.figures import style
from ifr.figures.style import Named, Names
from ifr.landmarks import NUM_LANDMARKS
from ifr.mesh import FaceMesh


@style.house()
def figure_3(
    template: ArrayLike, mesh: FaceMesh, boxes: Named, faces: ArrayLike, quads: Named, titles: Names
) -> Figure:
    """Draw Figure 3, a row a part: its box on the template, and quads (N, 4, 2) on N faces."""
    faces = style.require_images(faces, "faces")
    template = style.require_images(template, "template", "HW")
    corners = style.require_each(quads, (len(faces), 4, 2), "quads")
    figure, axes = style.grid(list(boxes), ["template", *titles], cell=2, extra=0.4)
    look: style.Look = dict(color=style.PALETTE[0], linewidth=0.5)
    for row, (part, box) in zip(axes, boxes.items(), strict=True):
        style.picture_row(row, [template, *faces])
        row[0].triplot(*mesh.points.T, triangles=mesh.triangles, **look)
        style.outline_box(row[0], box)
        row[0].set(xlim=(0, template.shape[1]), ylim=(template.shape[0], 0))
        for ax, outline in zip(row[1:], corners[part], strict=True):
            ax.add_patch(Polygon(outline, facecolor="black", alpha=0.75, **style.OCCLUDER))
    return figure


@style.house()
def figure_faces(rows: Named, titles: Names = ()) -> Figure:
    """Draw faces, Figure 4's among them, a named row each; titles fill the rows one by one."""
    faces = style.require_each(rows, ("N", "H", "W", 3), "rows")
    figure, axes = style.grid(
        list(faces), [""] * max(map(len, faces.values())), cell=1.2, extra=0.6
    )
    for line, (name, images) in zip(axes, faces.items(), strict=True):
        style.picture_row(line, style.require_images(images, f"rows[{name!r}]"))
    for ax, title in zip(axes.ravel(), titles, strict=False):
        ax.set_title(title)
    return figure


@style.house()
def figure_landmarks(
    images: ArrayLike, landmarks: ArrayLike, visible: ArrayLike, *, titles: Names = ()
) -> Figure:
    """Draw landmarks (N, P, 2) over faces: dots where visible (N, P), crosses where hidden."""
    images = style.require_images(images, "images")
    landmarks = style.require(landmarks, (len(images), "P", 2), "landmarks")
    visible = style.require(visible, landmarks.shape[:2], "visible").astype(bool)
    figure, (axes,) = style.grid([""], titles or [""] * len(images), cell=1.8, extra=0.5)
    style.picture_row(axes, images)
    seen: style.Look = dict(ms=2.6, color="#ffff33", mec="black", mew=0.3, label="visible")
    hidden: style.Look = dict(ms=3.6, color="#00e5ff", mew=1, label="hidden")
    for ax, points, shown in zip(axes, landmarks, visible, strict=True):
        ax.plot(*points[shown].T, "o", **seen)
        ax.plot(*points[~shown].T, "x", **hidden)
    style.legend_below(figure, axes[0], frameon=True, facecolor="0.6")  # the marks are pale
    return figure


@style.house()
def figure_face_mesh(image: ArrayLike, mesh: FaceMesh) -> Figure:
    """Draw the frontal template (H, W, 3) under the 142 triangles of its 76 points (Sec. 3.3)."""
    points, triangles = mesh.points, mesh.triangles
    figure, (ax,) = style.panels(1, 5.2, 5.2)
    style.picture(ax, style.require_images(image, "image", "HW"))
    ax.triplot(*points.T, triangles=triangles, color=style.PALETTE[0], linewidth=0.7)
    ax.plot(*points[:NUM_LANDMARKS].T, "o", color="white", markeredgecolor="black", markersize=3.5)
    ax.plot(*points[NUM_LANDMARKS:].T, "s", color=style.PALETTE[1], markersize=6)
    low, high = points.min() - 3, points.max() + 3  # the border points lie outside the image
    title = f"{len(points)} points, {len(triangles)} triangles"
    ax.set(xlim=(low, high), ylim=(high, low), title=title)
    return figure


@style.house()
def figure_mask_coverage(coverage: Named, hull: ArrayLike, face: ArrayLike) -> Figure:
    """Draw the share of masks on each pixel, rule -> (H, W), over a face of outline ``hull``."""
    face = style.require_images(face, "face", "HW")
    height, width = face.shape[:2]
    shares = style.require_each(coverage, (height, width), "coverage")
    figure, axes = style.grid([""], list(shares), cell=2.8, extra=0.9)
    outline = np.concatenate([hull, np.asarray(hull)[:1]])
    top = max(share.max() for share in shares.values())
    look: style.Look = dict(vmin=0, vmax=top, cmap=style.MAGNITUDE, alpha=0.75)
    for ax, share in zip(axes[0], shares.values(), strict=True):
        style.picture(ax, face, grey=True)
        marks = ax.imshow(share, extent=(0, width, height, 0), **look)
        ax.plot(*outline.T, color="white", linewidth=1.2)
        ax.set(xlim=(0, width), ylim=(height, 0))
    figure.colorbar(marks, ax=list(axes[0]), label="share of masks", shrink=0.85)
    return figure
