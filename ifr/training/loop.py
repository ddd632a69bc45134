"""The training loop: one for every variant and for one or many devices, on Lightning Fabric.

Both branches of the Siamese network (Fig. 2) go through the network as one batch, clean faces
first. Every random number of step ``s`` comes from streams named by ``s``, so a run that was cut
short continues to the same weights as one that was not.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from ifr.datasets import FaceSet
from ifr.models import InterpretableFaceNet
from ifr.profiles import PRETRAIN, Profile, Variant
from ifr.training.batches import Batcher, RankShard, batch_indices
from ifr.training.checkpoint import Checkpoint, TrainingLog
from ifr.training.config import training_config, weights_digest
from ifr.training.session import Session, Watch
from ifr.training.setup import build_network, make_fabric, make_optimiser
from ifr.training.step import TrainingStep

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
    session: Session | None = None,
) -> tuple[InterpretableFaceNet, TrainingLog]:
    """Train one variant and return the network, on the CPU in evaluation mode, with its history.

    With several processes each computes its part of every batch; gradients are averaged, τ is that
    of the whole batch, and on GPUs batch norm uses the whole batch's statistics, too. On CPU each
    process normalises by its own part (see ``freeze_bn``). One process on the CPU computes on the
    profile's ``threads``: another number would change the last bits of the weights.

    Args:
        variant: which losses.
        profile: network size and optimisation.
        data: training faces.
        seed: of initial weights, order, crops, rectangles, noise and dropout.
        start: state of a trained network whose feature extractor (conv11 to conv53) is taken over;
            the layers after it are new (Sec. 3.3). None trains everything from random weights.
        checkpoint: file to continue from and to save to; None keeps nothing.
        config: what decides the weights, kept with the checkpoint and compared on going on; those
            of these arguments if None.
        session: device, progress and time limit.

    Raises:
        Stopped: on Ctrl-C, once the checkpoint is written; OutOfTime at the deadline.
        UserError: if the set is smaller than a batch, a batch cannot be shared by the processes, a
            setting is unknown, the checkpoint is of another run, or a loss is not finite.
    """
    session, settings = session or Session(), profile.optimisation
    fabric = session.fabric or make_fabric(settings.precision)
    with _own_threads(fabric, settings.threads):
        model = build_network(profile, variant, int(data.identity.max()) + 1, seed)
        if start is not None:
            model.load_extractor(start)
        steps = settings.pretrain_steps if variant.name == PRETRAIN.name else settings.steps
        step, optimiser, state = _prepare(model, variant, profile, fabric, steps)
        size, flip = profile.network.input_size, settings.flip
        batch = Batcher(data, variant, size, seed, fabric.device, flip=flip)
        if config is None:
            config = training_config(profile, variant, seed, data, start and weights_digest(start))
        saved = Checkpoint(checkpoint, state, config)
        every = settings.checkpoint_seconds
        watch = Watch(variant.name, steps, saved, every, fabric, session)
        _train_steps(step, optimiser, state["schedule"], batch, profile, watch)
        if not settings.freeze_bn:
            recompute_bn_statistics(model, batch, fabric, settings.batch)
    return model.cpu().eval(), watch.finished()


def _train_steps(
    step: nn.Module, optimiser: Any, schedule: Any, batch: Batcher, profile: Profile, watch: Watch
) -> None:
    """Take the steps that are left, each on its batch: forward, backward, optimiser, schedule."""
    settings, fabric, log = profile.optimisation, watch.fabric, watch.log
    shard = RankShard(fabric.global_rank, fabric.world_size)
    shard.of(settings.batch)
    order = batch_indices(len(batch.labels), settings.batch, watch.steps, batch.seed, log.step)
    with watch.open():
        for images, labels in batch.iterate(order, log.step, shard):
            dropout_mask = batch.dropout_mask(
                settings.batch, profile.network.filters, settings.dropout, log.step, shard
            )
            parts, accuracy = step(images, labels, dropout_mask)
            optimiser.zero_grad(set_to_none=True)
            fabric.backward(sum(parts.values()))
            optimiser.step()
            schedule.step()
            watch.after_step(parts | {"accuracy": accuracy}, len(images))


def _prepare(
    model: InterpretableFaceNet, variant: Variant, profile: Profile, fabric: Fabric, steps: int
) -> tuple[nn.Module, Any, dict[str, Any]]:
    """Return the step and the optimiser as Fabric runs them, and the parts a checkpoint keeps."""
    settings, alone = profile.optimisation, fabric.world_size == 1
    if not alone and fabric.device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(model)
    model.to(fabric.device, memory_format=torch.channels_last).train()
    if settings.freeze_bn:
        for module in _batch_norms(model):
            module.eval()
    optimiser, schedule = make_optimiser(model, settings, steps)
    if settings.compile:
        model.backbone.compile()
    reduce = None if alone else lambda values: fabric.all_reduce(values, reduce_op="mean")
    step, wrapped = fabric.setup(TrainingStep(model, variant, reduce), optimiser)
    return step, wrapped, dict(model=model, optimiser=optimiser, schedule=schedule)


@contextmanager
def _own_threads(fabric: Fabric, threads: int) -> Iterator[None]:
    """Compute on so many threads within a block, where one process trains on the CPU."""
    before = torch.get_num_threads()
    if fabric.world_size == 1 and fabric.device.type == "cpu":
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _batch_norms(model: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    return [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


@torch.no_grad()
def recompute_bn_statistics(
    model: InterpretableFaceNet, batch: Batcher, fabric: Fabric, size: int
) -> None:
    """Set the batch-norm statistics to the mean over training batches at the final weights.

    Every process does all of it, on the same faces, so that all end with the same numbers.
    """
    norms = _batch_norms(model)
    momenta = [module.momentum for module in norms]
    for module in norms:
        module.reset_running_stats()
        module.momentum = None  # a plain average over the batches that follow
    count = len(batch.labels)
    steps = max(1, min(BATCH_NORM_FACES, count) // size)
    for images, _ in batch.iterate(batch_indices(count, size, steps, batch.seed)):
        with fabric.autocast():
            model.response(images)
    for module, momentum in zip(norms, momenta, strict=True):
        module.momentum = momentum
