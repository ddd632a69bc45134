"""What the notebooks on filters share: the faces they look at, their peaks, and occluded twins."""

from dataclasses import dataclass

import numpy as np
import torch

from ifr import seeding
from ifr.datasets import FaceSet
from ifr.faces import build_identity, draw_shot, render
from ifr.interpretation import SIGNS, Peaks, average_locations, peak_locations
from ifr.models import InterpretableFaceNet, large_magnitude_filter
from ifr.run import CENTRE, Run

BATCH = 128  # faces whose response maps are held at once: 94 MB of 320 maps of 24 x 24 pixels
TWIN_SHOT = 500_000  # shot number of the twins, which no data set reaches


def clean_faces(run: Run, count: int | None = None, name: str = "templates") -> FaceSet:
    """Return random faces of held-out people at all poses, without an occluder (Sec. 4.2).

    Args:
        run: the run.
        count: how many; the profile's ``analysis_images`` if None, all there are if fewer.
        name: of the set.
    """
    everyone = run.data(name)
    clean = np.flatnonzero(np.asarray(everyone.attributes["occluder"]) == "none")
    count = min(count or run.profile.analysis_images, len(clean))
    chosen = seeding.stream(run.seed, "analysis/faces").choice(clean, count, replace=False)
    return everyone[np.sort(chosen)]


@torch.no_grad()
def network_peaks(
    model: InterpretableFaceNet,
    run: Run,
    faces: FaceSet,
    *,
    rate: float | None = None,
    box: tuple[float, float, float, float] | None = None,
) -> Peaks:
    """Return the peaks of every filter on faces, in the frontal 96-pixel frame.

    Args:
        model: in evaluation mode.
        run: whose mesh and input size are used.
        faces: with landmarks.
        rate: LMF rate; the network's own if None. Peaks do not depend on it, except that a filter
            may keep no response of one sign.
        box: rectangle of the frontal frame that is blackened on every face first.
    """
    rate = model.rate if rate is None else rate
    parts = []
    for first in range(0, len(faces), BATCH):
        some = faces[first : first + BATCH]
        images = run.images(some) if box is None else run.occluded_images(some, box)
        response = large_magnitude_filter(model.response(images).float(), rate)
        parts.append(peak_locations(response.numpy(), run.points96(some), run.mesh96))
    return Peaks.joined(parts)


def filter_peaks(run: Run, variant: str, faces: FaceSet) -> Peaks:
    """Return the peaks of a trained variant on faces."""
    return network_peaks(run.model(variant), run, faces)


def strongest_locations(peaks: Peaks) -> np.ndarray:
    """Return one average location for each filter: that of its stronger sign, (K, 2) pixels."""
    locations = np.stack([average_locations(*peaks.of(sign))[0] for sign in SIGNS])
    weights = np.stack([peaks.of(sign)[1].sum(axis=0) for sign in SIGNS])
    return locations[weights.argmax(axis=0), np.arange(locations.shape[1])]


@dataclass(frozen=True, eq=False)
class Twins:
    """Faces photographed twice, without and with an occluder, all else alike.

    Attributes:
        clean: the faces without it, with landmarks.
        occluded: the same faces with it.
        masks: (N, 96, 96) bool, where the occluder colours the 96-pixel crop.
    """

    clean: FaceSet
    occluded: FaceSet
    masks: np.ndarray


def render_twins(identity_seeds: np.ndarray, occluder: str, *, yaw: float | str = 0.0) -> Twins:
    """Photograph people with and without an occluder (Fig. 1).

    Args:
        identity_seeds: (N,) seeds of the identities.
        occluder: a name in ``OCCLUDERS``.
        yaw: of all faces, degrees; or a name in ``YAWS``.
    """
    pairs = [
        [
            render(identity, draw_shot(seed, TWIN_SHOT, yaw=yaw, expression="neutral",
                                       lighting="even", occluder=worn))
            for worn in ("none", occluder)
        ]
        for seed in map(int, identity_seeds)
        for identity in [build_identity(seed)]
    ]  # fmt: skip
    sets = [
        FaceSet(
            f"twins {name}",
            np.stack([pair[column].image for pair in pairs]),
            np.arange(len(pairs)),
            np.stack([pair[column].landmarks for pair in pairs]),
        )
        for column, name in enumerate(("clean", occluder))
    ]
    crop = slice(CENTRE, CENTRE + 96)
    masks = np.stack([pair[1].occluder_mask[crop, crop] for pair in pairs])
    return Twins(*sets, masks)
