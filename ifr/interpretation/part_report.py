"""How well a network's filters keep to parts of the face, by published measures.

A filter's peak is where its LMF(ψ) is largest in magnitude. Places are pixels of the crop (or of
the whole face), parts their landmarks' centres, boxes of 224 pixels scaled to the frame. Counts
(B, N) say how often each image counts, in B draws of people.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F

from ifr.common.errors import UserError
from ifr.common.seeding import stream
from ifr.datasets import FaceSet
from ifr.evaluation import bootstrap_counts
from ifr.faces import PARTS
from ifr.interpretation.face_parts import FACE_PARTS, part_labels, prepared
from ifr.interpretation.peaks import bootstrap_peaks, largest_peaks, peak_locations, peak_statistics
from ifr.landmarks import GROUPS
from ifr.mesh import FaceMesh
from ifr.models import InterpretableFaceNet
from ifr.models.inputs import crop_side, offset_range

CENTRES = tuple(name for name in GROUPS if name != "jaw")
SIDES = [("right_brow", "left_brow"), ("right_eye", "left_eye"), ("nose",), ("mouth",)]  # merged
MERGED = [[CENTRES.index(name) for name in names] for names in SIDES]
CONSISTENT, PURE, DETECTS = 0.8, 0.5, 0.04  # from which share of images, purity, IoU on
BOX, PATCH = 36 / 224, 16 / 224  # half sides, of the image's
NOISE, CLIPPED = 0.2, 0.25
BATCH = 64  # faces whose maps are enlarged at once
SIDE = 32  # of the grid of pixels on which overlaps are counted
BARE = ("skin", "brow", "eye", "nose", "mouth")  # what of a rendered picture is the face


def part_hits(
    places: np.ndarray, centres: np.ndarray, visible: np.ndarray, reach: float
) -> np.ndarray:
    """Return which visible parts (N, P) lie in the box around each peak, (N, K, P) bool."""
    near = np.abs(places[:, :, None] - centres[:, None]) <= reach
    return near.all(axis=-1) & visible[:, None]


def part_consistency(hits: np.ndarray, visible: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the share of filters with a part in their box in 80 % of images (EvalProtoPNet)."""
    presence = _presence(counts @ _flat(hits), counts @ _flat(visible), hits.shape[1:])
    return (presence.max(axis=-1) >= CONSISTENT).mean(axis=-1)


def part_stability(hits: np.ndarray, noisy: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the share of images whose hit parts stay the same under noise (EvalProtoPNet)."""
    return weighted_mean((hits == noisy).all(axis=-1).mean(axis=-1), counts)


def purity(
    hits: np.ndarray, visible: np.ndarray, strengths: np.ndarray, counts: np.ndarray, top: int = 10
) -> np.ndarray:
    """Return how often each filter's best part is in its box when it answers most, (B, K)."""
    # PIP-Net: left and right are merged; the images are the ten in which a filter answers most.
    merged = np.stack([hits[..., part].any(axis=-1) for part in MERGED], axis=-1)
    seen = np.stack([visible[:, part].any(axis=-1) for part in MERGED], axis=-1)
    best, filters = _strongest(strengths, top)
    present, shown = (
        np.einsum("btk,tkp->bkp", counts[:, best], x.astype(np.float64), optimize=True)
        for x in (merged[best, filters], seen[best])
    )
    return _presence(present, shown, present.shape[1:]).max(axis=-1)


def weighted_mean(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return means of values (N,) of images that count so often, (B, N): (B,); NaN of none."""
    total = counts.sum(axis=1)
    return np.divide(counts @ values, total, out=np.full(len(counts), np.nan), where=total > 0)


def _strongest(strengths: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the images (top, K) in which each filter answers most, and the filters (K,)."""
    return np.argsort(-strengths, axis=0, kind="stable")[:top], np.arange(strengths.shape[1])


def _flat(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1).astype(np.float64)


def _presence(hits: np.ndarray, seen: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return how often each part is in a filter's box where it is seen, (B, K, P); 0 if never."""
    hits = hits.reshape(-1, *shape)
    seen = np.broadcast_to(seen.reshape(len(hits), -1, shape[-1]), hits.shape)
    return np.divide(hits, seen, out=np.zeros(hits.shape), where=seen > 0)


def location_instability(
    places: np.ndarray, strengths: np.ndarray, landmarks: np.ndarray, frame: float,
    counts: np.ndarray, top: int = 100,
) -> np.ndarray:  # fmt: skip
    """Return how much peak-to-landmark distances vary, over the diagonal (Zhang et al. [68])."""
    best, filters = _strongest(strengths, top)
    away = np.linalg.norm(places[best, filters][:, :, None] - landmarks[best], axis=-1)  # (T, K, L)
    weights, away = counts[:, best].transpose(2, 0, 1), away.transpose(1, 0, 2)  # filters first
    total = weights.sum(axis=2, keepdims=True)
    weights = np.divide(weights, total, out=np.full(weights.shape, np.nan), where=total > 0)
    variance = weights @ away**2 - (weights @ away) ** 2
    deviation = np.sqrt(np.maximum(variance, 0)).mean(axis=2)  # (K, B); NaN where none is drawn
    return np.nanmean(deviation, axis=0) / (frame * np.sqrt(2))


def dissection(
    maps: np.ndarray, labels: np.ndarray, named: Sequence[int], counts: np.ndarray,
    top: float = 0.005,
) -> np.ndarray:  # fmt: skip
    """Return the largest IoU, (B, K), of each filter's largest 0.5 % and a named label (Bau)."""
    magnitude, kinds = np.abs(maps), torch.as_tensor(list(named))
    level = torch.as_tensor(np.quantile(magnitude, 1 - top, axis=(0, 2, 3)))
    pixels = []  # of each batch: on both, in the filter's largest, of each kind
    for first in range(0, len(maps), BATCH):
        part, kind = (torch.as_tensor(x[first : first + BATCH]) for x in (magnitude, labels))
        enlarged = F.interpolate(part, size=labels.shape[1:], mode="bilinear")
        above = (enlarged > level.to(enlarged)[:, None, None]).float().flatten(2)
        is_kind = (kind.flatten(1)[..., None] == kinds).float()
        pixels.append([torch.bmm(above, is_kind), above.sum(dim=2), is_kind.sum(dim=1)])
    sums = [counts @ _flat(torch.cat(part).numpy()) for part in zip(*pixels, strict=True)]
    shared = sums[0].reshape(len(counts), -1, len(kinds))
    union = sums[1][:, :, None] + sums[2][:, None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0).max(axis=-1)


def landmark_error(
    places: np.ndarray, landmarks: np.ndarray, fitted: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """Return the error of a linear map of peaks to landmarks (Huang, 2020), in eye distances."""
    peaks, points = (array.reshape(len(array), -1) for array in (places, landmarks))
    # Fitted on some images (N,) bool by least squares, without intercept; measured on the others.
    matrix = np.linalg.lstsq(peaks[fitted], points[fitted], rcond=None)[0]
    off = (peaks[~fitted] @ matrix - points[~fitted]).reshape(-1, landmarks.shape[1], 2)
    eyes = np.linalg.norm(landmarks[~fitted, 36] - landmarks[~fitted, 45], axis=-1)
    return weighted_mean(np.linalg.norm(off, axis=-1).mean(axis=1) / eyes, counts[:, ~fitted])


def share_on(places: np.ndarray, labels: np.ndarray, chosen: list[int], frame: float) -> np.ndarray:
    """Return the share (N,) of peaks (N, K, 2) on pixels of the chosen labels, (N, S, S)."""
    pixel = np.floor(places * (labels.shape[-1] / frame)).astype(int)
    found = labels[np.arange(len(places))[:, None], pixel[..., 1], pixel[..., 0]]
    return np.isin(found, chosen).mean(axis=1)


def part_report(
    model: InterpretableFaceNet, faces: FaceSet, *, size: int, seed: int = 0,
    shuffled: bool = False, resamples: int = 0,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Return each measure, (1 + resamples,): of all people, then of people drawn anew.

    The linear map, the level of IoU and which images answer most stay those of all people.
    ``shuffled`` is the control, whose maps lose their places.
    """
    people = np.unique(faces.identity, return_inverse=True)[1]
    if not people.any():
        raise UserError(f"{faces.name} shows fewer than two people: landmarks are fitted on others")
    drawn = bootstrap_counts(people.max() + 1, resamples, seed)[:, people]
    counts = np.concatenate([np.ones((1, len(people))), drawn])
    images, landmarks = prepared(model, faces, size)
    frame, inset = crop_side(size), offset_range(size) // 2
    noise = torch.as_tensor(stream(seed, "part report/noise").normal(0, NOISE, images.shape))
    noisy = images + noise.clamp(-CLIPPED, CLIPPED).to(images)
    maps, again = (
        _maps(model, x, seed + n if shuffled else None) for n, x in enumerate((images, noisy))
    )
    points, seen = landmarks - inset, faces.attributes.get("visible", np.ones(landmarks.shape[:2]))
    centres = np.stack([points[:, GROUPS[name]].mean(axis=1) for name in CENTRES], axis=1)
    visible = np.stack([seen[:, GROUPS[name]].mean(axis=1) >= 0.5 for name in CENTRES], axis=1)
    (places, strengths), (moved, _) = (largest_peaks(one, frame) for one in (maps, again))
    hits, moved_hits = (part_hits(x, centres, visible, BOX * frame) for x in (places, moved))
    near = part_hits(places, centres, visible, PATCH * frame)
    pure = purity(near, visible, strengths, counts)
    if "parts" in faces.attributes:
        cut = slice(inset, inset + frame)
        labels = np.asarray(faces.attributes["parts"])[:, cut, cut]
        named, face = range(1, len(PARTS)), [PARTS.index(name) for name in BARE]
    else:
        labels, face = part_labels(landmarks, frame=frame), list(range(len(FACE_PARTS)))
        named = range(len(FACE_PARTS))
    pixel = ((np.arange(SIDE) + 0.5) * frame / SIDE).astype(int)
    largest = dissection(maps, labels[:, pixel][:, :, pixel], named, counts)
    peaks = peak_locations(maps, points, FaceMesh.frontal(frame))
    whole = peak_statistics(peaks)
    again_peaks = bootstrap_peaks(peaks, people, resamples=resamples, seed=seed)
    return dict(
        consistency_percent=100 * part_consistency(hits, visible, counts),
        stability_percent=100 * part_stability(hits, moved_hits, counts),
        purity_share=pure.mean(axis=1),
        part_related_percent=100 * (pure > PURE).mean(axis=1),
        location_instability_share=location_instability(places, strengths, points, frame, counts),
        largest_iou_percent=100 * largest.mean(axis=1),
        detectors_percent=100 * (largest > DETECTS).mean(axis=1),
        landmark_error_share=landmark_error(places, points, people % 2 == 0, counts),
        off_face_percent=100 - 100 * weighted_mean(share_on(places, labels, face, frame), counts),
        d_bar_pixels=np.append(whole["dbar"], again_peaks["dbar"]),
        scatter_pixels=np.append(whole["mean_scatter"], again_peaks["mean_scatter"]),
    )


@torch.no_grad()
def _maps(model: InterpretableFaceNet, images: torch.Tensor, shuffle: int | None) -> np.ndarray:
    """Return LMF(ψ) of images, (N, K, h, w) float32; with a seed for it, places shuffled."""
    parts = [model.lmf_response(part).float().cpu() for part in images.split(128)]
    maps = torch.cat(parts).numpy()
    if shuffle is not None:
        rng = stream(shuffle, "part report/shuffled")
        maps = rng.permuted(maps.reshape(*maps.shape[:2], -1), axis=-1).reshape(maps.shape)
    return maps
