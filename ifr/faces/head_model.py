"""The head model: mean mesh, shape vectors, expression units, landmarks, canonical map."""

import functools
from dataclasses import dataclass

import numpy as np

from ifr.common.paths import ASSETS
from ifr.faces.geometry import AXIS, TEXELS, canonical
from ifr.faces.raster import rasterise, z_buffer
from ifr.faces.shade import LEFT_EYE, RIGHT_EYE, SKIN, UPPER_TEETH

# Ends of target names that pull in opposite directions of one trait.
SIGNS = {
    **dict.fromkeys(("incr", "up", "in", "forward", "convex", "compress"), 1),
    **dict.fromkeys(("decr", "down", "out", "backward", "concave", "uncompress"), -1),
}


@dataclass(frozen=True, eq=False)
class Trait:
    """One direction of shape: vectors with their sign and side ("l", "r" or "")."""

    name: str
    vectors: tuple[tuple[int, int, str], ...]


@dataclass(frozen=True, eq=False)
class Head:
    """The packaged head: V vertices, T triangles, K shape vectors.

    Axes: x to the subject's left, y up, z ahead; one unit is a decimetre.
    """

    mean: np.ndarray  # (V, 3) float32
    triangles: np.ndarray  # (T, 3) int32, ordered by part
    part: np.ndarray  # (T,) uint8: SKIN .. TONGUE
    occlusion: np.ndarray  # (V,) float32, share of the sky seen
    basis: np.ndarray  # (K, V, 3) int16
    scale: np.ndarray  # (K,) float32
    index: dict[str, int]  # label -> row of basis
    units: dict[str, tuple[np.ndarray, np.ndarray]]  # expression -> vertices (M,), offsets (M, 3)
    traits: tuple[Trait, ...]
    uv: np.ndarray  # (V, 2) float32, canonical texels of the mean head
    local: np.ndarray  # (V, 2) float32, place on the eyeball in radii; on ears 0..1 outwards, 0
    skin: np.ndarray  # (V,) bool, vertices of the skin
    landmark_corners: np.ndarray  # (68, 3) int64
    landmark_weights: np.ndarray  # (68, 3) float32

    def landmarks(self, vertices: np.ndarray) -> np.ndarray:
        """Return the 68 points (68, C) of per-vertex values (V, C)."""
        corners = vertices[self.landmark_corners]
        return (corners * self.landmark_weights[..., None]).sum(1)

    @functools.cached_property
    def landmark_uv(self) -> np.ndarray:
        """The 68 points in the canonical map, texels (68, 2)."""
        return self.landmarks(self.uv)

    @functools.cached_property
    def closed(self) -> int:
        """How many triangles belong to closed surfaces, skin and eyes; these come first."""
        return int(np.searchsorted(self.part, UPPER_TEETH))

    @functools.cached_property
    def mapped(self) -> np.ndarray:
        """Skin triangles that the canonical map shows whole: none across the seam at the back."""
        columns = self.uv[self.triangles, 0]
        inside = (columns.min(1) > -8) & (columns.max(1) < TEXELS + 8)
        return np.ascontiguousarray(self.triangles[inside & (self.part == SKIN)])

    def surface_map(self, vertices: np.ndarray, size: int = 64) -> tuple[np.ndarray, np.ndarray]:
        """Return the skin's distance from the vertical axis and its height over the canonical map.

        Both are (size, size), 0 where there is no skin; ``vertices`` (V, 3) float32.
        """
        radius = np.hypot(vertices[:, 0], vertices[:, 2] - AXIS)
        points = np.column_stack([self.uv * (size / TEXELS), radius]).astype(np.float32)
        buffer = z_buffer(size, far=0)
        rasterise(points, self.mapped, buffer)
        heights = vertices[self.mapped[buffer.face], 1]
        height = heights[..., 2] + ((heights[..., :2] - heights[..., 2:]) * buffer.bary).sum(-1)
        return buffer.depth, np.where(buffer.face >= 0, height, 0)


def _traits(labels: list[str]) -> tuple[Trait, ...]:
    """Pair the targets that are the two ends of one trait, and the two sides of one face."""
    groups: dict[str, list[tuple[int, int, str]]] = {}
    for k, label in enumerate(labels):
        folder, name = label.split("/", 1)
        if folder in ("base", "age", "minweight", "maxweight", "expression"):
            continue
        side = name[0] if name[:2] in ("l-", "r-") else ""
        name = name[2:] if side else name
        stem, _, end = name.rpartition("-")
        sign = SIGNS.get(end, 0)
        stem = stem if sign else name
        groups.setdefault(f"{folder}/{stem}", []).append((k, sign or 1, side))
    return tuple(Trait(name, tuple(vectors)) for name, vectors in groups.items())


def _eye_positions(mean: np.ndarray, triangles: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Return x and y on each eyeball relative to its centre, in radii."""
    local = np.zeros((len(mean), 2), np.float32)
    for eye in (LEFT_EYE, RIGHT_EYE):
        ball = np.unique(triangles[part == eye])
        low, high = mean[ball].min(0), mean[ball].max(0)
        local[ball] = ((mean[ball] - (low + high) / 2) / ((high[1] - low[1]) / 2))[:, :2]
    return local


def _ear_positions(basis: np.ndarray, index: dict[str, int]) -> np.ndarray:
    """Return how far out on an ear each vertex lies, 0..1: what moves when the ears stand out."""
    wings = [index[f"ears/{side}-ear-wing-incr"] for side in "lr"]
    moved = np.abs(basis[wings, :, 0].astype(np.float32)).sum(0)
    return (moved / moved.max()).astype(np.float32)


@functools.cache
def load_head() -> Head:
    """Return the packaged head model, read once per process."""
    with np.load(ASSETS / "head.npz") as file:
        data = {name: file[name] for name in file.files}
    labels = [str(label) for label in data["labels"]]
    triangles = data["triangles"].astype(np.int32)
    index, units = {label: k for k, label in enumerate(labels)}, {}
    for label, k in index.items():
        if label.startswith("expression/"):
            moved = np.flatnonzero(np.any(data["basis"][k] != 0, axis=1))
            offsets = data["basis"][k][moved] * data["scale"][k]
            units[label.partition("/")[2]] = (moved, offsets.astype(np.float32))
    local = _eye_positions(data["mean"], triangles, data["part"])
    local[:, 0] += _ear_positions(data["basis"], index)
    skin = np.zeros(len(data["mean"]), bool)
    skin[triangles[data["part"] == SKIN]] = True
    return Head(
        mean=data["mean"],
        triangles=triangles,
        part=data["part"],
        occlusion=data["occlusion"].astype(np.float32) / 255,
        basis=data["basis"],
        scale=data["scale"],
        index=index,
        units=units,
        traits=_traits(labels),
        uv=canonical(data["mean"]),
        local=local,
        skin=skin,
        landmark_corners=data["landmark_corners"].astype(np.int64),
        landmark_weights=data["landmark_weights"],
    )
