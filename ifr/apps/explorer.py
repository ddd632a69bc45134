"""A face under the reader's hand, turned or covered: what filters answer, and why it is known.

Nothing here knows of widgets; ``ifr.apps.explorer_panel`` puts it on the screen.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch

from ifr.common.errors import UserError
from ifr.datasets import FaceSet
from ifr.datasets.rendered import STUDIO, TWIN_SHOT
from ifr.evaluation.features import NetworkEmbedding
from ifr.experiment.explained import IMPOSTORS, threshold_of
from ifr.experiment.run import Run, clean_faces
from ifr.faces import OCCLUDERS, Render, build_identity, draw_shot, render
from ifr.interpretation import PairExplanation, Threshold, explain_responses, part_labels
from ifr.interpretation.change import Box, changed_share, feature_difference
from ifr.interpretation.peaks import filters_at, largest_peaks, network_peaks
from ifr.landmarks import CROP, CROP_SIZE
from ifr.models import InterpretableFaceNet
from ifr.models.inputs import crop_side
from ifr.occlusion import FIXED_BOXES, occlude

RECTANGLE = "rectangle"
COVERS = (RECTANGLE, *OCCLUDERS)
PEOPLE = 8  # to choose from
STEADY_FACES = 48  # on which it is seen where filters look
FAR = 0.01  # of two people's pairs, this share passes the threshold
CHANGED = 0.1  # of the largest change: a feature that changed more counts as changed (C20)
KEPT = 64  # rendered faces held for a reader who comes back to one

Networks = Mapping[str, InterpretableFaceNet]  # by title
Explanations = dict[str, PairExplanation]  # by title of the network
Responses = dict[str, tuple[np.ndarray, np.ndarray]]  # title -> LMF(ψ(I)) (K, h, w), f(I) (1, K)


@dataclass(frozen=True)
class Setting:
    """What the reader chose."""

    person: int = 0  # which of the explorer's people
    yaw: float = 0.0  # degrees, -60 to 60; above 0 the face turns to the right of the picture
    cover: str = RECTANGLE  # the warped black one of Sec. 3.3, an occluder, or "none"
    box: Box = (16.0, 36.0, 32.0, 12.0)  # x, y, width, height in the frontal crop: over an eye


@dataclass(frozen=True, eq=False)
class Answer:
    """What one network answers to the covered face, and what it answered to the bare one."""

    maps: np.ndarray  # (K, h, w) LMF(ψ(Î)) of the covered face
    limits: np.ndarray  # (K,) the largest magnitude of each filter on either face
    peaks: np.ndarray  # (K, 2) pixels of the crop where each map's magnitude is largest
    moved: np.ndarray  # (K,) pixels that this place moved by when the face was covered
    change: np.ndarray  # (K,) |f_i(I) - f_i(Î)| of features scaled to length 1

    @property
    def changed(self) -> np.ndarray:
        """Which features changed by more than a tenth of the most changed one, (K,) bool."""
        return self.change > CHANGED * self.change.max(initial=0)

    def figures(self) -> dict[str, float]:
        """Return the answer in four numbers."""
        return dict(
            changed_percent=100 * float(changed_share(self.change, CHANGED)),
            mean_change=float(self.change.mean()),
            largest_change=float(self.change.max()),
            peaks_moved_pixels=float(self.moved.mean()),
        )


@dataclass(frozen=True, eq=False)
class View:
    """A setting with all there is to show of it."""

    setting: Setting
    bare: np.ndarray  # (96, 96, 3) uint8, the face without a cover
    covered: np.ndarray  # (96, 96, 3) uint8, the face that the networks answer to
    answers: dict[str, Answer]  # by title of the network


@dataclass(frozen=True, eq=False)
class PairView:
    """A covered face beside another picture of the same person or of someone else, explained."""

    setting: Setting  # of the covered face
    other: int  # whose the other picture is
    faces: np.ndarray  # (2, 96, 96, 3) uint8, the covered one first
    covered: Explanations
    bare: Explanations  # the same pair before the face was covered


class Explorer:
    """Renders held-out people of a run, turned and covered, and asks networks, by title."""

    def __init__(self, run: Run, models: Networks, *, people: int = PEOPLE) -> None:
        self.run, self.models = run, {title: model.eval() for title, model in models.items()}
        seeds = np.unique(run.data("templates").attributes["identity_seed"])[:people]
        self.seeds = [int(seed) for seed in seeds]
        self._ask_bare = lru_cache(maxsize=KEPT)(self._ask_face)
        self._label = lru_cache(maxsize=KEPT)(self._label_faces)

    @cached_property
    def steady(self) -> dict[str, np.ndarray]:
        """Six filters of each network, at the places of the fixed boxes, as in Figure 1."""
        faces, size = clean_faces(self.run, STEADY_FACES), self.run.size
        peaks = {title: network_peaks(net, faces, size=size) for title, net in self.models.items()}
        return {title: filters_at(found, FIXED_BOXES.values()) for title, found in peaks.items()}

    @cached_property
    def thresholds(self) -> dict[str, Threshold]:
        """The score from which on each network takes two faces for one person."""
        known, size = clean_faces(self.run, IMPOSTORS, "validation"), self.run.size
        asked = {title: NetworkEmbedding(title, size, net) for title, net in self.models.items()}
        return {title: threshold_of(network, known, FAR) for title, network in asked.items()}

    def face(self, person: int, yaw: float, cover: str = "none", other: bool = False) -> Render:
        """Return a person's face, kept once made; the ``other`` picture is of another day."""
        if not 0 <= person < len(self.seeds):
            raise UserError(f"person must be 0..{len(self.seeds) - 1}, got {person}")
        return _rendered(self.seeds[person], float(yaw), cover, other)

    @torch.inference_mode()
    def look(self, setting: Setting) -> View:
        """Render a setting and return what the networks answer."""
        side, (covered, after) = (setting.person, float(setting.yaw)), self._cover(setting)
        before, bare = self._ask_bare(*side), _as_set(self.face(*side))
        answers = {title: _compare(before[title], after[title]) for title in self.models}
        return View(setting, _crop(bare), _crop(covered), answers)

    @torch.inference_mode()
    def compare(self, setting: Setting, other: int) -> PairView:
        """Explain the score of a covered face with the other picture of a person."""
        first, second = (setting.person, float(setting.yaw)), (other, 0.0, "none", True)
        (covered, after), before = self._cover(setting), self._ask_bare(*first)
        answer, labels = self._ask_bare(*second), self._label(first, second)
        landmarks = np.stack([self.face(*side).landmarks for side in (first, second)])

        def explained(mine: Responses, title: str) -> PairExplanation:
            maps = torch.from_numpy(np.stack([mine[title][0], answer[title][0]]))
            frame = crop_side(self.run.size)
            return explain_responses(maps, landmarks=landmarks, labels=labels, frame=frame)

        faces = np.stack([_crop(covered), _crop(_as_set(self.face(*second)))])
        now, bare = ({t: explained(mine, t) for t in self.models} for mine in (after, before))
        return PairView(setting, other, faces, now, bare)

    def _cover(self, setting: Setting) -> tuple[FaceSet, Responses]:
        """Return the face under its cover, as the reader sees it, and what networks answer."""
        cover = "none" if setting.cover == RECTANGLE else setting.cover
        face = _as_set(self.face(setting.person, setting.yaw, cover))
        if setting.cover != RECTANGLE:
            return face, self._ask(self.run.images(face))
        twin = self.run.occluded_images(face, setting.box)
        landmarks, blank = self.run.crop_landmarks(face), torch.zeros(1, 1, CROP_SIZE, CROP_SIZE)
        hidden = occlude(blank, landmarks, setting.box, mesh=self.run.crop_mesh)[1][0]
        face.images[0][CROP, CROP][hidden.numpy()] = 0
        return face, self._ask(twin)

    def _ask_face(self, *side: Any) -> Responses:
        return self._ask(self.run.images(_as_set(self.face(*side))))

    def _label_faces(self, *sides: tuple) -> np.ndarray:
        landmarks = np.stack([self.face(*side).landmarks for side in sides])
        return part_labels(landmarks, frame=crop_side(self.run.size))

    def _ask(self, images: torch.Tensor) -> Responses:
        """Return what each network answers to one face."""
        images = images.contiguous(memory_format=torch.channels_last)
        answers = {}
        for title, model in self.models.items():
            feature, response = model.features_and_response(images)
            answers[title] = response[0].float().numpy(), feature.float().numpy()
        return answers


def _compare(before: tuple[np.ndarray, np.ndarray], after: tuple[np.ndarray, np.ndarray]) -> Answer:
    """Return how a network's answer to the covered face differs from that to the bare one."""
    (bare_maps, bare_feature), (maps, feature) = before, after
    limits = np.abs([bare_maps, maps]).max(axis=(0, 2, 3))
    (was, peaks), _ = largest_peaks(np.stack([bare_maps, maps]), CROP_SIZE)
    moved = np.linalg.norm(peaks - was, axis=-1)
    return Answer(maps, limits, peaks, moved, feature_difference(bare_feature, feature)[0])


_person = lru_cache(maxsize=PEOPLE)(build_identity)


@lru_cache(maxsize=KEPT)
def _rendered(seed: int, yaw: float, cover: str, other: bool) -> Render:
    number, free = (TWIN_SHOT + 1, dict(sharp=True)) if other else (TWIN_SHOT, STUDIO)
    return render(_person(seed), draw_shot(seed, number, yaw=yaw, occluder=cover, **free))


def _as_set(face: Render) -> FaceSet:
    image, person = np.array(face.image[None]), np.zeros(1, np.int64)  # its own, to be covered
    return FaceSet("explorer", image, person, face.landmarks[None])


def _crop(face: FaceSet) -> np.ndarray:
    """Return the crop of one face that networks see, a copy, (96, 96, 3) uint8."""
    return np.array(face.images[0][CROP, CROP])
