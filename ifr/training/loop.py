"""The training loop: one for every variant and for one or many devices, on Lightning Fabric.

Both branches of the Siamese network (Fig. 2) go through the network as one batch, clean faces
first. Every random number of step ``s`` comes from streams named by ``s``, so a run that was cut
short continues to the same weights as one that was not.
"""

from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler, MultiStepLR, OneCycleLR
from torch.optim.swa_utils import update_bn

from ifr.common import seeding
from ifr.common.errors import UserError
from ifr.datasets import FaceSet
from ifr.models import InterpretableFaceNet, build_model
from ifr.profiles import PRETRAIN, Optimisation, Profile, Variant
from ifr.training.batches import Batcher, batch_indices
from ifr.training.session import Checkpoint, Session, TrainingLog, Watch, make_fabric
from ifr.training.step import TrainingStep

if TYPE_CHECKING:
    from lightning_fabric import Fabric

BATCH_NORM_FACES = 512  # faces the batch-norm statistics are set on after training


def train(
    variant: Variant,
    profile: Profile,
    data: FaceSet,
    *,
    seed: int = 0,
    start: dict[str, Tensor] | None = None,
    checkpoint: Path | None = None,
    config: dict | None = None,
    session: Session | None = None,
) -> tuple[InterpretableFaceNet, TrainingLog]:
    """Train one variant and return the network, on the CPU in evaluation mode, with its history.

    With several processes each computes its part of every batch; gradients are averaged, τ is that
    of the whole batch, and on GPUs batch norm uses the whole batch's statistics, too; on CPU its
    part's (see ``freeze_bn``). The feature extractor (conv11 to conv53) is taken over from the
    state ``start`` of a trained network, and the layers after it are new (Sec. 3.3). A run goes on
    from the file ``checkpoint`` and saves to it, at Ctrl-C and the deadline too, which raise
    Stopped; ``config``, what decides the weights, must then be the same.
    """
    session, settings = session or Session(), profile.optimisation
    fabric = session.fabric or make_fabric(settings.precision)
    steps, threads = settings.steps, settings.threads
    if variant.name == PRETRAIN.name:
        steps = settings.pretrain_steps
        threads = settings.pretrain_threads if fabric.world_size == 1 else threads
    with ExitStack() as stack:
        if fabric.device.type == "cpu":
            stack.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(threads)  # another number would change the last bits
        model = build_network(profile, variant, int(data.identity.max()) + 1, seed)
        if start is not None:
            model.load_extractor(start)
        step, state = _prepare(model, variant, settings, fabric, steps)
        part: Any = dict(flip=settings.flip, rank=fabric.global_rank, world=fabric.world_size)
        batch = Batcher(data, variant, profile.network.input_size, seed, fabric.device, **part)
        saved = Checkpoint(checkpoint, state, config or {}, settings.checkpoint_seconds)
        watch = Watch(variant.name, steps, saved, fabric, session)
        _train_steps(step, batch, settings, watch)
        if not settings.freeze_bn:
            _settle_batch_norm(model, batch, fabric, settings.batch)
    return model.cpu().eval(), watch.log


def network_settings(profile: Profile, variant: Variant, classes: int) -> dict[str, Any]:
    """Return the arguments of ``build_model`` for a variant: what its weights need to be read."""
    network, settings = asdict(profile.network), profile.optimisation
    del network["input_size"]
    network |= dict(num_filters=network.pop("filters"), num_classes=classes, rate=variant.lmf_rate)
    return network | dict(dropout=settings.dropout, feature_scale=settings.feature_scale)


def build_network(
    profile: Profile, variant: Variant, classes: int, seed: int
) -> InterpretableFaceNet:
    """Build the network of a variant with its initial weights drawn from the named stream."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeding.stream_seed(seed, "training/initial weights"))
        return build_model(**network_settings(profile, variant, classes))


def make_optimiser(
    model: nn.Module, settings: Optimisation, steps: int
) -> tuple[Optimizer, LRScheduler]:
    """Return the optimiser and its schedule: AdamW on one cycle, or the paper's SGD.

    The paper trains by SGD at 1e-3, momentum 0.9, divided by 10 twice; we use AdamW with a
    one-cycle rate where the time is short; set ``optimiser="sgd"`` to match, with
    ``weight_decay=0``, of which the paper says nothing.
    """
    parameters, rate = [p for p in model.parameters() if p.requires_grad], settings.learning_rate
    common: dict[str, Any] = dict(lr=rate, weight_decay=settings.weight_decay, fused=True)
    if settings.optimiser == "sgd":
        sgd = SGD(parameters, momentum=0.9, **common)
        return sgd, MultiStepLR(sgd, [round(0.6 * steps), round(0.85 * steps)], gamma=0.1)
    if settings.optimiser != "adamw":
        raise UserError(f"unknown optimiser {settings.optimiser!r}: choose adamw or sgd")
    adamw, warmup = AdamW(parameters, **common), settings.warmup_share
    return adamw, OneCycleLR(adamw, rate, total_steps=steps, pct_start=warmup)


def _prepare(
    model: InterpretableFaceNet,
    variant: Variant,
    settings: Optimisation,
    fabric: "Fabric",
    steps: int,
) -> tuple[nn.Module, dict[str, Any]]:
    """Return the step as Fabric runs it, and the parts a checkpoint keeps."""
    if fabric.world_size > 1 and fabric.device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(model)
    model.to(fabric.device).to(memory_format=torch.channels_last).train()
    for module in model.modules():
        if settings.freeze_bn and isinstance(module, _BatchNorm):
            module.eval()
    optimiser, schedule = make_optimiser(model, settings, steps)
    if settings.compile:
        model.backbone.compile()
    mean = partial(fabric.all_reduce, reduce_op="mean")
    step, optimiser = fabric.setup(TrainingStep(model, variant, mean), optimiser)
    return step, dict(model=model, optimiser=optimiser, schedule=schedule)


def _train_steps(step: nn.Module, batch: Batcher, settings: Optimisation, watch: Watch) -> None:
    """Take the steps that are left, each on its batch: forward, backward, optimiser, schedule."""
    log, state, size = watch.log, watch.checkpoint.state, settings.batch
    width = len(state["model"].filters)
    order = batch_indices(len(batch.labels), size, watch.steps, batch.seed, log.step)
    with watch.open():
        for images, labels in batch.iterate(order, log.step):
            dropout_mask = batch.dropout_mask(size, width, settings.dropout, log.step)
            parts, accuracy = step(images, labels, dropout_mask)
            state["optimiser"].zero_grad(set_to_none=True)
            watch.fabric.backward(sum(parts.values()))
            state["optimiser"].step()
            state["schedule"].step()
            watch.after_step(parts | {"accuracy": accuracy}, len(images))


def _settle_batch_norm(
    model: InterpretableFaceNet, batch: Batcher, fabric: "Fabric", size: int
) -> None:
    """Set the batch-norm statistics to the mean over training batches at the final weights.

    Every process does all of it, on the same faces, so that all end with the same numbers.
    """
    batch.rank, batch.world = 0, 1
    steps = max(1, min(BATCH_NORM_FACES, len(batch.labels)) // size)
    batches = list(batch.iterate(batch_indices(len(batch.labels), size, steps, batch.seed)))
    with fabric.autocast():
        update_bn(batches, model.backbone)
