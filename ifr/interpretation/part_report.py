"""How well a network's filters keep to parts of the face, by published measures.

A filter's peak is where its LMF(ψ) is largest in magnitude. Places are pixels of the crop (or of
the whole face), parts their landmarks' centres, boxes of 224 pixels scaled to the frame.
"""

import numpy as np
import torch
from torch.nn import functional as F

from ifr.common.errors import UserError
from ifr.common.seeding import stream
from ifr.datasets import FaceSet
from ifr.faces import PARTS
from ifr.interpretation.face_parts import FACE_PARTS, part_labels, prepared
from ifr.interpretation.peaks import largest_peaks, peak_locations, peak_statistics
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
BATCH = 16  # faces whose maps are enlarged at once
BARE = ("skin", "brow", "eye", "nose", "mouth")  # what of a rendered picture is the face


def part_hits(
    places: np.ndarray, centres: np.ndarray, visible: np.ndarray, reach: float
) -> np.ndarray:
    """Return which visible parts (N, P) lie in the box around each peak, (N, K, P) bool."""
    near = np.abs(places[:, :, None] - centres[:, None]) <= reach
    return near.all(axis=-1) & visible[:, None]


def part_consistency(hits: np.ndarray, visible: np.ndarray) -> float:
    """Return the share of filters with a part in their box in 80 % of images (EvalProtoPNet)."""
    return float((_mean_presence(hits, visible).max(axis=1) >= CONSISTENT).mean())


def part_stability(hits: np.ndarray, noisy: np.ndarray) -> float:
    """Return the share of images whose hit parts stay the same under noise (EvalProtoPNet)."""
    return float((hits == noisy).all(axis=-1).mean())


def purity(
    hits: np.ndarray, visible: np.ndarray, strengths: np.ndarray, top: int = 10
) -> np.ndarray:
    """Return how often each filter's best part is in its box when it answers most (PIP-Net)."""
    # Left and right are merged; the images are the ten in which a filter answers most.
    merged = np.stack([hits[..., part].any(axis=-1) for part in MERGED], axis=-1)
    seen = np.stack([visible[:, part].any(axis=-1) for part in MERGED], axis=-1)
    best, filters = _strongest(strengths, top)
    return _mean_presence(merged[best, filters], seen[best]).max(axis=1)


def _strongest(strengths: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the images (top, K) in which each filter answers most, and the filters (K,)."""
    return np.argsort(-strengths, axis=0, kind="stable")[:top], np.arange(strengths.shape[1])


def _mean_presence(hits: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Return how often each part is in a filter's box where it is seen, (K, P); 0 if never."""
    seen = np.broadcast_to(visible if visible.ndim == 3 else visible[:, None], hits.shape)
    count = seen.sum(axis=0)
    return np.divide(hits.sum(axis=0), count, out=np.zeros(count.shape), where=count > 0)


def location_instability(
    places: np.ndarray, strengths: np.ndarray, landmarks: np.ndarray, frame: float, top: int = 100
) -> float:
    """Return how much peak-to-landmark distances vary, over the diagonal (Zhang et al. [68])."""
    best, filters = _strongest(strengths, top)
    away = np.linalg.norm(places[best, filters][:, :, None] - landmarks[best], axis=-1)
    return float(away.std(axis=0).mean() / (frame * np.sqrt(2)))


def dissection(maps: np.ndarray, labels: np.ndarray, count: int, top: float = 0.005) -> np.ndarray:
    """Return the IoU, (K, L), of the largest 0.5 % of |maps| and each label (Bau, 2017)."""
    magnitude = np.abs(maps)
    level = np.quantile(magnitude, 1 - top, axis=(0, 2, 3))
    both = np.zeros((maps.shape[1], count))
    for first in range(0, len(maps), BATCH):
        part, kinds = (torch.as_tensor(x[first : first + BATCH]) for x in (magnitude, labels))
        enlarged = F.interpolate(part, size=labels.shape[1:], mode="bilinear")
        above = (enlarged > torch.as_tensor(level).to(enlarged)[:, None, None]).float()
        shown = F.one_hot(kinds.long(), count).float()
        both += torch.bmm(above.flatten(2), shown.flatten(1, 2)).sum(dim=0).numpy()
    own = both.sum(axis=1, keepdims=True)  # every pixel has a label
    union = own + np.bincount(labels.ravel(), minlength=count) - both
    return np.divide(both, union, out=np.zeros_like(both), where=union > 0)


def landmark_error(places: np.ndarray, landmarks: np.ndarray, fitted: np.ndarray) -> float:
    """Return the error of a linear map of peaks to landmarks (Huang, 2020), in eye distances."""
    peaks, points = (array.reshape(len(array), -1) for array in (places, landmarks))
    # Fitted on some images (N,) bool by least squares, without intercept; measured on the others.
    matrix = np.linalg.lstsq(peaks[fitted], points[fitted], rcond=None)[0]
    off = (peaks[~fitted] @ matrix - points[~fitted]).reshape(-1, landmarks.shape[1], 2)
    eyes = np.linalg.norm(landmarks[~fitted, 36] - landmarks[~fitted, 45], axis=-1)
    return float((np.linalg.norm(off, axis=-1).mean(axis=1) / eyes).mean())


def share_on(places: np.ndarray, labels: np.ndarray, chosen: list[int], frame: float) -> float:
    """Return the share of peaks (N, K, 2) on pixels of the chosen labels, (N, S, S)."""
    pixel = np.floor(places * (labels.shape[-1] / frame)).astype(int)
    found = labels[np.arange(len(places))[:, None], pixel[..., 1], pixel[..., 0]]
    return float(np.isin(found, chosen).mean())


def part_report(
    model: InterpretableFaceNet, faces: FaceSet, *, size: int, seed: int = 0, shuffled: bool = False
) -> dict[str, float]:
    """Return all measures; ``shuffled`` is the control, whose maps lose their places."""
    people = np.unique(faces.identity, return_inverse=True)[1]
    if not people.any():
        raise UserError(f"{faces.name} shows fewer than two people: landmarks are fitted on others")
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
    pure = purity(part_hits(places, centres, visible, PATCH * frame), visible, strengths)
    if "parts" in faces.attributes:
        cut = slice(inset, inset + frame)
        labels = np.asarray(faces.attributes["parts"])[:, cut, cut]
        named, face = range(1, len(PARTS)), [PARTS.index(name) for name in BARE]
    else:
        labels, face = part_labels(landmarks, frame=frame), list(range(len(FACE_PARTS)))
        named = range(len(FACE_PARTS))
    largest = dissection(maps, labels, max(named) + 2)[:, named].max(axis=1)
    statistics = peak_statistics(peak_locations(maps, points, FaceMesh.frontal(frame)))
    return dict(
        consistency_percent=100 * part_consistency(hits, visible),
        stability_percent=100 * part_stability(hits, moved_hits),
        purity_share=float(pure.mean()),
        part_related_percent=100 * float((pure > PURE).mean()),
        location_instability_share=location_instability(places, strengths, points, frame),
        largest_iou_share=float(largest.mean()),
        detectors_percent=100 * float((largest > DETECTS).mean()),
        landmark_error_share=landmark_error(places, points, people % 2 == 0),
        off_face_percent=100 - 100 * share_on(places, labels, face, frame),
        d_bar_pixels=statistics["dbar"],
        scatter_pixels=statistics["mean_scatter"],
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
