"""The cost of training on this machine: speed, where the time goes, share of the peak, memory."""

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import psutil
import torch
from lightning.fabric import Fabric
from torch.utils.flop_counter import FlopCounterMode

from ifr.datasets import FaceSet
from ifr.mesh import FaceMesh
from ifr.profiles import Profile, Variant, get_variant, resized
from ifr.training import Batcher, TrainingStep, build_network, make_fabric, make_optimiser
from ifr.training.batches import FULL_BATCH

PLAIN = Variant("two branches", "identity losses alone", occlusion="BlaS")
BATCHES = 4  # whose faces are drawn; the steps go round them
PARTS = ("batch", "warp", "network", "losses", "backward", "optimiser")


@dataclass(frozen=True)
class Cost:
    """What a training step costs, beside the same step with identity losses alone.

    Attributes:
        seconds: of a step of the full model, the median.
        plain_seconds: of the other.
        images: twins counted, of a step.
        shares: of the step by part, measured with the device waited for after each.
        flops: of the matrix products and convolutions, forward and backward.
        peak: FLOP/s of a large matrix product in the same precision.
        memory: bytes: at most allocated on a GPU, else at most resident.
        classes: of the classifier.
        precision: Fabric's name.
        device: of the run.
    """

    seconds: float
    plain_seconds: float
    images: int
    shares: dict[str, float]
    flops: int
    peak: float
    memory: int
    classes: int
    precision: str
    device: str

    def __str__(self) -> str:
        """Return the lines that ``ifr benchmark`` prints."""
        parts = ", ".join(f"{name} {100 * share:.1f} %" for name, share in self.shares.items())
        achieved = self.flops / self.seconds
        return (
            f"{self.images // 2} pairs, {self.classes} identities, {self.precision} on "
            f"{self.device}: {self.images / self.seconds:.0f} images/s, {1000 * self.seconds:.0f} "
            f"ms a step, {self.seconds / self.plain_seconds:.2f} x one with identity losses alone\n"
            f"  time: {parts}\n"
            f"  {achieved / 1e12:.3g} of {self.peak / 1e12:.3g} TFLOP/s that a large matrix "
            f"product reaches: {100 * achieved / self.peak:.0f} %; peak memory "
            f"{self.memory / 1e9:.2f} GB"
        )


def training_cost(
    profile: Profile,
    *,
    batch: int | None = None,
    identities: int = 150,
    repeats: int = 6,
    accelerator: str = "auto",
) -> Cost:
    """Measure training steps of the full model: batches, warp, network, losses, optimiser.

    Args:
        profile: whose network and optimisation.
        batch: pairs a step, the profile's if None.
        identities: of the classifier.
        repeats: steps that are timed, after two that are not.
        accelerator: ``"auto"``, ``"cpu"`` or ``"cuda"``.
    """
    if batch is not None:
        profile = resized(profile, batch=batch)
    fabric = make_fabric(profile.optimisation.precision, accelerator=accelerator)
    fabric.launch()
    full = Trial(profile, get_variant("full"), identities, fabric)
    with _PeakMemory(fabric.device) as memory:
        full.step()
        full.step()
    flops = full.flops()
    plain = Trial(profile, PLAIN, identities, fabric)
    plain.step()
    both: list[tuple[float, float]] = []
    for _ in range(repeats):  # in turn, so that a machine that slows down slows both
        both.append((full.seconds(), plain.seconds()))
    half = fabric.strategy.precision.precision == "bf16-mixed"
    return Cost(
        seconds=statistics.median(first for first, _ in both),
        plain_seconds=statistics.median(second for _, second in both),
        images=2 * profile.optimisation.batch,
        shares=full.shares(repeats),
        flops=flops,
        peak=matrix_peak(fabric.device, torch.bfloat16 if half else torch.float32),
        memory=memory.bytes,
        classes=identities,
        precision="bf16" if half else "fp32",
        device=_device_name(fabric.device),
    )


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
                size, self.width, self.settings.dropout, self.count, FULL_BATCH
            )
        with self._part("losses", without="network"):
            total = sum(self.module(images, labels, dropout_mask).values())
        with self._part("backward"):
            self.optimiser.zero_grad(set_to_none=True)
            self.fabric.backward(total)
        with self._part("optimiser"):
            self.optimiser.step()
        self.count += 1

    def seconds(self) -> float:
        """Return the time of one step."""
        _wait(self.fabric.device)
        began = time.perf_counter()
        self.step()
        _wait(self.fabric.device)
        return time.perf_counter() - began

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
    template = FaceMesh.frontal(112).landmarks
    landmarks = template + rng.normal(0, 1, (count, *template.shape))
    labels = np.arange(count) % classes
    labels[-1] = classes - 1
    images = rng.integers(0, 256, (count, 112, 112, 3), dtype=np.uint8)
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


class _PeakMemory:
    """The most memory in use within a block: the GPU's own count, or this process's, sampled."""

    def __init__(self, device: torch.device):
        self.device, self.bytes = device, 0

    def __enter__(self) -> "_PeakMemory":
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            self._ended, process = threading.Event(), psutil.Process()

            def sample() -> None:
                while not self._ended.wait(0.01):
                    self.bytes = max(self.bytes, process.memory_info().rss)

            self._sampler = threading.Thread(target=sample)
            self._sampler.start()
        return self

    def __exit__(self, *_) -> None:
        if self.device.type == "cuda":
            self.bytes = torch.cuda.max_memory_allocated(self.device)
        else:
            self._ended.set()
            self._sampler.join()


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"
