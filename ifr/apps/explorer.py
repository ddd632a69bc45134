"""One face under the reader's hand: turned or covered, and what each network's filters answer.

Nothing here knows of widgets; ``ifr.apps.explorer_panel`` puts it on the screen.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
import pandas as pd
import torch

from ifr.common.errors import UserError
from ifr.datasets import FaceSet
from ifr.datasets.rendered import TWIN_SHOT
from ifr.experiment.run import Run, clean_faces
from ifr.faces import OCCLUDERS, Render, build_identity, draw_shot, render
from ifr.interpretation import changed_share, feature_difference, network_peaks, steady_filters
from ifr.interpretation.change import Box
from ifr.interpretation.peaks import largest_peaks
from ifr.landmarks import CROP, CROP_SIZE
from ifr.models import InterpretableFaceNet
from ifr.occlusion import occlude

RECTANGLE = "rectangle"
COVERS = (RECTANGLE, *OCCLUDERS)
PEOPLE = 8  # to choose from
STEADY_FACES = 48  # on which it is seen where filters look
CHANGED = 0.1  # of the largest change: a feature that changed more counts as changed (C20)
KEPT = 64  # rendered faces held for a reader who comes back to one

Responses = dict[str, tuple[np.ndarray, np.ndarray]]  # title -> LMF(ψ(I)) (K, h, w), f(I) (1, K)


@dataclass(frozen=True)
class Setting:
    """What the reader chose."""

    person: int = 0  # which of the explorer's people
    yaw: float = 0.0  # degrees, -60 to 60; above 0 the face turns to the right of the picture
    cover: str = RECTANGLE  # the warped black one of Sec. 3.3, an occluder, or "none"
    box: Box = (16.0, 36.0, 32.0, 12.0)  # x, y, width, height in the frontal crop: over an eye

    def __post_init__(self) -> None:
        if self.cover not in COVERS:
            raise UserError(f"cover must be one of {', '.join(COVERS)}, got {self.cover!r}")
        if not -60 <= self.yaw <= 60:
            raise UserError(f"yaw must lie in -60..60 degrees, got {self.yaw}")


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
            changed_percent=100 * changed_share(self.change, CHANGED),
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


class Explorer:
    """Renders held-out people of a run, turned and covered, and asks networks, by title."""

    def __init__(
        self, run: Run, models: Mapping[str, InterpretableFaceNet], *, people: int = PEOPLE
    ) -> None:
        self.run = run
        self.models = {title: model.eval() for title, model in models.items()}
        seeds = np.unique(run.data("templates").attributes["identity_seed"])[:people]
        self.seeds = [int(seed) for seed in seeds]
        self._ask_bare = lru_cache(maxsize=KEPT)(self._ask_turned)

    @cached_property
    def steady(self) -> dict[str, np.ndarray]:
        """Six filters of each network that keep to places far apart, as in Figure 1."""
        faces = clean_faces(self.run, STEADY_FACES)
        return {
            title: steady_filters(network_peaks(model, faces, size=self.run.size), 6)
            for title, model in self.models.items()
        }

    def face(self, person: int, yaw: float, cover: str = "none") -> Render:
        """Return a person's face, turned, and wearing an occluder or nothing; kept once made."""
        if not 0 <= person < len(self.seeds):
            raise UserError(f"person must be 0..{len(self.seeds) - 1}, got {person}")
        return _rendered(self.seeds[person], float(yaw), cover)

    @torch.inference_mode()
    def look(self, setting: Setting) -> View:
        """Render a setting and return what the networks answer."""
        bare = _as_set(self.face(setting.person, setting.yaw))
        if setting.cover == RECTANGLE:
            twin, covered = self.run.occluded_images(bare, setting.box), _crop(bare)
            landmarks, blank = self.run.crop_landmarks(bare), torch.zeros(1, 1, *covered.shape[:2])
            hidden = occlude(blank, landmarks, setting.box, mesh=self.run.crop_mesh)[1][0]
            covered[hidden.numpy()] = 0  # as the reader sees it, in all pixels of the crop
        else:
            worn = _as_set(self.face(setting.person, setting.yaw, setting.cover))
            twin, covered = self.run.images(worn), _crop(worn)
        before, after = self._ask_bare(setting.person, float(setting.yaw)), self._ask(twin)
        answers = {title: _compare(before[title], after[title]) for title in self.models}
        return View(setting, _crop(bare), covered, answers)

    def _ask_turned(self, person: int, yaw: float) -> Responses:
        return self._ask(self.run.images(_as_set(self.face(person, yaw))))

    def _ask(self, images: torch.Tensor) -> Responses:
        """Return what each network answers to one face."""
        images = images.contiguous(memory_format=torch.channels_last)
        answers = {}
        for title, model in self.models.items():
            feature, response = model.features_and_response(images)
            answers[title] = response[0].float().numpy(), feature.float().numpy()
        return answers


def presets(boxes: Mapping[str, Box]) -> dict[str, Setting]:
    """Return settings for a picture on paper: a person under each box, then turned, then worn."""
    first = Setting()
    settings = {name: replace(first, box=box) for name, box in boxes.items()}
    settings["turned, mask over the eye"] = replace(first, yaw=40.0)
    settings["sunglasses"] = replace(first, cover="sunglasses")
    return settings


def measure(views: Mapping[str, View]) -> pd.DataFrame:
    """Return the numbers of several views, a row for each setting and network."""
    return pd.DataFrame(
        dict(setting=name, network=title) | answer.figures()
        for name, view in views.items()
        for title, answer in view.answers.items()
    )


def _compare(before: tuple[np.ndarray, np.ndarray], after: tuple[np.ndarray, np.ndarray]) -> Answer:
    """Return how a network's answer to the covered face differs from that to the bare one."""
    (bare_maps, bare_feature), (maps, feature) = before, after
    limits = np.abs([bare_maps, maps]).max(axis=(0, 2, 3))
    (was, peaks), _ = largest_peaks(np.stack([bare_maps, maps]), CROP_SIZE)
    moved = np.linalg.norm(peaks - was, axis=-1)
    return Answer(maps, limits, peaks, moved, feature_difference(bare_feature, feature)[0])


_person = lru_cache(maxsize=PEOPLE)(build_identity)


@lru_cache(maxsize=KEPT)
def _rendered(seed: int, yaw: float, cover: str) -> Render:
    shot = draw_shot(
        seed, TWIN_SHOT, yaw=yaw, expression="neutral", lighting="even", occluder=cover
    )
    return render(_person(seed), shot)


def _as_set(face: Render) -> FaceSet:
    return FaceSet("explorer", face.image[None], np.zeros(1, np.int64), face.landmarks[None])


def _crop(face: FaceSet) -> np.ndarray:
    """Return the crop of one face that networks see, a copy, (96, 96, 3) uint8."""
    return np.array(face.images[0][CROP, CROP])
