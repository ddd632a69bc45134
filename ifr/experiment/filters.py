"""The faces on which a run looks at its filters, and the filters' peaks on them."""

import numpy as np

from ifr.common import seeding
from ifr.datasets import FaceSet
from ifr.experiment.run import Run
from ifr.interpretation import Peaks, network_peaks


def clean_faces(run: Run, count: int | None = None, name: str = "templates") -> FaceSet:
    """Return random faces of a set, without an occluder where the set names them (Sec. 4.2).

    ``count``, or all there are if fewer, is the profile's ``analysis_images`` if None.
    """
    faces = run.data(name)
    occluders = faces.attributes.get("occluder", np.full(len(faces), "none"))
    clean = np.flatnonzero(np.asarray(occluders) == "none")
    count = min(count or run.profile.analysis_images, len(clean))
    chosen = seeding.stream(run.seed, "analysis/faces").choice(clean, count, replace=False)
    return faces[np.sort(chosen)]


def filter_peaks(run: Run, variant: str, faces: FaceSet) -> Peaks:
    """Return the peaks of a trained variant's filters on faces."""
    return network_peaks(run.model(variant), faces, size=run.size)
