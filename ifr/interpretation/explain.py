"""The score of a pair as an exact sum over filters, places and parts of both faces.

f_k is the mean of LMF(ψ_k) over the map, so a cosine is a sum over filters, and over places.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ifr.common.errors import UserError
from ifr.datasets import FaceSet
from ifr.interpretation import face_parts
from ifr.interpretation.face_parts import FACE_PARTS, REGIONS, part_labels
from ifr.landmarks import CROP_SIZE, FACE_SIZE, apply_similarity
from ifr.models import InterpretableFaceNet
from ifr.models.inputs import crop_side

TINY = 1e-12  # a shorter feature is taken for zero: its scores and maps are 0


@dataclass(frozen=True)
class Threshold:
    """The score from which on a pair counts as one person, and where it comes from."""

    value: float
    far: float  # the share of pairs of two people that may pass
    pairs: int  # of two people, whose scores it is read from
    source: str = ""  # the set they are of

    @staticmethod
    def of(impostors: np.ndarray, far: float, source: str = "") -> "Threshold":
        """Return the lowest threshold that no more than a share of scores of two people reach."""
        impostors = np.sort(np.asarray(impostors, np.float64))[::-1]
        if not 0 < far < 1 or not np.isfinite(impostors).all():
            raise UserError(f"far must lie between 0 and 1 and scores be finite, got far {far}")
        if len(impostors) * far < 1:
            need = f"at least {int(np.ceil(1 / far)):,} pairs of two people"
            raise UserError(f"a threshold at FAR {far:g} needs {need}, got {len(impostors):,}")
        first_refused = impostors[int(len(impostors) * far + 1e-9)]
        return Threshold(float(np.nextafter(first_refused, np.inf)), far, len(impostors), source)


@dataclass(frozen=True, eq=False)
class PairExplanation:
    """A score and what sums to it, by parts with the remainder; image 0 is the probe."""

    score: float
    by_filter: np.ndarray  # (K,)
    maps: np.ndarray  # (1 + M, h, w), signed: of the probe; the gallery's sum to it together
    by_part: np.ndarray  # (2, P) of FACE_PARTS, by the probe's places and by the gallery's
    remainder: np.ndarray  # (2,) what lies off the face
    without: np.ndarray | None  # (2, P) the score with a part removed from the probe, the gallery
    landmarks: np.ndarray  # (1 + M, 68, 2) in the 112 frame
    frame: int  # side of the square that the maps cover: 96, the crop, or 112, the whole face

    def parts(self) -> dict[str, float]:
        """Return the mean of both faces by name, the remainder last: it sums to the score."""
        means = np.column_stack([self.by_part, self.remainder]).mean(axis=0)
        return dict(zip(REGIONS, means.tolist(), strict=True))

    def crop(self) -> np.ndarray:
        """Return the maps in pixels of the crop (or whole face), (1 + M, S, S), of equal sums."""
        return resample(self.maps, self.frame)

    def frontal(self) -> np.ndarray:
        """Return the maps from the front, (1 + M, 96, 96), NaN where hidden; sums change."""
        spots = enumerate(face_parts.frontal_spots(self.landmarks))
        return np.reshape([self._at(*spot) for spot in spots], (-1, CROP_SIZE, CROP_SIZE))

    def photograph(self, image: int, matrix: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """Return one map in pixels of a photograph (H, W), aligned by the matrix (2, 3)."""
        height, width = shape[:2]
        pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1) + 0.5
        values = self._at(image, apply_similarity(matrix, pixels.reshape(-1, 2)))
        area = abs(np.linalg.det(np.asarray(matrix)[:, :2]))  # of the face for a pixel here
        return np.nan_to_num(values).reshape(height, width) * area

    def _at(self, image: int, points: np.ndarray) -> np.ndarray:
        """Return one map's value a pixel of the 112 frame at (P, 2) points, NaN outside."""
        size = self.frame / np.array(self.maps.shape[:0:-1])  # of a cell, x then y
        cell = np.floor((points - (FACE_SIZE - self.frame) / 2) / size)
        inside = np.all((cell >= 0) & (cell < self.maps.shape[:0:-1]), axis=-1)  # NaN is not
        column, row = np.where(inside[:, None], cell, 0).astype(int).T
        return np.where(inside, self.maps[image, row, column] / size.prod(), np.nan)


def resample(maps: np.ndarray, side: int) -> np.ndarray:
    """Return (N, h, w) maps on side × side cells of the same square by area, of equal sums."""
    reached = np.arange(side + 1)[:, None] / side  # up to there a cell's share grows from 0 to 1
    rows, columns = (
        np.diff(np.clip(reached * cells - np.arange(cells), 0, 1), axis=0)
        for cells in maps.shape[1:]
    )
    return rows @ maps @ columns.T


def score_maps(response: Tensor, against: Tensor) -> Tensor:
    """Return what each place contributes to the cosines of N features, (N, h, w) float64.

    map(p) = Σ_k LMF(ψ_k)(p) g_k / (H W |f| |g|) of LMF(ψ), (N, K, h, w), and other features g,
    (N, K); its sum over p is cos(f, g).

    >>> maps = score_maps(torch.tensor([[[[3.0, 1.0]], [[0.0, 0.0]]]]), torch.tensor([[4.0, 3.0]]))
    >>> [round(value, 9) for value in maps.flatten().tolist()]
    [0.6, 0.2]
    """
    response = response.double()
    length = response.mean(dim=(2, 3)).norm(dim=1).clamp_min(TINY)
    unit = F.normalize(against.double(), dim=1) / length[:, None]
    return torch.einsum("nkhw,nk->nhw", response, unit) / response[0, 0].numel()


def sums_by_part(maps: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return sums (N, P + 1) over ``REGIONS`` of maps (N, h, w), labels (N, S, S), by area."""
    fine = resample(maps, labels.shape[-1]).reshape(len(maps), -1)
    chosen = labels.reshape(len(maps), -1, 1) == np.arange(len(REGIONS))
    return np.einsum("np,npr->nr", fine, chosen)


@torch.no_grad()
def explain_pair(
    model: InterpretableFaceNet, probe: FaceSet, gallery: FaceSet, *, size: int,
    weights: np.ndarray | None = None, fill: str | None = None,
) -> PairExplanation:  # fmt: skip
    """Explain the cosine of one face with another, or with a template of M faces.

    Their feature is the sum with ``weights`` (M,), by default 1 / |f|: faces count alike. With a
    ``fill`` of ``FILLS`` the score is measured again with each part removed from one side only.
    """
    require_explainable(model)
    if len(probe) != 1 or not len(gallery):
        raise UserError(f"explain one face with at least one, got {len(probe)} and {len(gallery)}")
    given = [face_parts.prepared(model, faces, size) for faces in (probe, gallery)]
    images, landmarks = torch.cat([x for x, _ in given]), np.concatenate([y for _, y in given])
    responses, frame = model.lmf_response(images).double(), crop_side(size)
    features = responses.mean(dim=(2, 3))
    share = 1 / features[1:].norm(dim=1).clamp_min(TINY)
    if weights is not None:
        if np.shape(weights) != share.shape:
            raise UserError(f"weights must be one for each of {len(share)}, {np.shape(weights)}")
        share = torch.as_tensor(weights).to(features)
    labels = part_labels(landmarks, frame=frame)
    found = explain_responses(responses, share, landmarks=landmarks, labels=labels, frame=frame)
    if fill is None:
        return found
    fine = torch.as_tensor(part_labels(landmarks, frame=frame, side=size)).to(images.device)
    hidden = [fine == part for part in range(len(FACE_PARTS))]
    twins = (face_parts.covered(images, one, fill, fine) for one in hidden)
    gone = torch.stack([model.features(faces).double() for faces in twins])  # (P, 1 + M, K)
    sides = (gone[:, 0], share @ features[1:]), (features[0], share @ gone[:, 1:])
    without = torch.stack([F.cosine_similarity(*side, dim=-1) for side in sides]).cpu().numpy()
    return replace(found, without=without)


def explain_responses(
    responses: Tensor, share: Tensor | None = None, *,
    landmarks: np.ndarray, labels: np.ndarray, frame: int,
) -> PairExplanation:  # fmt: skip
    """Explain a score by LMF(ψ) of a probe and M others, (1 + M, K, h, w), and their part labels.

    The other feature is the sum of theirs with ``share`` (M,), by default of one other: its own.
    """
    responses = responses.double()
    features = responses.mean(dim=(2, 3))
    share = features.new_ones(len(features) - 1) if share is None else share
    template = share @ features[1:]
    maps = score_maps(responses, torch.stack([template] + [features[0]] * len(share)))
    scale = share * features[1:].norm(dim=1) / template.norm().clamp_min(TINY)
    maps[1:] *= scale[:, None, None]  # of each face's own score to its share of the template's
    places = maps.cpu().numpy()
    sums = sums_by_part(places, labels)
    both = np.stack([sums[0], sums[1:].sum(axis=0)])
    shares = F.normalize(torch.stack([features[0], template]), dim=1, eps=TINY).prod(dim=0)
    found = shares.cpu().numpy(), places, both[:, :-1], both[:, -1], None
    return PairExplanation(float(shares.sum()), *found, landmarks, frame)


def require_explainable(model: torch.nn.Module, name: str = "") -> None:
    """Refuse a network whose feature is no mean of its maps, or one in training mode."""
    if not isinstance(model, InterpretableFaceNet):
        need = "an exact explanation needs a feature that is the mean of response maps"
        what = f"{name or 'the network'} is a {type(model).__name__}"
        raise UserError(f"{what}: {need}; give a network of ifr train, of any backbone")
    if model.training:
        raise UserError("the network is in training mode: call model.eval() first")


def in_words(explanation: PairExplanation, threshold: Threshold | None = None) -> str:
    """Return an explanation as a sentence, with the decision where a threshold is given."""
    without = explanation.without
    listed = ", ".join(f"{part} {value:+.2f}" for part, value in explanation.parts().items())
    listed = listed[0].upper() + listed[1:]
    if threshold is None:
        return f"Score {explanation.score:.2f}. {listed}."
    same = bool(explanation.score >= threshold.value)
    decision, other = ("same person", "different people")[:: 1 if same else -1]
    origin = f"which {100 * threshold.far:g} % of {threshold.pairs:,} pairs of two people reach"
    passed = f"(threshold {threshold.value:.2f}, {origin})"
    text = f"{decision.capitalize()}, score {explanation.score:.2f} {passed}. {listed}."
    if without is None:
        return text
    turned = (without >= threshold.value) != same
    phrases = []
    for whose, times in (("either face's", 2), ("one face's", 1)):
        rows = np.flatnonzero(turned.sum(axis=0) == times)
        scores = [f"{FACE_PARTS[k]} ({without[0, k]:.2f}, {without[1, k]:.2f})" for k in rows]
        phrases += [f"Without {whose} {' or '.join(scores)}: {other}."] if scores else []
    stays = "Whichever part is removed from one face, the decision stays."
    return " ".join([text, *(phrases or [stays])])
