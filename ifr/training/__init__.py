"""Training on Lightning Fabric: one loop for CPU, one GPU and several, and train-or-load by key."""

from ifr.training.batches import Batcher, batches
from ifr.training.facts import training_key
from ifr.training.loop import train
from ifr.training.objective import Objective, loss_parts
from ifr.training.setup import (
    computes_in_bfloat16,
    make_fabric,
    make_optimiser,
    network_of,
    precision_of,
)
from ifr.training.store import Trained, load_half, save_half, train_or_load

__all__ = [
    "Batcher",
    "Objective",
    "Trained",
    "batches",
    "computes_in_bfloat16",
    "load_half",
    "loss_parts",
    "make_fabric",
    "make_optimiser",
    "network_of",
    "precision_of",
    "save_half",
    "train",
    "train_or_load",
    "training_key",
]
