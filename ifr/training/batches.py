"""Batches made on the device: order, crop, flip, scale, and the occluded twins (Sec. 3.3).

Faces stay uint8 where they lie, usually mapped from disk and shared by all that train on them; a
GPU takes them in when they fit. Random numbers are drawn on the host from streams named by the
step, for the whole batch, whatever part of it a process computes; so a GPU, a CPU and several
processes see the same batches.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from ifr.common import seeding
from ifr.common.errors import UserError
from ifr.datasets import FaceSet
from ifr.landmarks import CROP_SIZE, FACE_SIZE, check_landmarks
from ifr.mesh import FaceMesh
from ifr.models import inputs
from ifr.occlusion import draw_noise, draw_rectangle, occlude
from ifr.profiles import Variant

RESIDENT_SHARE = 0.25  # of a GPU's free memory; a larger set stays in the host's
AHEAD = 2  # batches read before they are asked for


@dataclass(frozen=True)
class RankShard:
    """The part of every batch that one process computes: ``rank`` of ``world`` equal parts."""

    rank: int = 0
    world: int = 1

    def of(self, count: int) -> slice:
        """Return which of ``count`` faces are this process's."""
        if count % self.world:
            raise UserError(
                f"a batch of {count} faces cannot be shared equally by {self.world} processes: "
                f"choose a batch that {self.world} divides"
            )
        size = count // self.world
        return slice(self.rank * size, (self.rank + 1) * size)


FULL_BATCH = RankShard()


def batch_indices(
    count: int, batch: int, steps: int, seed: int, first: int = 0
) -> Iterator[np.ndarray]:
    """Yield the indices of each batch from step ``first`` on; every epoch is a new permutation."""
    per_epoch = count // batch
    if per_epoch == 0:
        raise UserError(
            f"a batch of {batch} faces needs at least as many images, the set has {count}"
        )
    order, epoch_of_order = np.arange(0), -1
    for step in range(first, steps):
        epoch, index = divmod(step, per_epoch)
        if epoch != epoch_of_order:
            order = seeding.stream(seed, "training/order", epoch).permutation(count)
            epoch_of_order = epoch
        yield order[index * batch : (index + 1) * batch]


class Batcher:
    """Turns indices into network input on the device.

    Args:
        variant: whose occlusion is drawn.
        size: side of the network input.
        seed: of all random draws.
        flip: flip half of the faces.
        resident: keep the images on the device; None: on a GPU, where they fit.
    """

    def __init__(
        self,
        data: FaceSet,
        variant: Variant,
        size: int,
        seed: int,
        device: torch.device,
        *,
        flip: bool = False,
        resident: bool | None = None,
    ) -> None:
        self.stored = data.images
        self.images = self.landmarks = None
        if _fits(data.images.nbytes, device) if resident is None else resident:
            self.images = torch.from_numpy(np.array(data.images)).to(device)
        self.labels = torch.from_numpy(np.array(data.identity)).to(device)
        if variant.occlusion is not None:
            if data.landmarks is None:
                raise UserError(
                    f"set {data.name!r} has no landmarks to warp the occlusion of {variant.name!r} "
                    "by: prepare it with landmarks, or train a variant without occlusion"
                )
            name = f"landmarks of the set {data.name!r}"
            check_landmarks(data.landmarks, name, size=FACE_SIZE)
            self.landmarks = torch.from_numpy(np.array(data.landmarks)).float().to(device)
        self.mesh = FaceMesh.frontal(CROP_SIZE)
        self.variant, self.size, self.seed, self.device = variant, size, seed, device
        self.flip = flip

    def iterate(
        self, order: Iterable[np.ndarray], first: int = 0, shard: RankShard = FULL_BATCH
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield this process's part of each batch; a thread reads the faces of the next ones."""
        if self.images is not None:
            for step, indices in enumerate(order, first):
                yield self(indices, step, shard)
            return
        with ThreadPoolExecutor(1) as reader:
            waiting: list[tuple[int, np.ndarray, Future]] = []
            for step, indices in enumerate(order, first):
                job = reader.submit(self._read, indices[shard.of(len(indices))])
                waiting.append((step, indices, job))
                if len(waiting) > AHEAD:
                    step, indices, job = waiting.pop(0)
                    yield self(indices, step, shard, job.result())
            for step, indices, job in waiting:
                yield self(indices, step, shard, job.result())

    def __call__(
        self,
        indices: np.ndarray,
        step: int,
        shard: RankShard = FULL_BATCH,
        pixels: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images (n or 2n, 3, size, size), clean faces first, and their labels (n,).

        Args:
            indices: (N,) of the whole batch.
            step: which names the random draws.
            shard: which n of the N are made.
            pixels: (n, 112, 112, 3) uint8, if they were read before.
        """
        mine = shard.of(len(indices))
        draws = seeding.stream(self.seed, "training/crops", step)
        offsets = torch.from_numpy(
            draws.integers(0, inputs.offset_range(self.size), (len(indices), 2))
        )[mine]
        rows = torch.from_numpy(indices[mine])
        stored = self.pixels(rows) if pixels is None else pixels.to(self.device, non_blocking=True)
        rows = rows.to(self.device)
        clean, points = inputs.to_network(stored, offsets, self.size), None
        if self.landmarks is not None:
            points = inputs.to_network_points(self.landmarks[rows], offsets, self.size)
        if self.flip:
            draws = seeding.stream(self.seed, "training/flips", step)
            chosen = torch.from_numpy(draws.random(len(indices)) < 0.5)[mine]
            clean, points = inputs.flip(clean, points, chosen)
        if points is None:
            return _channels_last(clean), self.labels[rows]
        twins = self.occluded(clean, points, step, len(indices), mine)
        return _channels_last(torch.cat([clean, twins])), self.labels[rows]

    def pixels(self, rows: torch.Tensor) -> torch.Tensor:
        """Return stored faces (N, 112, 112, 3) uint8 on the device."""
        if self.images is not None:
            return self.images[rows.to(self.device)]
        return self._read(rows.numpy()).to(self.device, non_blocking=True)

    def occluded(
        self, images: torch.Tensor, points: torch.Tensor, step: int, count: int, mine: slice
    ) -> torch.Tensor:
        """Return the twins: one normalised rectangle a batch, warped to every face (Sec. 3.3)."""
        kind = self.variant.occlusion
        draws = seeding.stream(self.seed, "training/rectangle", step)
        rectangle = draw_rectangle(draws, self.mesh, kind=kind)
        fill, noise = "black", None
        if kind == "GauD":
            seed = seeding.stream_seed(self.seed, "training/noise", step)
            drawn = draw_noise((count, *images.shape[1:]), torch.Generator().manual_seed(seed))
            fill, noise = "noise", drawn[mine].to(self.device)
        return occlude(
            images, points, rectangle, mesh=self.mesh, fill=fill, noise=noise, check=False
        )[0]

    def dropout_mask(
        self, count: int, width: int, rate: float, step: int, shard: RankShard = FULL_BATCH
    ) -> torch.Tensor:
        """Return the factors of dropout, (n or 2n, K) float32, clean faces first.

        Each is 0, at the given rate, or 1 / (1 - rate); ``count`` is N of the whole batch.
        """
        draws = seeding.stream(self.seed, "training/dropout", step)
        branches = 1 if self.variant.occlusion is None else 2
        kept = draws.random((branches, count, width), dtype=np.float32) >= rate
        mine = torch.from_numpy(kept[:, shard.of(count)].reshape(-1, width))
        return mine.to(self.device).float() / (1 - rate)

    def _read(self, indices: np.ndarray) -> torch.Tensor:
        pixels = torch.from_numpy(np.ascontiguousarray(self.stored[indices]))
        return pixels.pin_memory() if self.device.type == "cuda" else pixels


def _fits(size: int, device: torch.device) -> bool:
    """Return whether a set of so many bytes is copied to the device."""
    if device.type != "cuda":
        return False
    return size <= RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]


def _channels_last(images: torch.Tensor) -> torch.Tensor:
    return images.contiguous(memory_format=torch.channels_last)
