"""Training on Lightning Fabric: one loop for CPU, one GPU and several, and train-or-load by key."""

from ifr.training.batches import Batcher, batch_indices
from ifr.training.loop import build_network, make_optimiser, train
from ifr.training.session import Session, make_fabric
from ifr.training.step import TrainingStep, loss_parts
from ifr.training.store import Recipe, Trained, load_half, stand_in, train_variants
