"""Training: one loop on Lightning Fabric for every variant, and train-or-load by content hash.

Both branches of the Siamese network (Fig. 2) go through the network as one batch, clean faces
first.
Every random number of step ``s`` comes from streams named by ``s``, so a run that was cut short
continues to the same weights as one that was not.
"""

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from lightning.fabric import Fabric
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from tqdm.auto import tqdm

from ifr import landmarks as landmarks_module
from ifr import losses, mesh, models, occlusion, paths, preprocess, seeding
from ifr.datasets import FaceSet
from ifr.errors import Stopped
from ifr.hashing import code_hash
from ifr.landmarks import check_landmarks
from ifr.models import InterpretableFaceNet, build_model, load_weights
from ifr.occlusion import draw_rectangle, occlude
from ifr.preprocess import offset_range, to_network, to_network_points
from ifr.profiles import Optimisation, Profile, Variant, get_variant

# The code that decides a network's weights.
CODE = [
    *(Path(module.__file__) for module in
      (landmarks_module, losses, mesh, occlusion, preprocess, seeding)),
    *sorted(Path(models.__file__).parent.glob("*.py")),
]  # fmt: skip
PRETRAIN = Variant("pretrain", "Common pretrained base")
RESIDENT_BYTES = 4 << 30  # a larger set stays on disk, and each batch is read from there
BATCH_NORM_FACES = 512  # faces the batch-norm statistics are set on after training


@dataclass(frozen=True)
class Trained:
    """A trained network with what is known of its training."""

    model: InterpretableFaceNet
    history: pd.DataFrame
    key: str
    folder: Path
    loaded: bool  # True when it was found, False when it was trained by this call
    seconds: float  # spent training, whenever that was


def training_key(
    profile: Profile, variant: Variant, seed: int, data: FaceSet, start: str | None
) -> str:
    """Return the content hash of a training run: all that decides its weights, and nothing else."""
    optimisation = asdict(profile.optimisation)
    for irrelevant in ("checkpoint_seconds",):
        del optimisation[irrelevant]
    settings = {k: v for k, v in asdict(variant).items() if k not in ("name", "title")}
    settings["pretrain"] = variant.name == PRETRAIN.name  # it has a schedule of its own
    template = mesh.FaceMesh.frontal(112).points.tolist()  # masks are drawn on it
    what = dict(network=asdict(profile.network), optimisation=optimisation, variant=settings,
                seed=seed, data=data.fingerprint, start=start, template=template,
                code=code_hash([*CODE, Path(__file__)]))  # fmt: skip
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def computes_in_bfloat16() -> bool:
    """Return whether this machine's arithmetic units take bf16, so that autocast pays."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)


def precision_of(choice: str) -> str:
    """Return Fabric's name of a precision: ``auto``, ``fp32`` or ``bf16``.

    Raises:
        ValueError: for another name.
    """
    known = {"fp32": "32-true", "bf16": "bf16-mixed"}
    known["auto"] = known["bf16" if computes_in_bfloat16() else "fp32"]
    if choice not in known:
        raise ValueError(f"unknown precision {choice!r}: choose one of {', '.join(known)}")
    return known[choice]


def network_settings(profile: Profile, variant: Variant, classes: int) -> dict:
    """Return the arguments of ``build_model`` for a variant: what a checkpoint needs to be read."""
    network, settings = profile.network, profile.optimisation
    return dict(
        backbone=network.backbone, layers=network.layers, num_filters=network.filters,
        width=network.width, rate=variant.lmf_rate, num_classes=classes,
        dropout=settings.dropout, feature_scale=settings.feature_scale,
    )  # fmt: skip


def network_of(profile: Profile, variant: Variant, classes: int, seed: int) -> InterpretableFaceNet:
    """Build the network of a variant with its initial weights drawn from the named stream."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeding.stream_seed(seed, "training/initial weights"))
        return build_model(**network_settings(profile, variant, classes))


def batches(count: int, batch: int, steps: int, seed: int, first: int = 0) -> Iterator[np.ndarray]:
    """Yield the indices of each batch from step ``first`` on; every epoch is a new permutation."""
    per_epoch = count // batch
    if per_epoch == 0:
        raise ValueError(
            f"a batch of {batch} faces needs at least as many images, the set has {count}"
        )
    order, epoch_of_order = None, None
    for step in range(first, steps):
        epoch, place = divmod(step, per_epoch)
        if epoch != epoch_of_order:
            order = seeding.stream(seed, "training/order", epoch).permutation(count)
            epoch_of_order = epoch
        yield order[place * batch : (place + 1) * batch]


class Batcher:
    """Turns indices into network input on the device: crop, scale, and the occluded twins."""

    def __init__(self, data: FaceSet, variant: Variant, size: int, seed: int, device: torch.device):
        self.stored = data.images
        self.images = self.landmarks = None
        if data.images.nbytes <= RESIDENT_BYTES:
            self.images = torch.from_numpy(np.array(data.images)).to(device)
        self.labels = torch.from_numpy(np.array(data.identity)).to(device)
        if variant.occlusion is not None:
            if data.landmarks is None:
                raise ValueError(
                    f"set {data.name!r} has no landmarks to warp the occlusion of {variant.name!r} "
                    "by: prepare it with landmarks, or train a variant without occlusion"
                )
            check_landmarks(data.landmarks, f"landmarks of the set {data.name!r}")
            self.landmarks = torch.from_numpy(np.array(data.landmarks)).to(device)
        self.mesh = mesh.FaceMesh.frontal(112).crop(offset=8, size=96)
        self.variant, self.size, self.seed, self.device = variant, size, seed, device

    def __call__(self, indices: np.ndarray, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images (N or 2N, 3, size, size), clean first, and the labels (N,)."""
        rows = torch.from_numpy(indices).to(self.device)
        crops = seeding.stream(self.seed, "training/crops", step)
        offsets = torch.from_numpy(crops.integers(0, offset_range(self.size), (len(indices), 2)))
        offsets = offsets.to(self.device)
        clean = to_network(self.pixels(indices), offsets, self.size)
        if self.variant.occlusion is None:
            return clean, self.labels[rows]
        points = to_network_points(self.landmarks[rows], offsets, self.size)
        twins = self.occluded(clean, points, step)
        return torch.cat([clean, twins]), self.labels[rows]

    def pixels(self, indices: np.ndarray) -> torch.Tensor:
        """Return the stored faces (N, 112, 112, 3) uint8, from memory or from disk."""
        if self.images is not None:
            return self.images[torch.from_numpy(indices).to(self.device)]
        return torch.from_numpy(np.asarray(self.stored[indices])).to(self.device)

    def occluded(self, images: torch.Tensor, points: torch.Tensor, step: int) -> torch.Tensor:
        """Return the twins: one normalised rectangle a batch, warped to every face (Sec. 3.3)."""
        kind = self.variant.occlusion
        rectangle = draw_rectangle(
            seeding.stream(self.seed, "training/rectangle", step), self.mesh, kind=kind
        )
        noise = torch.Generator(self.device)
        noise.manual_seed(seeding.stream_seed(self.seed, "training/noise", step))
        fill = "black" if kind == "BlaS" else "noise"
        return occlude(images, points, rectangle, mesh=self.mesh, fill=fill, generator=noise)[0]


def loss_parts(
    model: InterpretableFaceNet, images: torch.Tensor, labels: torch.Tensor, variant: Variant
) -> dict[str, torch.Tensor]:
    """Return the weighted loss terms of one batch; their sum is what is minimised.

    Args:
        model: the network, in training mode.
        images: (N, 3, S, S), or (2N, 3, S, S) with the occluded twins behind the clean faces.
        labels: (N,) identities.
        variant: which terms, with which weights and forms.

    Returns:
        ``id`` (Eq. 3), ``id occluded`` (Eq. 5), ``filters`` (Eq. 1), ``response`` (Eq. 2) and
        ``features`` (Eq. 4), those the variant has.
    """
    weights = variant.weights
    filtered = model.filtered(images)  # LMF(ψ(I)), (N or 2N, K, h, w)
    features = filtered.float().mean(dim=(2, 3))  # f(I), (N or 2N, K)
    clean, twin = features[: len(labels)], features[len(labels) :]
    parts = {"id": weights.identity * F.cross_entropy(model.classify(clean), labels)}
    mask = None
    if variant.feature:
        keep = variant.keep(features.shape[1])
        mask = losses.feature_selection_mask(clean, twin, keep=keep)
        difference = losses.feature_activation_diversity(clean, twin, mask)
        parts["features"] = weights.features * difference
    if len(twin):
        kept = twin if mask is None else twin * mask
        parts["id occluded"] = weights.identity_occluded * F.cross_entropy(
            model.classify(kept), labels
        )
    if variant.spatial:
        filters = losses.filter_diversity(model.filters, form=weights.filter_form)
        parts["filters"] = weights.filters * filters
        # The released code adds the clean and the occluded branch: a mean over both, times two.
        branches = len(features) / len(labels)
        response = losses.response_diversity(filtered, form=weights.response_form)
        parts["response"] = weights.response * branches * response
    return parts


def make_optimiser(model: InterpretableFaceNet, settings: Optimisation, steps: int):
    """Return the optimiser and its schedule: AdamW on one cycle, or the paper's SGD.

    The paper trains by SGD at 1e-3, momentum 0.9, divided by 10 twice; we use AdamW with a
    one-cycle rate where the time is short; set ``optimiser="sgd"`` to match.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    if settings.optimiser == "sgd":
        optimiser = torch.optim.SGD(parameters, lr=settings.learning_rate, momentum=0.9)
        milestones = [round(0.6 * steps), round(0.85 * steps)]
        return optimiser, torch.optim.lr_scheduler.MultiStepLR(optimiser, milestones, gamma=0.1)
    if settings.optimiser != "adamw":
        raise ValueError(f"unknown optimiser {settings.optimiser!r}: choose adamw or sgd")
    decay = settings.weight_decay
    optimiser = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=steps, pct_start=settings.warmup_share
    )
    return optimiser, schedule


def save_atomically(what: object, path: Path) -> None:
    """Write a checkpoint under a temporary name, then rename it into place."""
    temporary = path.with_name(path.name + ".partial")
    torch.save(what, temporary)
    os.replace(temporary, path)


@torch.no_grad()
def settle_batch_norm(model: InterpretableFaceNet, batch: Batcher, fabric: Fabric, size: int):
    """Set the batch-norm statistics to the mean over training batches at the final weights."""
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    momenta = [m.momentum for m in norms]
    for module in norms:
        module.reset_running_stats()
        module.momentum = None  # a plain average over the batches that follow
    count = len(batch.labels)
    steps = max(1, min(BATCH_NORM_FACES, count) // size)
    for step, indices in enumerate(batches(count, size, steps, batch.seed)):
        images, _ = batch(indices, step)
        with fabric.autocast():
            model.response(images.contiguous(memory_format=torch.channels_last))
    for module, momentum in zip(norms, momenta, strict=True):
        module.momentum = momentum


def train(
    variant: Variant,
    profile: Profile,
    data: FaceSet,
    *,
    seed: int = 0,
    start: dict[str, torch.Tensor] | None = None,
    checkpoint: Path | None = None,
    progress: bool = True,
    stop_after: int | None = None,
) -> tuple[InterpretableFaceNet, pd.DataFrame]:
    """Train one variant and return the network in evaluation mode with its history.

    Args:
        variant: which losses.
        profile: network size and optimisation.
        data: training faces with landmarks.
        seed: of initial weights, order, crops, rectangles, noise and dropout.
        start: state of a trained network whose feature extractor (conv11 to conv53) is taken over;
            the layers after it are new (Sec. 3.3). None trains everything from random weights.
        checkpoint: file to continue from and to save to; None keeps nothing.
        progress: show a progress bar with the loss parts, images/s and the time left.
        stop_after: stop cleanly after this step, as Ctrl-C would (for tests).

    Raises:
        Stopped: on Ctrl-C, once the checkpoint is written.
        ValueError: if the set is smaller than a batch or a setting is unknown.
    """
    settings = profile.optimisation
    steps = settings.pretrain_steps if variant.name == PRETRAIN.name else settings.steps
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)  # it announces bf16 each time
    fabric = Fabric(accelerator="auto", devices=1, precision=precision_of(settings.precision))
    classes = int(data.identity.max()) + 1
    model = network_of(profile, variant, classes, seed)
    if start is not None:
        model.load_extractor(start)
    model = model.to(fabric.device, memory_format=torch.channels_last).train()
    optimiser, schedule = make_optimiser(model, settings, steps)
    batch = Batcher(data, variant, profile.network.input_size, seed, fabric.device)
    state = dict(model=model, optimiser=optimiser, schedule=schedule)
    first, history = _resume(checkpoint, state, fabric.device)

    def save(step: int) -> None:
        if checkpoint is not None:
            saved = {name: part.state_dict() for name, part in state.items()}
            save_atomically(saved | dict(step=step, history=history), checkpoint)

    step, last_save = first, time.monotonic()
    bar = tqdm(total=steps, initial=first, desc=variant.name, disable=not progress, unit="step",
               mininterval=1.0)  # fmt: skip
    try:
        for indices in batches(len(data), settings.batch, steps, seed, first):
            images, labels = batch(indices, step)
            torch.manual_seed(seeding.stream_seed(seed, "training/dropout", step))
            with fabric.autocast():
                parts = loss_parts(
                    model, images.contiguous(memory_format=torch.channels_last), labels, variant
                )
            optimiser.zero_grad(set_to_none=True)
            sum(parts.values()).backward()
            optimiser.step()
            schedule.step()
            step += 1
            if step % 10 == 0 or step == steps:
                values = {name: value.item() for name, value in parts.items()}
                _require_finite(values, variant, step)
                history.append(dict(step=step) | values)
                rate = len(images) * (bar.format_dict["rate"] or 0)
                bar.set_postfix(
                    {k: f"{v:.2f}" for k, v in values.items()} | {"img/s": f"{rate:.0f}"}
                )
            bar.update()
            if time.monotonic() - last_save > settings.checkpoint_seconds:
                save(step)
                last_save = time.monotonic()
            if step == stop_after:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        save(step)
        where = f"step {step} of {steps} is saved; run the same command again to go on"
        raise Stopped(f"stopped training {variant.name!r}: {where}") from None
    finally:
        bar.close()
    settle_batch_norm(model, batch, fabric, settings.batch)
    return model.eval(), pd.DataFrame(history)


def _resume(checkpoint: Path | None, state: dict, device: torch.device) -> tuple[int, list[dict]]:
    if checkpoint is None or not checkpoint.exists():
        return 0, []
    try:
        saved = torch.load(checkpoint, map_location=device, weights_only=True)
        for name, part in state.items():
            part.load_state_dict(saved[name])
    except Exception as error:
        raise ValueError(
            f"cannot go on from the checkpoint {checkpoint}: {error}; "
            "delete it to train from the start"
        ) from error
    return saved["step"], saved["history"]


def _require_finite(values: dict[str, float], variant: Variant, step: int) -> None:
    broken = [name for name, value in values.items() if not np.isfinite(value)]
    if broken:
        raise FloatingPointError(
            f"loss part {', '.join(broken)} of {variant.name!r} is not finite at step {step}; "
            "lower the learning rate or the weight of that part"
        )


def train_or_load(
    name: str, profile: Profile, data: FaceSet, *, seed: int = 0, progress: bool = True
) -> Trained:
    """Return the trained network of a variant: from disk when it was trained before, else train it.

    A variant starts from the common pretrained base, which is trained or loaded first. The folder
    is named by the content hash of all that decides the weights: data, network, optimisation,
    losses, seed and code.

    Args:
        name: a key of ``ifr.profiles.VARIANTS``, or ``"pretrain"``.
        profile: the run size.
        data: training faces.
        seed: of everything random in training.
        progress: show progress bars.
    """
    variant = PRETRAIN if name == PRETRAIN.name else get_variant(name)
    start = None
    if variant is not PRETRAIN:
        base = train_or_load(PRETRAIN.name, profile, data, seed=seed, progress=progress)
        start, start_key = base.model.state_dict(), base.key
    key = training_key(profile, variant, seed, data, start and start_key)
    folder = paths.models() / f"{profile.name}-{name}-seed{seed}-{key}"
    weights, record = folder / "weights.safetensors", folder / "training.json"
    classes = int(data.identity.max()) + 1
    if record.exists():
        model = network_of(profile, variant, classes, seed)
        load_weights(model, load_file(weights), source=str(weights))
        facts = json.loads(record.read_text())
        history = pd.DataFrame(facts["history"])
        return Trained(model.eval(), history, key, folder, True, facts["seconds"])
    paths.require_writable(folder)
    checkpoint = folder / "checkpoint.pt"
    began = time.monotonic()
    model, history = train(variant, profile, data, seed=seed, start=start,
                           checkpoint=checkpoint, progress=progress)  # fmt: skip
    seconds = time.monotonic() - began
    state = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    save_file(state, weights.with_suffix(".partial"))
    os.replace(weights.with_suffix(".partial"), weights)
    facts = dict(variant=name, key=key, seed=seed, seconds=seconds, data=data.fingerprint,
                 start=start and start_key, network=network_settings(profile, variant, classes),
                 input_size=profile.network.input_size,
                 history=history.to_dict("records"))  # fmt: skip
    record.with_suffix(".partial").write_text(json.dumps(facts))
    os.replace(record.with_suffix(".partial"), record)
    checkpoint.unlink(missing_ok=True)
    return Trained(model.cpu().eval(), history, key, folder, False, seconds)
