"""Speeds of this machine, as the README quotes them: each function returns one measured line."""

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from ifr.apps.explorer import Explorer
from ifr.apps.explorer_panel import Panel
from ifr.common.paths import ASSETS
from ifr.datasets import FaceSet
from ifr.datasets.index import DatasetIndex
from ifr.datasets.prepare import prepare
from ifr.datasets.readers.images import Files, LazyImages
from ifr.datasets.readers.landmark_files import GivenLandmarks
from ifr.experiment.run import start
from ifr.mesh import FaceMesh
from ifr.profiles import get_variant
from ifr.training import build_network


def best_of(function: Callable[[], object], repeats: int) -> float:
    """Return the shortest of several timings in seconds, after one run that is not counted."""
    function()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return min(times)


def mesh_cost(faces: int = 64, points: int = 4) -> str:
    """Time moving the vertices of a mask between the template and a batch of faces."""
    mesh, rng = FaceMesh.frontal(112).crop(offset=8, size=96), np.random.default_rng(0)
    landmarks = mesh.landmarks + rng.normal(0, 1, (faces, 68, 2))
    spots = rng.uniform(20, 70, (points, 2))
    there = best_of(lambda: mesh.transfer(spots, mesh.landmarks, landmarks), 30)
    placed = mesh.transfer(spots, mesh.landmarks, landmarks)
    back = best_of(lambda: mesh.transfer(placed, landmarks, mesh.landmarks), 30)
    return (
        f"{faces} faces x {points} points: {1000 * there:.2f} ms to the faces, "
        f"{1000 * back:.2f} ms back to the template"
    )


def explorer_speed(profile: str, moves: int = 40) -> str:
    """Time moves of the explorer's sliders: networks, drawing and packing, not the browser.

    The networks of the profile are untrained, which changes no time.

    Args:
        profile: whose network and faces.
        moves: of each kind.
    """
    run = start("benchmark", profile=profile)
    networks = {
        get_variant(name).title: build_network(run.profile, get_variant(name), 2, 0).eval()
        for name in ("base", "full")
    }
    panel, times = Panel(Explorer(run, networks)), {}
    for kind, values in (
        ("rectangle", [dict(x=2 * (k % 20) + 4) for k in range(moves)]),
        ("turn", [dict(yaw=5 * (k % 24) - 60) for k in range(moves)]),
        ("face", [dict(person=k % len(panel.explorer.seeds)) for k in range(moves)]),
    ):
        times[kind] = []
        for move in values:
            began = time.perf_counter()
            panel.set(**move)
            times[kind].append(1000 * (time.perf_counter() - began))
    spent = ", ".join(
        f"{kind} {np.median(one):.0f} ms (95th percentile {np.percentile(one, 95):.0f})"
        for kind, one in times.items()
    )
    return f"two networks of profile {profile}, a move answered in: {spent}"


def alignment_speed(count: int = 2000, *, workers: int | None = None) -> str:
    """Align JPEG files of 250×250 pixels by given landmarks and return the speed in words.

    The files show a random pattern with fine and coarse detail; decoding, warping, writing and the
    start of the workers are counted.

    Args:
        count: how many images.
        workers: processes; the cores this process may use if None.
    """
    rng = np.random.default_rng(0)
    template = np.load(ASSETS / "frontal68.npy") * 1.1 + 60
    with tempfile.TemporaryDirectory() as place:
        root, names = Path(place), []
        for k in range(count):
            coarse = rng.integers(0, 255, (12, 12, 3), dtype=np.uint8)
            picture = cv2.resize(coarse, (250, 250), interpolation=cv2.INTER_CUBIC)
            picture = cv2.add(picture, rng.integers(0, 24, (250, 250, 3), dtype=np.uint8))
            names.append(f"{k}.jpg")
            cv2.imwrite(str(root / names[-1]), picture, [cv2.IMWRITE_JPEG_QUALITY, 90])
        points = (template + rng.normal(0, 2, (count, 1, 2))).astype(np.float32)
        faces = FaceSet(
            "benchmark",
            LazyImages(Files(root, names)),
            np.zeros(count, np.int64),
            None,
            {"file": np.array(names)},
        )
        given = GivenLandmarks(points, (), "benchmark")
        began = time.perf_counter()
        prepare(
            DatasetIndex(faces, {}),
            root / "out",
            name="benchmark",
            landmarks=given,
            workers=workers,
            progress=False,
        )
        seconds = time.perf_counter() - began
        shutil.rmtree(root / "out")
    speed = f"{count / seconds:.0f} images/s"
    return f"{count} JPEG images of 250 x 250 pixels in {seconds:.1f} s: {speed}"
