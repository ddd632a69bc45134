"""What a training run is made of: the device, the precision, the network and the optimiser."""

import logging
import os
from dataclasses import asdict
from typing import Any, Literal

import torch
from lightning_fabric import Fabric

from ifr.common import seeding
from ifr.common.errors import UserError
from ifr.common.hardware import computes_in_bfloat16, keep_freed_memory
from ifr.models import InterpretableFaceNet, build_model
from ifr.profiles import Optimisation, Profile, Variant

Precision = Literal["64-true", "32-true", "bf16-mixed"]  # as Fabric names them


def fabric_precision(choice: str) -> Precision:
    """Return Fabric's name of a precision: ``auto``, ``fp64``, ``fp32`` or ``bf16``."""
    known: dict[str, Precision] = {"fp64": "64-true", "fp32": "32-true", "bf16": "bf16-mixed"}
    known["auto"] = known["bf16" if computes_in_bfloat16() else "fp32"]
    if choice not in known:
        raise UserError(f"unknown precision {choice!r}: choose one of {', '.join(known)}")
    return known[choice]


def make_fabric(
    precision: str = "auto", *, accelerator: str = "auto", devices: int | None = None
) -> Fabric:
    """Return Lightning Fabric for so many devices, each with a process that Fabric starts.

    As many as torchrun started, else one, if None; the accelerator is "auto", "cpu" or "cuda".
    """
    keep_freed_memory()
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces bf16 each time
    nodes, given = 1, os.environ.get("LOCAL_WORLD_SIZE")
    if given is not None:  # torchrun
        if devices not in (None, int(given)):
            raise UserError(f"torchrun started {given} processes here, {devices} are asked for")
        devices, nodes = int(given), int(os.environ["WORLD_SIZE"]) // int(given)
    devices, cards = devices or 1, torch.cuda.device_count()
    if accelerator != "cpu" and cards and devices > cards:
        raise UserError(f"{devices} devices are asked for, this machine has {cards} GPUs")
    options: Any = dict(accelerator=accelerator, devices=devices, num_nodes=nodes)
    options["strategy"] = "ddp" if devices * nodes > 1 else "auto"
    return Fabric(precision=fabric_precision(precision), **options)


def hardware_of(fabric: Fabric) -> dict[str, Any]:
    """Return what of the machine decides the weights: processes, their device, the precision."""
    precision = fabric.strategy.precision.precision
    return dict(processes=fabric.world_size, device=fabric.device.type, precision=precision)


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
    model: torch.nn.Module, settings: Optimisation, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Return the optimiser and its schedule: AdamW on one cycle, or the paper's SGD.

    The paper trains by SGD at 1e-3, momentum 0.9, divided by 10 twice; we use AdamW with a
    one-cycle rate where the time is short; set ``optimiser="sgd"`` to match, with
    ``weight_decay=0``, of which the paper says nothing.
    """
    parameters, rate = [p for p in model.parameters() if p.requires_grad], settings.learning_rate
    common: dict[str, Any] = dict(lr=rate, weight_decay=settings.weight_decay, fused=True)
    schedules = torch.optim.lr_scheduler
    if settings.optimiser == "sgd":
        sgd = torch.optim.SGD(parameters, momentum=0.9, **common)
        milestones = [round(0.6 * steps), round(0.85 * steps)]
        return sgd, schedules.MultiStepLR(sgd, milestones, gamma=0.1)
    if settings.optimiser != "adamw":
        raise UserError(f"unknown optimiser {settings.optimiser!r}: choose adamw or sgd")
    adamw, warmup = torch.optim.AdamW(parameters, **common), settings.warmup_share
    return adamw, schedules.OneCycleLR(adamw, rate, total_steps=steps, pct_start=warmup)
