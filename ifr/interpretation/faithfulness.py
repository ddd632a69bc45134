"""Rival maps of why pairs score as they do, (N, h, w), and whether they tell it rightly."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor
from torch.nn import functional as F

from ifr.common.seeding import stream
from ifr.datasets import FaceSet
from ifr.interpretation.explain import TINY, require_explainable, resample, score_maps
from ifr.interpretation.face_parts import FACE_PARTS, covered, part_labels, prepared
from ifr.models import InterpretableFaceNet
from ifr.models.inputs import crop_side

RIVALS = ("Grad-CAM", "gradient × input", "integrated gradients", "xSSAB", "RISE")
KINDS = ("exact", *RIVALS, "random")
CELLS = 6  # along each side of RISE's masks
SLIGHT = 0.05  # a part whose removal moves the score by a smaller share of it is no reason for it
RANDOM_PLACE = "a random place"


@dataclass(frozen=True, eq=False)
class Probes:
    """N faces, each with the feature of another that it is compared with."""

    model: InterpretableFaceNet
    images: Tensor  # (N, 3, S, S) network input
    against: Tensor  # (N, K)
    labels: Tensor  # (N, S, S) parts of the face, see `part_labels`

    @staticmethod
    @torch.no_grad()
    def of(model: InterpretableFaceNet, faces: FaceSet, others: FaceSet, *, size: int) -> "Probes":
        """Return the faces of one set as probes for those of another, row by row."""
        require_explainable(model)
        images, landmarks = prepared(model, faces, size)
        labels = part_labels(landmarks, frame=crop_side(size), side=size)
        against = model.features(prepared(model, others, size)[0])
        return Probes(model, images, against, torch.as_tensor(labels, device=images.device))

    def scores(self, images: Tensor | None = None) -> Tensor:
        """Return the cosines, (N,), of the faces or of others in their place."""
        features = self.model.features(self.images if images is None else images)
        return F.cosine_similarity(features, self.against, eps=TINY)


def _gradient(score: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    at = at.detach().requires_grad_()
    return torch.autograd.grad(score(at).sum(), at)[0]


@torch.no_grad()
def exact(probes: Probes) -> Tensor:
    """Return the exact maps, :func:`ifr.interpretation.score_maps`."""
    return score_maps(probes.model.lmf_response(probes.images), probes.against)


def gradient_times_input(probes: Probes) -> Tensor:
    """Return gradient × (input − grey), which is 0, the channels summed."""
    return (_gradient(probes.scores, probes.images) * probes.images).sum(dim=1)


def integrated_gradients(probes: Probes, *, steps: int = 16) -> Tensor:
    """Return integrated gradients from grey (Sundararajan, 2017); their sum misses jumps of LMF."""
    midpoints = (probes.images * ((step + 0.5) / steps) for step in range(steps))
    total = sum(_gradient(probes.scores, point) for point in midpoints)
    return (total * probes.images / steps).sum(dim=1)


def grad_cam(probes: Probes, *, relu: bool = True) -> Tensor:
    """Return Grad-CAM of the cosine on LMF(ψ) (Selvaraju, 2017); without ReLU it sums to zero."""
    with torch.no_grad():
        maps = probes.model.lmf_response(probes.images)
    against = probes.against.to(maps)
    slope = _gradient(lambda at: F.cosine_similarity(at.mean(dim=(2, 3)), against), maps)
    cam = (slope.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1)
    return cam.relu() if relu else cam


def xssab(probes: Probes, *, threshold: float = 0.0) -> Tensor:
    """Return xSSAB (Huber, 2024): |gradient| of the arguments for a match less those against it."""
    other = F.normalize(probes.against, dim=1, eps=TINY)

    def shares(images: Tensor) -> Tensor:
        return F.normalize(probes.model.features(images), dim=1, eps=TINY) * other

    with torch.no_grad():  # which shares of the score are arguments for a match
        match = shares(probes.images) >= threshold / other.shape[1]
    pro = _gradient(lambda at: shares(at) * match, probes.images).abs()
    contra = _gradient(lambda at: shares(at) * ~match, probes.images).abs()
    return (pro - contra).mean(dim=1)


@torch.no_grad()
def rise(probes: Probes, *, seed: int = 0, masks: int = 100, keep: float = 0.5) -> Tensor:
    """Return RISE (Petsiuk, 2018): the mean score where grey masks show a pixel, less the map's."""
    images, rng = probes.images, stream(seed, "rivals/rise")
    side, step = images.shape[-1], -(-images.shape[-1] // CELLS)
    total, shown = torch.zeros_like(images[:, 0]), images.new_zeros(side, side)
    for _ in range(masks):
        cells = torch.as_tensor(rng.random((1, 1, CELLS + 1, CELLS + 1)) < keep).to(images)
        x, y = rng.integers(0, step, 2).tolist()
        large = F.interpolate(cells, size=(CELLS + 1) * step, mode="bilinear")[0, 0]
        mask = large[y : y + side, x : x + side]
        total += probes.scores(images * mask)[:, None, None] * mask
        shown += mask
    means = total / shown.clamp_min(TINY)  # RISE: by how often that is in the mean
    return means - means.mean(dim=(1, 2), keepdim=True)


def rival_maps(
    probes: Probes, *, threshold: float = 0.0, seed: int = 0, kinds: Sequence[str] = KINDS
) -> dict[str, np.ndarray]:
    """Return maps of chosen kinds by name: the exact ones, others, and some that know nothing."""
    random = stream(seed, "rivals/random").standard_normal((len(probes.images), 12, 12))
    chosen = partial(xssab, threshold=threshold), partial(rise, seed=seed)
    makers = exact, grad_cam, gradient_times_input, integrated_gradients, *chosen
    make: dict[str, Callable[[Probes], Tensor]] = dict(zip(KINDS, makers, strict=False))
    make["random"] = lambda probes: torch.as_tensor(random)
    return {kind: make[kind](probes).double().cpu().numpy() for kind in kinds}


@torch.no_grad()
def scores_under(probes: Probes, hidden: Tensor, fill: str) -> np.ndarray:
    """Return the scores of faces whose hidden pixels, (N, S, S) bool, are filled, (N,)."""
    twins = covered(probes.images, hidden, fill, probes.labels)
    return probes.scores(twins).double().cpu().numpy()


def named_places(maps: np.ndarray, size: int, side: int) -> np.ndarray:
    """Return the upper left corner x, y of the square in which each map has most, (N, 2)."""
    means = F.avg_pool2d(torch.as_tensor(resample(maps, size))[:, None], side, stride=1)[:, 0]
    row, column = np.unravel_index(means.flatten(1).argmax(dim=1).numpy(), means.shape[1:])
    return np.stack([column, row], axis=-1)


def place_falls(
    probes: Probes, maps: Mapping[str, np.ndarray], *, side: int, draws: int = 8, seed: int = 0
) -> dict[str, np.ndarray]:
    """Return by how much scores fall, (N,), under a black square where each map names it."""
    size, rng = probes.images.shape[-1], stream(seed, "faithfulness/places")
    pixels = torch.arange(size, device=probes.images.device)
    whole = scores_under(probes, torch.zeros_like(probes.labels).bool(), "black")

    def fall(places: np.ndarray) -> np.ndarray:
        corner = torch.as_tensor(places, device=pixels.device)[:, :, None]
        column, row = ((pixels >= corner) & (pixels < corner + side)).unbind(dim=1)
        return whole - scores_under(probes, row[:, :, None] & column[:, None], "black")

    falls = {kind: fall(named_places(values, size, side)) for kind, values in maps.items()}
    drawn = rng.integers(0, size - side + 1, (draws, len(whole), 2))
    return falls | {RANDOM_PLACE: np.mean([fall(places) for places in drawn], axis=0)}


def removal_curve(
    probes: Probes, maps: np.ndarray, *, steps: int = 16, insert: bool = False, fill: str = "grey"
) -> np.ndarray:
    """Return scores after each of equal removals (or insertions) in the map's order, (N, T + 1)."""
    size = probes.images.shape[-1]
    order = np.argsort(-resample(maps, size).reshape(len(maps), -1), axis=1, kind="stable")
    rank = torch.as_tensor(order.argsort(axis=1)).view(-1, size, size).to(probes.labels.device)
    reached = (rank < round(size**2 * step / steps) for step in range(steps + 1))
    return np.stack([scores_under(probes, r ^ insert, fill) for r in reached], axis=1)


def part_falls(probes: Probes, fill: str = "skin") -> np.ndarray:
    """Return by how much scores fall without each part of the probe, (N, P)."""
    hidden = [probes.labels == part for part in range(-1, len(FACE_PARTS))]  # of -1 there is none
    whole, *without = (scores_under(probes, one, fill) for one in hidden)
    return whole[:, None] - np.stack(without, axis=1)


def single_deletion(falls: np.ndarray, claims: np.ndarray) -> np.ndarray:
    """Return Spearman's of falls and claims of parts, (N,) (FunnyBirds, 2023); NaN if alike."""
    pairs = np.stack([falls, claims], axis=1)
    known, found = np.ptp(pairs, axis=2).all(axis=1), np.full(len(falls), np.nan)
    found[known] = [spearmanr(*pair).statistic for pair in pairs[known]]
    return found


def claimed_parts(claims: np.ndarray, share: float = 0.1) -> np.ndarray:
    """Return which parts (N, P) claim more than a share of the sum of what speaks for the pair."""
    positive = np.clip(claims, 0, None)
    return positive > share * positive.sum(axis=1, keepdims=True)


def kept_and_removed(
    probes: Probes, claimed: np.ndarray, fill: str = "skin"
) -> tuple[np.ndarray, np.ndarray]:
    """Return scores with only the claimed parts (N, P) of the face kept, and without them, (N,)."""
    parts = torch.as_tensor(claimed, device=probes.labels.device)
    tables, flat = (F.pad(parts, (0, 1)), F.pad(~parts, (0, 1))), probes.labels.flatten(1).long()
    removed, kept = (
        scores_under(probes, table.gather(1, flat).view_as(probes.labels), fill) for table in tables
    )
    return kept, removed


def distractibility(claimed: np.ndarray, falls: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return the share of claimed parts whose removal costs < 5 %, (N,) (FunnyBirds); NaN: none."""
    slight, counts = np.abs(falls) < SLIGHT * np.abs(scores)[:, None], claimed.sum(axis=1)
    nothing = np.full(len(counts), np.nan)
    return np.divide((claimed & slight).sum(axis=1), counts, out=nothing, where=counts > 0)
