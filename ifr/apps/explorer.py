"""One face under the reader's hand: turned or covered, and what each network's filters answer.

Nothing here knows of widgets; ``ifr.apps.explorer_panel`` puts it on the screen.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
import torch

from ifr.datasets import FaceSet
from ifr.datasets.paired import TWIN_SHOT
from ifr.experiment.filters import clean_faces
from ifr.experiment.run import Run
from ifr.faces import OCCLUDERS, Identity, Render, build_identity, draw_shot, render
from ifr.interpretation import changed_share, feature_difference, network_peaks, steady_filters
from ifr.landmarks import CROP_OFFSET, CROP_SIZE
from ifr.models import InterpretableFaceNet
from ifr.occlusion import occlude

RECTANGLE = "rectangle"
COVERS = (RECTANGLE, *OCCLUDERS)
PEOPLE = 8  # to choose from
STEADY_FACES = 48  # on which it is seen where filters look
CHANGED = 0.1  # of the largest change: a feature that changed more counts as changed (C20)
KEPT = 64  # rendered faces held for a reader who comes back to one

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Setting:
    """What the reader chose.

    Attributes:
        person: which of the explorer's people.
        yaw: degrees, -60 to 60; above 0 the face turns to the right of the picture.
        cover: ``"rectangle"`` for the warped black one of Sec. 3.3, an occluder, or ``"none"``.
        box: x, y, width, height of the rectangle in the frontal 96-pixel frame.
    """

    person: int = 0
    yaw: float = 0.0
    cover: str = RECTANGLE
    box: Box = (16.0, 36.0, 32.0, 12.0)  # over an eye

    def __post_init__(self) -> None:
        if self.cover not in COVERS:
            raise ValueError(f"cover must be one of {', '.join(COVERS)}, got {self.cover!r}")
        if not -60 <= self.yaw <= 60:
            raise ValueError(f"yaw must lie in -60..60 degrees, got {self.yaw}")


@dataclass(frozen=True, eq=False)
class Answer:
    """What one network answers to the covered face, and what it answered to the bare one.

    Attributes:
        maps: (K, h, w) LMF(ψ(Î)) of the covered face.
        limits: (K,) the largest magnitude of each filter on either face.
        peaks: (K, 2) pixels of the 96-pixel crop: where each map's magnitude is largest.
        moved: (K,) pixels that this place moved by when the face was covered.
        change: (K,) |f_i(I) - f_i(Î)| of features scaled to length 1.
    """

    maps: np.ndarray
    limits: np.ndarray
    peaks: np.ndarray
    moved: np.ndarray
    change: np.ndarray

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
    """A setting with all there is to show of it.

    Attributes:
        setting: what was chosen.
        bare: (96, 96, 3) uint8, the face without a cover.
        covered: (96, 96, 3) uint8, the face that the networks answer to.
        answers: by title of the network.
    """

    setting: Setting
    bare: np.ndarray
    covered: np.ndarray
    answers: dict[str, Answer]

    def table(self) -> pd.DataFrame:
        """Return the numbers of every answer, one row a network."""
        rows = [dict(network=title) | one.figures() for title, one in self.answers.items()]
        return pd.DataFrame(rows)


class Explorer:
    """Renders people of a run as the reader turns and covers them, and asks networks about them.

    Args:
        run: whose held-out people are shown, with its mesh and input size.
        models: networks in evaluation mode, by the title they are shown with.
        people: how many people there are to choose from, fewer if fewer are held out.
    """

    def __init__(
        self, run: Run, models: Mapping[str, InterpretableFaceNet], *, people: int = PEOPLE
    ):
        self.run = run
        self.models = {title: model.eval() for title, model in models.items()}
        seeds = np.unique(run.data("templates").attributes["identity_seed"])[:people]
        self.seeds = [int(seed) for seed in seeds]
        self._people: dict[int, Identity] = {}
        self._faces: dict[tuple[int, float, str], Render] = {}
        self._bare: dict[tuple[str, int, float], tuple[np.ndarray, np.ndarray]] = {}

    @cached_property
    def steady(self) -> dict[str, np.ndarray]:
        """Six filters of each network that keep to places far apart, as in Figure 1."""
        faces, found = clean_faces(self.run, STEADY_FACES), {}
        for title, model in self.models.items():
            found[title] = steady_filters(network_peaks(model, faces, size=self.run.size), 6)
        return found

    def face(self, person: int, yaw: float, cover: str = "none") -> Render:
        """Return a person's face, turned, and wearing an occluder or nothing; kept once made."""
        if not 0 <= person < len(self.seeds):
            raise ValueError(f"person must be 0..{len(self.seeds) - 1}, got {person}")
        key = (person, float(yaw), cover)
        if key not in self._faces:
            seed = self.seeds[person]
            if person not in self._people:
                self._people[person] = build_identity(seed)
            shot = draw_shot(
                seed,
                TWIN_SHOT,
                yaw=float(yaw),
                expression="neutral",
                lighting="even",
                occluder=cover,
            )
            self._faces[key] = render(self._people[person], shot)
            while len(self._faces) > KEPT:
                self._faces.pop(next(iter(self._faces)))
        return self._faces[key]

    @torch.inference_mode()
    def look(self, setting: Setting) -> View:
        """Render a setting and return what the networks answer."""
        bare = _as_set(self.face(setting.person, setting.yaw))
        covered, images = bare, self.run.images(bare)
        if setting.cover == RECTANGLE:
            twin = occlude(images, self.run.points(bare), setting.box, mesh=self.run.crop_mesh)[0]
        else:
            covered = _as_set(self.face(setting.person, setting.yaw, setting.cover))
            twin = self.run.images(covered)
        crop = slice(CROP_OFFSET, CROP_OFFSET + CROP_SIZE)
        pictures = [np.array(one.images[0][crop, crop]) for one in (bare, covered)]
        if setting.cover == RECTANGLE:
            whole = torch.from_numpy(pictures[0])[None].permute(0, 3, 1, 2).float()
            points = torch.from_numpy(self.run.crop_landmarks(bare))
            hidden = occlude(whole, points, setting.box, mesh=self.run.crop_mesh)[1][0]
            pictures[1][hidden.numpy()] = 0
        answers = {
            title: self._answer(title, model, setting, images, twin)
            for title, model in self.models.items()
        }
        return View(setting, *pictures, answers)

    def _answer(
        self,
        title: str,
        model: InterpretableFaceNet,
        setting: Setting,
        images: torch.Tensor,
        twin: torch.Tensor,
    ) -> Answer:
        key = (title, setting.person, float(setting.yaw))
        if key not in self._bare:
            self._bare[key] = self._ask(model, images)
            while len(self._bare) > KEPT * len(self.models):
                self._bare.pop(next(iter(self._bare)))
        before, feature = self._bare[key]
        after, twins_feature = self._ask(model, twin)
        places = [_places(maps) for maps in (before, after)]
        magnitude = np.maximum(np.abs(before), np.abs(after))
        return Answer(
            maps=after,
            limits=magnitude.max(axis=(1, 2)),
            peaks=places[1],
            moved=np.linalg.norm(places[1] - places[0], axis=-1),
            change=feature_difference(feature, twins_feature)[0],
        )

    def _ask(
        self, model: InterpretableFaceNet, images: torch.Tensor
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return LMF(ψ(I)) (K, h, w) and f(I) (1, K)."""
        images = images.contiguous(memory_format=torch.channels_last)
        features, response = model.features_and_response(images)
        return response[0].float().numpy(), features.float().numpy()


def presets(boxes: Mapping[str, Box]) -> dict[str, Setting]:
    """Return settings for a picture on paper: a person under each box, then turned, then worn."""
    first = Setting()
    found = {name: replace(first, box=tuple(map(float, box))) for name, box in boxes.items()}
    found["turned, mask over the eye"] = replace(first, yaw=40.0)
    found["sunglasses"] = replace(first, cover="sunglasses")
    return found


def measure(views: Mapping[str, View]) -> pd.DataFrame:
    """Return the numbers of several views, a row for each setting and network."""
    tables = [view.table() for view in views.values()]
    for name, table in zip(views, tables, strict=True):
        table.insert(0, "setting", name)
    return pd.concat(tables, ignore_index=True)


def _places(maps: np.ndarray) -> np.ndarray:
    """Return the centre of the cell where each map (K, h, w) is largest in magnitude, (K, 2)."""
    height, width = maps.shape[1:]
    index = np.abs(maps).reshape(len(maps), -1).argmax(axis=1)
    cell = np.stack([index % width, index // width], axis=-1) + 0.5
    return cell * (CROP_SIZE / np.array([width, height]))


def _as_set(face: Render) -> FaceSet:
    return FaceSet("explorer", face.image[None], np.zeros(1, np.int64), face.landmarks[None])
