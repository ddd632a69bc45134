"""Speeds of this machine, as the README quotes them: each function returns one measured line."""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from ifr.mesh import FaceMesh
from ifr.profiles import Profile, Variant, get_variant
from ifr.training import loss_parts, network_of, precision_of

CLASSES = 150


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


def loss_cost(profile: Profile, *, repeats: int = 8) -> str:
    """Time a training step of the full model against two branches with identity losses alone."""
    full = get_variant("full")
    plain = Variant("two branches", "identity losses alone", occlusion="BlaS")
    network, batch = profile.network, profile.optimisation.batch
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2 * batch, 3, network.input_size, network.input_size, generator=generator)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.arange(batch) % CLASSES
    half = precision_of(profile.optimisation.precision) == "bf16-mixed"

    def step_of(variant: Variant) -> Callable[[], None]:
        model = network_of(profile, variant, CLASSES, 0).to(memory_format=torch.channels_last)
        optimiser = torch.optim.AdamW(model.train().parameters())

        def step() -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                parts = loss_parts(model, images, labels, variant)
            optimiser.zero_grad(set_to_none=True)
            sum(parts.values()).backward()
            optimiser.step()

        return step

    without = best_of(step_of(plain), repeats)
    filtered = best_of(step_of(replace(plain, lmf_rate=full.lmf_rate)), repeats)
    with_all = best_of(step_of(full), repeats)
    return (
        f"{profile.name}, {batch} pairs, {'bf16' if half else 'fp32'}: "
        f"{1000 * without:.0f} ms a step with "
        f"identity losses alone, {filtered / without:.2f} x that with LMF, "
        f"{with_all / without:.2f} x with LMF, SAD and FAD"
    )
