"""Batches made on the device: order, crop, flip, scale, and the occluded twins (Sec. 3.3).

Faces stay uint8 where they lie, usually mapped from disk and shared by all that train on them; a
GPU takes them in when they fit. Random numbers are drawn on the host from streams named by the
step, for the whole batch; so a GPU, a CPU and several processes see the same batches.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

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


def batch_indices(
    count: int, batch: int, steps: int, seed: int, first: int = 0
) -> Iterator[np.ndarray]:
    """Yield the indices of each batch from step ``first`` on; every epoch is a new permutation."""
    per_epoch = count // batch
    if per_epoch == 0:
        raise UserError(f"a batch of {batch} faces needs as many images, the set has {count}")
    for step in range(first, steps):
        epoch, index = divmod(step, per_epoch)
        if step == first or index == 0:
            order = seeding.stream(seed, "training/order", epoch).permutation(count)
        yield order[index * batch : (index + 1) * batch]


class Batcher:
    """Turns indices into network input of side ``size``, with a variant's twins, on the device."""

    def __init__(
        self,
        data: FaceSet,
        variant: Variant,
        size: int,
        seed: int,
        device: torch.device,
        *,
        flip: bool = False,  # half of the faces
        resident: bool | None = None,  # images stay on the device; None: on a GPU where they fit
        rank: int = 0,  # of the ``world`` processes that make equal parts of every batch
        world: int = 1,
    ) -> None:
        self.size, self.seed, self.device, self.flip = size, seed, device, flip
        self.rank, self.world = rank, world
        self.occlusion, self.mesh = variant.occlusion, FaceMesh.frontal(CROP_SIZE)
        if resident is None and device.type == "cuda":
            resident = data.images.nbytes <= RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]
        self.stored, self.images, self.landmarks = data.images, None, None
        if resident:
            self.images = torch.from_numpy(np.array(data.images)).to(device)
        self.labels = torch.from_numpy(np.array(data.identity)).to(device)
        if self.occlusion is not None:
            if data.landmarks is None:
                raise UserError(
                    f"set {data.name!r} has no landmarks to warp the occlusion of {variant.name!r} "
                    "by: prepare it with landmarks, or train a variant without occlusion"
                )
            check_landmarks(data.landmarks, f"landmarks of the set {data.name!r}", size=FACE_SIZE)
            self.landmarks = torch.from_numpy(np.array(data.landmarks)).float().to(device)

    def part(self, count: int) -> slice:
        """Return which faces of a batch of ``count`` are this process's."""
        if count % self.world:
            shared = f"cannot be shared equally by {self.world} processes"
            raise UserError(f"a batch of {count} faces {shared}; choose one that they divide")
        return slice(self.rank * count // self.world, (self.rank + 1) * count // self.world)

    def iterate(
        self, order: Iterable[np.ndarray], first: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield this process's part of each batch; a thread reads the faces of the next ones."""
        with ThreadPoolExecutor(1) as reader:
            jobs = (
                (indices, step, reader.submit(self._read, indices[self.part(len(indices))]))
                for step, indices in enumerate(order, first)
            )
            waiting = deque(islice(jobs, AHEAD))
            while waiting:
                waiting.extend(islice(jobs, 1))
                indices, step, job = waiting.popleft()
                yield self(indices, step, job.result())

    def __call__(
        self, indices: np.ndarray, step: int, pixels: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return images (n or 2n, 3, size, size), clean faces first, and their labels (n,).

        Of the N indices of the whole batch n are this part; the step names the random draws;
        pixels (n, 112, 112, 3) uint8 are those faces, if they were read before.
        """
        count, mine = len(indices), self.part(len(indices))
        draws, offset_range = self._stream("crops", step), inputs.offset_range(self.size)
        offsets = torch.from_numpy(draws.integers(0, offset_range, (count, 2)))[mine]
        pixels = self._read(indices[mine]) if pixels is None else pixels
        pixels = pixels.to(self.device, non_blocking=True)
        rows = torch.from_numpy(indices[mine]).to(self.device)
        images, points = inputs.to_network(pixels, offsets, self.size), None
        if self.landmarks is not None:
            points = inputs.to_network_points(self.landmarks[rows], offsets, self.size)
        if self.flip:
            chosen = torch.from_numpy(self._stream("flips", step).random(count) < 0.5)[mine]
            images, points = inputs.flip(images, points, chosen)
        if points is not None:
            images = torch.cat([images, self.occluded(images, points, step, count, mine)])
        return images.contiguous(memory_format=torch.channels_last), self.labels[rows]

    def occluded(
        self, images: Tensor, points: Tensor, step: int, count: int, mine: slice
    ) -> Tensor:
        """Return the twins: one normalised rectangle a batch, warped to every face (Sec. 3.3)."""
        draws, kind = self._stream("rectangle", step), str(self.occlusion)
        rectangle, noise = draw_rectangle(draws, self.mesh, kind=kind), None
        if kind == "GauD":
            seed = seeding.stream_seed(self.seed, "training/noise", step)
            drawn = draw_noise((count, *images.shape[1:]), torch.Generator().manual_seed(seed))
            noise = drawn[mine].to(self.device)
        options: Any = dict(fill="black" if noise is None else "noise", noise=noise, check=False)
        return occlude(images, points, rectangle, mesh=self.mesh, **options)[0]

    def dropout_mask(self, count: int, width: int, rate: float, step: int) -> Tensor:
        """Return the factors of dropout, (n or 2n, K) float32, clean faces first.

        Each is 0, at the given rate, or 1 / (1 - rate); ``count`` is N of the whole batch.
        """
        branches = 1 if self.occlusion is None else 2
        draws = self._stream("dropout", step).random((branches, count, width), dtype=np.float32)
        kept = torch.from_numpy((draws >= rate)[:, self.part(count)].reshape(-1, width))
        return kept.to(self.device).float() / (1 - rate)

    def _stream(self, name: str, step: int) -> np.random.Generator:
        return seeding.stream(self.seed, f"training/{name}", step)

    def _read(self, indices: np.ndarray) -> Tensor:
        if self.images is not None:
            return self.images[torch.from_numpy(indices).to(self.device)]
        pixels = torch.from_numpy(np.ascontiguousarray(self.stored[indices]))
        return pixels.pin_memory() if self.device.type == "cuda" else pixels
