"""The training loop: one for every variant and for one or many devices, on Lightning Fabric.

Both branches of the Siamese network (Fig. 2) go through the network as one batch, clean faces
first. Every random number of step ``s`` comes from streams named by ``s``, so a run that was cut
short continues to the same weights as one that was not.
"""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import nn
from tqdm.auto import tqdm

from ifr.common.errors import OutOfTime, Stopped
from ifr.datasets import FaceSet
from ifr.models import InterpretableFaceNet
from ifr.profiles import PRETRAIN, Profile, Variant
from ifr.training.batches import FULL_BATCH, Batcher, RankShard, batch_indices
from ifr.training.checkpoint import Progress, resume, save
from ifr.training.config import training_config, weights_digest
from ifr.training.interrupts import Interrupts
from ifr.training.setup import build_network, make_fabric, make_optimiser
from ifr.training.step import TrainingStep

LOG_EVERY = 10  # steps between two rows of the history, and two looks at the clock
BATCH_NORM_FACES = 512  # faces the batch-norm statistics are set on after training


def train(
    variant: Variant,
    profile: Profile,
    data: FaceSet,
    *,
    seed: int = 0,
    start: dict[str, torch.Tensor] | None = None,
    checkpoint: Path | None = None,
    config: dict | None = None,
    progress: bool = True,
    fabric: Fabric | None = None,
    deadline: float | None = None,
    stop_after: int | None = None,
) -> tuple[InterpretableFaceNet, Progress]:
    """Train one variant and return the network, on the CPU in evaluation mode, with its history.

    With several processes each computes its share of every batch; gradients are averaged, τ is that
    of the whole batch, and on GPUs batch norm uses the whole batch's statistics, too. On CPU
    each process normalises by its own share (see ``freeze_bn``).

    Args:
        variant: which losses.
        profile: network size and optimisation.
        data: training faces with landmarks.
        seed: of initial weights, order, crops, rectangles, noise and dropout.
        start: state of a trained network whose feature extractor (conv11 to conv53) is taken over;
            the layers after it are new (Sec. 3.3). None trains everything from random weights.
        checkpoint: file to continue from and to save to; None keeps nothing.
        config: what decides the weights, kept with the checkpoint and compared on going on; those of
            these arguments if None.
        progress: show a progress bar with the loss parts, images/s and the time left.
        fabric: launched already; one device if None.
        deadline: on the monotonic clock, when to stop cleanly.
        stop_after: stop cleanly after this step, as Ctrl-C would (for tests).

    Raises:
        Stopped: on Ctrl-C, once the checkpoint is written; OutOfTime at the deadline.
        ValueError: if the set is smaller than a batch, a batch cannot be shared by the processes, a
            setting is unknown, or the checkpoint is of another run.
        FloatingPointError: if a loss is not finite.
    """
    settings = profile.optimisation
    steps = settings.pretrain_steps if variant.name == PRETRAIN.name else settings.steps
    fabric = fabric or make_fabric(settings.precision)
    share = RankShard(fabric.global_rank, fabric.world_size)
    share.of(settings.batch)
    model = build_network(profile, variant, int(data.identity.max()) + 1, seed)
    if start is not None:
        model.load_extractor(start)
    module, wrapped, optimiser, schedule = _prepare(model, variant, profile, fabric, steps)
    batch = Batcher(
        data, variant, profile.network.input_size, seed, fabric.device, flip=settings.flip
    )
    state = dict(model=model, optimiser=optimiser, schedule=schedule)
    if config is None:
        config = training_config(profile, variant, seed, data, start and weights_digest(start))
    done = resume(checkpoint, state, config, fabric.device)
    first, began, last_save = done.step, time.monotonic() - done.seconds, time.monotonic()

    def keep() -> None:
        done.seconds = time.monotonic() - began
        if checkpoint is not None and fabric.is_global_zero:
            save(checkpoint, state, done, config)

    bar = tqdm(
        total=steps,
        initial=first,
        desc=variant.name,
        unit="step",
        mininterval=1.0,
        disable=not (progress and fabric.is_global_zero),
    )
    order = batch_indices(len(data), settings.batch, steps, seed, first)
    with bar, Interrupts() as asked:
        for images, labels in batch.iterate(order, first, share):
            dropout_mask = None
            if settings.dropout:
                width = profile.network.filters
                dropout_mask = batch.dropout_mask(
                    settings.batch, width, settings.dropout, done.step, share
                )
            parts = module(images, labels, dropout_mask)
            optimiser.zero_grad(set_to_none=True)
            fabric.backward(sum(parts.values()))
            wrapped.step()
            schedule.step()
            done.step += 1
            if done.step % LOG_EVERY == 0 or done.step == steps:
                values = _averages(parts, fabric)
                _require_finite(values, variant, done.step)
                done.history.append(dict(step=done.step) | values)
                rate = len(images) * share.world * (bar.format_dict["rate"] or 0)
                shown = {name: f"{value:.2f}" for name, value in values.items()}
                bar.set_postfix(shown | {"img/s": f"{rate:.0f}"})
            bar.update()
            if time.monotonic() - last_save > settings.checkpoint_seconds:
                keep()
                last_save = time.monotonic()
            late = deadline is not None and time.monotonic() > deadline
            if _agree(asked() or late or done.step == stop_after, done.step, fabric):
                keep()
                kind, why = (OutOfTime, "time is up in") if late else (Stopped, "stopped")
                raise kind(
                    f"{why} training {variant.name!r}: step {done.step} of {steps} is saved; run "
                    "the same command again to go on"
                )
    if not settings.freeze_bn:
        recompute_bn_statistics(model, batch, fabric, settings.batch)
    done.seconds = time.monotonic() - began
    return model.cpu().eval(), done


def _prepare(
    model: InterpretableFaceNet, variant: Variant, profile: Profile, fabric: Fabric, steps: int
):
    """Return the objective and the optimiser as Fabric runs them, the optimiser, its schedule."""
    settings = profile.optimisation
    alone = fabric.world_size == 1
    if not alone and fabric.device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(model)
    model.to(fabric.device, memory_format=torch.channels_last).train()
    if settings.freeze_bn:
        for module in _norms(model):
            module.eval()
    optimiser, schedule = make_optimiser(model, settings, steps)
    if settings.compile:
        model.backbone.compile()
    all_reduce_mean: Callable | None = (
        None if alone else lambda x: fabric.all_reduce(x, reduce_op="mean")
    )
    module, wrapped = fabric.setup(TrainingStep(model, variant, all_reduce_mean), optimiser)
    return module, wrapped, optimiser, schedule


def _norms(model: nn.Module) -> list[nn.Module]:
    return [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


@torch.no_grad()
def recompute_bn_statistics(model: nn.Module, batch: Batcher, fabric: Fabric, size: int) -> None:
    """Set the batch-norm statistics to the mean over training batches at the final weights.

    Every process does all of it, on the same faces, so that all end with the same numbers.
    """
    norms = _norms(model)
    momenta = [module.momentum for module in norms]
    for module in norms:
        module.reset_running_stats()
        module.momentum = None  # a plain average over the batches that follow
    count = len(batch.labels)
    steps = max(1, min(BATCH_NORM_FACES, count) // size)
    for images, _ in batch.iterate(batch_indices(count, size, steps, batch.seed), share=FULL_BATCH):
        with fabric.autocast():
            model.response(images)
    for module, momentum in zip(norms, momenta, strict=True):
        module.momentum = momentum


def _averages(parts: dict[str, torch.Tensor], fabric: Fabric) -> dict[str, float]:
    """Return the loss terms of the whole batch."""
    values = fabric.all_reduce(torch.stack([part.detach() for part in parts.values()]))
    return dict(zip(parts, values.tolist(), strict=True))


def _agree(stop: bool, step: int, fabric: Fabric) -> bool:
    """Return whether to stop after this step: several processes must all stop after the same."""
    if fabric.world_size == 1:
        return stop
    if step % LOG_EVERY:
        return False
    wish = torch.tensor(float(stop), device=fabric.device)
    return bool(fabric.all_reduce(wish, reduce_op="max"))


def _require_finite(values: dict[str, float], variant: Variant, step: int) -> None:
    broken = [name for name, value in values.items() if not np.isfinite(value)]
    if broken:
        raise FloatingPointError(
            f"loss part {', '.join(broken)} of {variant.name!r} is not finite at step {step}; "
            "lower the learning rate or the weight of that part"
        )
