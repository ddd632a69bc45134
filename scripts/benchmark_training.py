"""A training step taken apart: where its time goes, and its share of the machine's peak."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from lightning_fabric import Fabric
from torch.utils.flop_counter import FlopCounterMode

from ifr.datasets import FaceSet
from ifr.landmarks import FACE_SIZE
from ifr.mesh import FaceMesh
from ifr.profiles import Profile, Variant
from ifr.training import Batcher, TrainingStep, build_network, make_optimiser

BATCHES = 4  # whose faces are drawn; the steps go round them
PARTS = ("batch", "warp", "network", "losses", "backward", "optimiser")


class Trial:
    """A training step of one variant as the loop takes it, with the time of each part."""

    def __init__(self, profile: Profile, variant: Variant, classes: int, fabric: Fabric):
        self.settings, self.width = profile.optimisation, profile.network.filters
        self.fabric, self.count, self.spent = fabric, 0, None
        faces = drawn_faces(self.settings.batch * BATCHES, classes)
        self.batch = Batcher(
            faces, variant, profile.network.input_size, 0, fabric.device, flip=self.settings.flip
        )
        self.batch.occluded = self._timed(self.batch.occluded, "warp")
        model = build_network(profile, variant, classes, 0)
        model.to(fabric.device, memory_format=torch.channels_last).train()
        optimiser, _ = make_optimiser(model, self.settings, 1000)
        if self.settings.compile:
            model.backbone.compile()
        self.module, self.optimiser = fabric.setup(TrainingStep(model, variant), optimiser)
        model.response = self._timed(model.response, "network")

    def step(self) -> None:
        """Take one step."""
        size = self.settings.batch
        indices = np.arange(size) + size * (self.count % BATCHES)
        with self._part("batch", without="warp"):
            images, labels = self.batch(indices, self.count)
            dropout_mask = self.batch.dropout_mask(
                size, self.width, self.settings.dropout, self.count
            )
        with self._part("losses", without="network"):
            total = sum(self.module(images, labels, dropout_mask)[0].values())
        with self._part("backward"):
            self.optimiser.zero_grad(set_to_none=True)
            self.fabric.backward(total)
        with self._part("optimiser"):
            self.optimiser.step()
        self.count += 1

    def notes(self, steps: int = 6) -> list[str]:
        """Return where the time of a step goes, and its share of what the machine could compute."""
        shares = ", ".join(f"{name} {100 * v:.1f} %" for name, v in self.shares(steps).items())
        half = self.fabric.strategy.precision.precision == "bf16-mixed"
        peak = matrix_peak(self.fabric.device, torch.bfloat16 if half else torch.float32)
        began = time.perf_counter()
        for _ in range(steps):
            self.step()
        _wait(self.fabric.device)
        achieved = steps * self.flops() / (time.perf_counter() - began)
        return [
            f"time: {shares}",
            f"{achieved / 1e12:.3g} of {peak / 1e12:.3g} TFLOP/s that a large matrix product "
            f"reaches in {'bf16' if half else 'fp32'} on {_device_name(self.fabric.device)}: "
            f"{100 * achieved / peak:.0f} %",
        ]

    def shares(self, steps: int) -> dict[str, float]:
        """Return the share of the time that each part takes of so many steps."""
        self.spent = dict.fromkeys(PARTS, 0.0)
        for _ in range(steps):
            self.step()
        spent, self.spent = self.spent, None
        return {name: value / sum(spent.values()) for name, value in spent.items()}

    def flops(self) -> int:
        """Return the floating-point operations of one step's products and convolutions."""
        with FlopCounterMode(display=False) as counter:
            self.step()
        return counter.get_total_flops()

    @contextmanager
    def _part(self, name: str, without: str | None = None) -> Iterator[None]:
        """Add the time of a part, less that of another inside it, where times are taken."""
        if self.spent is None:
            yield
            return
        _wait(self.fabric.device)
        inside, began = self.spent.get(without, 0.0), time.perf_counter()
        yield
        _wait(self.fabric.device)
        self.spent[name] += time.perf_counter() - began - self.spent.get(without, 0.0) + inside

    def _timed(self, function: Callable, name: str) -> Callable:
        def measured(*arguments, **options):
            with self._part(name):
                return function(*arguments, **options)

        return measured


def drawn_faces(count: int, classes: int) -> FaceSet:
    """Return noise in place of faces, with landmarks about the template; labels of all classes."""
    rng = np.random.default_rng(0)
    template = FaceMesh.frontal(FACE_SIZE).landmarks
    landmarks = template + rng.normal(0, 1, (count, *template.shape))
    labels = np.arange(count) % classes
    labels[-1] = classes - 1
    images = rng.integers(0, 256, (count, FACE_SIZE, FACE_SIZE, 3), dtype=np.uint8)
    return FaceSet("benchmark", images, labels, landmarks.astype(np.float32))


def matrix_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Return the FLOP/s of a large square matrix product, the best of five."""
    side = 8192 if device.type == "cuda" else 2048
    left, right = torch.randn(2, side, side, device=device).to(dtype)
    times = []
    for _ in range(6):
        _wait(device)
        began = time.perf_counter()
        left @ right
        _wait(device)
        times.append(time.perf_counter() - began)
    return 2 * side**3 / min(times[1:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"
