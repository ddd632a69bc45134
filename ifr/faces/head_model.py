"""The head model: mean mesh, shape vectors, expression units, landmarks, canonical map."""

import functools
from dataclasses import dataclass

import numpy as np

from ifr.common.paths import ASSETS
from ifr.faces.geometry import AXIS, TEXELS, canonical
from ifr.faces.raster import rasterise, z_buffer
from ifr.faces.shade import LEFT_EYE, LOWER_TEETH, RIGHT_EYE, SKIN, TONGUE, UPPER_TEETH

# Ends of target names that pull in opposite directions of one trait.
SIGNS = dict.fromkeys(("incr", "up", "in", "forward", "convex", "compress"), 1)
SIGNS |= dict.fromkeys(("decr", "down", "out", "backward", "concave", "uncompress"), -1)


@dataclass(frozen=True, eq=False)
class Head:
    """The head: V vertices, T triangles, K shape vectors; x to its left, y up, z ahead, in dm."""

    mean: np.ndarray  # (V, 3) float32
    triangles: np.ndarray  # (T, 3) int32, ordered by part
    part: np.ndarray  # (T,) uint8: SKIN .. TONGUE
    occlusion: np.ndarray  # (V,) float32, share of the sky seen
    basis: np.ndarray  # (K, V, 3) int16
    scale: np.ndarray  # (K,) float32
    index: dict[str, int]  # label -> row of basis
    units: dict[str, tuple[np.ndarray, np.ndarray]]  # expression -> vertices (M,), offsets (M, 3)
    traits: dict[str, list[tuple[int, int, str]]]  # vectors, their sign and side "l", "r" or ""
    uv: np.ndarray  # (V, 2) float32, canonical texels of the mean head
    local: np.ndarray  # (V, 2) float32, place on the eyeball in radii; on ears 0..1 outwards, 0
    skin: np.ndarray  # (V,) bool, vertices of the skin
    eyeballs: list[np.ndarray]  # the vertices of the left and of the right one
    landmark_corners: np.ndarray  # (68, 3) int64
    landmark_weights: np.ndarray  # (68, 3) float32

    def landmarks(self, vertices: np.ndarray) -> np.ndarray:
        """Return the 68 points (68, C) of per-vertex values (V, C)."""
        return (vertices[self.landmark_corners] * self.landmark_weights[..., None]).sum(1)

    @functools.cached_property
    def landmark_uv(self) -> np.ndarray:
        """The 68 points in the canonical map, texels (68, 2)."""
        return self.landmarks(self.uv)

    @functools.cached_property
    def mapped(self) -> np.ndarray:
        """Skin triangles that the canonical map shows whole: none across the seam at the back."""
        columns = self.uv[self.triangles, 0]
        inside = (columns.min(1) > -8) & (columns.max(1) < TEXELS + 8)
        return np.ascontiguousarray(self.triangles[inside & (self.part == SKIN)])

    def surface_map(self, vertices: np.ndarray, size: int = 64) -> tuple[np.ndarray, np.ndarray]:
        """Return the skin's distance from the axis and height, (size, size), over the map; or 0."""
        radius = np.hypot(vertices[:, 0], vertices[:, 2] - AXIS)
        points = np.column_stack([self.uv * (size / TEXELS), radius]).astype(np.float32)
        buffer = z_buffer(size, far=0)
        rasterise(points, self.mapped, buffer, 0, 0)
        heights = vertices[self.mapped[buffer.face], 1]
        height = heights[..., 2] + ((heights[..., :2] - heights[..., 2:]) * buffer.bary).sum(-1)
        return buffer.depth, np.where(buffer.face >= 0, height, 0)


def _traits(labels: list[str]) -> dict[str, list[tuple[int, int, str]]]:
    """Pair the targets that are the two ends of one trait, and the two sides of one face."""
    traits: dict[str, list[tuple[int, int, str]]] = {}
    for k, label in enumerate(labels):
        folder, name = label.split("/", 1)
        if folder in ("base", "age", "minweight", "maxweight", "expression"):
            continue
        side = name[0] if name[:2] in ("l-", "r-") else ""
        name = name[2:] if side else name
        stem, _, end = name.rpartition("-")
        sign = SIGNS.get(end, 0)
        traits.setdefault(f"{folder}/{stem if sign else name}", []).append((k, sign or 1, side))
    return traits


@functools.cache
def load_head() -> Head:
    """Return the packaged head model, read once per process."""
    with np.load(ASSETS / "head.npz") as file:
        data = {name: file[name] for name in file.files}
    mean, part, basis, scale = (data[name] for name in ("mean", "part", "basis", "scale"))
    labels, triangles = data["labels"].tolist(), data["triangles"].astype(np.int32)
    index, units = {label: k for k, label in enumerate(labels)}, {}
    for label, k in index.items():
        if label.startswith("expression/"):
            moved = np.flatnonzero(basis[k].any(1))
            units[label.partition("/")[2]] = moved, (basis[k][moved] * scale[k]).astype(np.float32)
    of_part = [np.unique(triangles[part == k]) for k in range(TONGUE + 1)]
    local, eyeballs = np.zeros((len(mean), 2), np.float32), of_part[LEFT_EYE : RIGHT_EYE + 1]
    for ball in eyeballs:
        low, high = mean[ball].min(0), mean[ball].max(0)
        local[ball] = ((mean[ball] - (low + high) / 2) / ((high[1] - low[1]) / 2))[:, :2]
    # How far out on an ear a vertex lies is told by what moves when the ears stand out.
    wings = [index[f"ears/{side}-ear-wing-incr"] for side in "lr"]
    outwards = np.abs(basis[wings, :, 0].astype(np.float32)).sum(0)
    local[:, 0] += outwards / outwards.max()
    occlusion, skin = data["occlusion"].astype(np.float32) / 255, np.zeros(len(mean), bool)
    skin[of_part[SKIN]] = True
    # The share of the sky was measured with the mouth closed; ears are deeper than it says.
    x, y, z = mean.T
    within = (occlusion < 0.08) & (np.abs(x) < 0.4) & (y > 6.4) & (y < 6.94) & (z < 1.42)
    bag, teeth = within & skin, within & ~skin
    occlusion[bag] = 0.04 + 0.22 * np.clip((z[bag] - 0.9) / 0.5, 0, 1)
    occlusion[teeth] = 0.08 + 0.8 * np.clip((z[teeth] - 0.95) / 0.4, 0, 1) ** 2
    occlusion[teeth] *= np.clip(1.3 - (x[teeth] / 0.2) ** 2, 0.1, 1)
    occlusion[skin & (local[:, 0] > 0.1)] **= 2.2
    # Closed lips must cover the teeth, and the tongue lie behind them.
    for row in of_part[UPPER_TEETH : LOWER_TEETH + 1]:
        mean[row, 0] *= np.float32(0.86)
        mean[row, 2] -= np.float32(0.025)
    mean[of_part[TONGUE]] -= np.array([0, 0.06, 0.07], np.float32)
    names = (index, units, _traits(labels))
    marks = data["landmark_corners"].astype(np.int64), data["landmark_weights"]
    arrays = (mean, triangles, part, occlusion, basis, scale)
    return Head(*arrays, *names, canonical(mean), local, skin, eyeballs, *marks)
