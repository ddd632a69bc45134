"""Training on Lightning Fabric: one loop for CPU, one GPU and several, and train-or-load by key."""

from ifr.training.batches import Batcher, batch_indices
from ifr.training.loop import train
from ifr.training.parallel import train_variants
from ifr.training.session import Session
from ifr.training.setup import build_network, fabric_precision, make_fabric, make_optimiser
from ifr.training.step import TrainingStep, loss_parts
from ifr.training.store import Recipe, Trained, as_variant, load_half, save_half, train_or_load
