"""The same shot with one thing changed: the truth that a renderer has and no photograph tells."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from ifr.datasets import FaceSet
from ifr.datasets.rendered import STUDIO, TWIN_SHOT
from ifr.datasets.rendered_people import SetSpec
from ifr.evaluation import roc
from ifr.faces import EXCHANGED, Identity, Shot, build_identity, draw_shot, exchange_part, render
from ifr.faces.head_model import load_head
from ifr.interpretation.explain import TINY, resample
from ifr.interpretation.face_parts import FACE_PARTS, part_labels
from ifr.landmarks import FACE_SIZE
from ifr.mesh import FaceMesh
from ifr.models import InterpretableFaceNet

SEEN = 4  # levels of 255 by which a pixel must differ, in any colour, to count as changed
ANOTHER_DAY = 1_000_000  # sessions away, which no data set reaches: another room, other clothes
ON_THE_HEAD = ("hair", "hanging-hair", "loose-hair", "hat", "brim")  # a random stream each
AROUND = {"background": ("background", "clothing"), "hair": ON_THE_HEAD}
FINE = 4  # times finer than a stored face is the frontal one on which spots of skin are found
SAMPLE = 0.75  # of a pixel, in x and y: where its spot of the skin is read
SAME_SPOT = 0.003  # of the map of the skin: farther away the frontal face hides a spot
Sitting = tuple[Identity, Shot]


@dataclass(frozen=True, eq=False)
class Redressed(Shot):
    """A shot of which some of what a random stream decides is that of another day."""

    anew: tuple[str, ...] = ()

    def stream(self, name: str) -> np.random.Generator:
        """Return the random stream of one attribute."""
        shot = replace(self, session=self.session + ANOTHER_DAY) if name in self.anew else self
        return Shot.stream(shot, name)


def sittings(faces: FaceSet, spec: SetSpec) -> list[Sitting]:
    """Return who each face of a rendered set shows, and its shot by a sharp, lossless camera."""
    seeds, numbers = (faces.attributes[name].tolist() for name in ("identity_seed", "shot"))
    found = []
    for seed, number in zip(seeds, numbers, strict=True):
        shot = draw_shot(seed, number, **spec.shot_options(seed, number - spec.first_shot)[1])
        camera = replace(shot.camera, jpeg=0, blur=0.0, low_size=0)  # these carry a change further
        found.append((build_identity(seed), replace(shot, camera=camera)))
    return found


def chimeras(seated: list[Sitting], parts: Sequence[Sequence[str]]) -> list[Sitting]:
    """Return each with the shape of parts (of ``EXCHANGED``) of the other whose differ most."""
    weights, traits = np.stack([person.weights for person, _ in seated]), load_head().traits
    found = []
    for (person, shot), own in zip(seated, parts, strict=True):
        folders = tuple(EXCHANGED[part] for part in own)
        rows = [k for name, all_ in traits.items() if name.startswith(folders) for k, *_ in all_]
        away = np.abs(weights[:, rows] - person.weights[rows]).sum(axis=1)
        for part in own:
            person = exchange_part(person, seated[away.argmax()][0], part)
        found.append((person, shot))
    return found


def redressed(seated: list[Sitting], what: str) -> list[Sitting]:
    """Return the same shots with the background and clothes, or hair, of another day."""
    return [(person, Redressed(**vars(shot), anew=AROUND[what])) for person, shot in seated]


def photographed(seated: list[Sitting]) -> FaceSet:
    """Render people and shots as a set, one face of each."""
    faces = [render(*sitting) for sitting in seated]
    names = ("image", "landmarks", "parts")
    images, landmarks, parts = (np.stack([getattr(x, name) for x in faces]) for name in names)
    return FaceSet("photographed", images, np.arange(len(faces)), landmarks, dict(parts=parts))


def changed_pixels(one: FaceSet, other: FaceSet) -> np.ndarray:
    """Return where two pictures of the same shots differ, (N, 112, 112) bool."""
    return np.abs(one.images.astype(np.int16) - other.images).max(axis=-1) > SEEN


def named_share(maps: np.ndarray, truth: np.ndarray, false_alarm: float) -> np.ndarray:
    """Return the share of true pixels (N, S, S) that the largest of each map names, (N,).

    So many of the largest are named as name a share ``false_alarm`` of the other pixels; equal
    ones count in proportion, so a constant map names that share of both. NaN without both kinds.

    >>> named_share(np.array([[[4.0, 3.0], [2.0, 1.0]]]), np.eye(2, dtype=bool)[None], 0.5)
    array([0.5])
    """
    found = np.full(len(maps), np.nan)
    for row, values in enumerate(resample(maps, truth.shape[-1])):
        if truth[row].any() and not truth[row].all():
            false, true, _ = roc(values.ravel(), truth[row].ravel())
            found[row] = np.interp(false_alarm, false, true)
    return found


@torch.no_grad()
def change_maps(model: InterpretableFaceNet, before: Tensor, after: Tensor) -> np.ndarray:
    """Return how much each place of LMF(ψ), scaled as a feature of length 1, changes, (N, h, w)."""
    maps = torch.stack([model.lmf_response(images).double() for images in (before, after)])
    length = maps.mean(dim=(3, 4), keepdim=True).norm(dim=2, keepdim=True)
    one, other = maps / length.clamp_min(TINY)
    return (one - other).abs().sum(dim=1).cpu().numpy()


def localisation(maps: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """Return how maps (N, h, w) >= 0 lie on true pixels (N, S, S), (N,) each, as Quantus has it.

    ``pointing``: whether the largest value lies there; ``mass``: the share of the map's sum;
    ``rank``: the share of as many of the largest values as there are true pixels; and ``area``,
    what a constant map would have of the last two.
    """
    fine, inside = (x.reshape(len(x), -1) for x in (resample(maps, truth.shape[-1]), truth))
    ranked = np.take_along_axis(inside, np.argsort(-fine, axis=1, kind="stable"), axis=1)
    first, area = np.arange(inside.shape[1]) < inside.sum(axis=1)[:, None], inside.mean(axis=1)
    mass = (fine * inside).sum(axis=1) / np.maximum(fine.sum(axis=1), TINY)
    rank = (ranked & first).mean(axis=1) / np.maximum(area, TINY)
    return dict(pointing=ranked[:, 0] * 1.0, mass=mass, rank=rank, area=area)


def warp_errors(identity_seeds: np.ndarray, yaws: Sequence[float]) -> np.ndarray:
    """Return how far the mesh of 142 triangles puts skin from where it is, (N, Y, P) pixels.

    Skin of people turned by each yaw goes to the mean head from the front, where the map of the
    skin tells its true place. Means over what both show of each of ``FACE_PARTS``, NaN for none.
    """
    mesh, (known, true, landmarks) = FaceMesh.frontal(), _mean_head()
    labels, nearest = part_labels(landmarks[None], frame=FACE_SIZE)[0], cKDTree(known)
    errors = np.full((len(identity_seeds), len(yaws), len(FACE_PARTS)), np.nan)
    for (row, seed), (column, yaw) in product(enumerate(identity_seeds.tolist()), enumerate(yaws)):
        spots, places, own = _skin(build_identity(seed), yaw)
        away, index = nearest.query(spots)
        both = away < SAME_SPOT
        target, moved = true[index[both]], mesh.transfer(places[both], own, landmarks)
        x, y = np.clip(target.astype(int), 0, FACE_SIZE - 1).T
        off = np.linalg.norm(moved - target, axis=-1)
        for part in np.unique(labels[y, x][labels[y, x] < len(FACE_PARTS)]):
            errors[row, column, part] = off[labels[y, x] == part].mean()
    return errors


@cache
def _mean_head() -> tuple[np.ndarray, ...]:
    mean = load_head().mean.copy()
    return _skin(replace(build_identity(0), vertices=mean, frame=mean), 0, FINE)


def _skin(person: Identity, yaw: float, scale: int = 1) -> tuple[np.ndarray, ...]:
    """Return spots (S, 2) in the map of the skin, their places, and the landmarks, in pixels."""
    shot = draw_shot(person.seed, TWIN_SHOT, yaw=float(yaw), plain=True, **STUDIO)
    shot = replace(shot, pitch=0.0, roll=0.0)
    face = render(person, shot, scale * FACE_SIZE, canonical=True)
    assert face.canonical is not None
    row, column = np.nonzero(np.isfinite(face.canonical).all(axis=-1))
    places = (np.stack([column, row], axis=-1) + SAMPLE) / scale
    return face.canonical[row, column], places, face.landmarks / scale
