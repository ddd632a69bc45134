"""Template protocols on procedural sets: who is enrolled, who is searched, who is compared."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ifr.common.errors import UserError
from ifr.common.seeding import stream
from ifr.datasets import FaceSet
from ifr.datasets.index import Templates

SPLITS = 10  # as IJB-A
SHARE = 2 / 3  # of the held-out identities in each split; IJB-A tests 167 of 500 subjects a split
GALLERY_IMAGES = 2  # clean ones of a gallery template: the base is then as good as the paper's
PROBE_IMAGES = (1, 3)  # images of a probe template, both ends included


@dataclass(frozen=True, eq=False)
class TemplateSplit:
    """One random split."""

    gallery: Templates  # enrolled templates of clean images, one a person
    probes: Templates  # searched, either all clean or all occluded; each has a mate enrolled

    @property
    def pairs(self) -> np.ndarray:
        """(M, 2) probe and gallery template of each comparison: all there are."""
        return np.indices((len(self.probes), len(self.gallery))).reshape(2, -1).T

    @property
    def same(self) -> np.ndarray:
        """(M,) whether a pair is of one person."""
        return (self.probes.subjects[:, None] == self.gallery.subjects).ravel()

    @property
    def gallery_ids(self) -> np.ndarray:
        """(G,) person of each gallery template."""
        return self.gallery.subjects

    @property
    def probe_occluded(self) -> np.ndarray:
        """(P,) whether the images of a probe template carry a natural occluder."""
        return self.probes.occluded[self.probes.starts[:-1]]


def template_splits(
    faces: FaceSet, *, splits: int = SPLITS, share: float = SHARE, seed: int = 0
) -> list[TemplateSplit]:
    """Draw splits as IJB-A has: two clean images enrol a person, the others make probes."""
    if "occluder" not in faces.attributes:
        raise UserError(f"set {faces.name!r} has no attribute 'occluder' to build templates from")
    return [_draw_split(faces, share, stream(seed, "protocol/templates", k)) for k in range(splits)]


def _draw_split(faces: FaceSet, share: float, rng: np.random.Generator) -> TemplateSplit:
    occluded, people = faces.attributes["occluder"] != "none", np.unique(faces.identity)
    chosen = np.sort(rng.permutation(people)[: max(2, round(share * len(people)))])
    rows_of = pd.Series(faces.identity).groupby(faces.identity).indices
    gallery, probes, owners = [], list[np.ndarray](), list[int]()
    for person in chosen:
        own = rows_of[person]
        clean = rng.permutation(own[~occluded[own]])
        if len(clean) < 2:
            fault = f"identity {person} of set {faces.name!r} has {len(clean)} clean images"
            raise UserError(f"{fault}; a gallery and a probe template need at least 2")
        enrolled = min(GALLERY_IMAGES, len(clean) - 1)
        gallery.append(np.sort(clean[:enrolled]))
        for images in (clean[enrolled:], rng.permutation(own[occluded[own]])):
            while len(images):  # dealt into templates of one to three
                size = int(rng.integers(*PROBE_IMAGES, endpoint=True))
                probes.append(np.sort(images[:size]))
                images = images[size:]
        owners += [person] * (len(probes) - len(owners))
    searched = _as_templates(probes, np.array(owners), occluded)
    return TemplateSplit(_as_templates(gallery, chosen, occluded), searched)


def _as_templates(rows: list[np.ndarray], subjects: np.ndarray, occluded: np.ndarray) -> Templates:
    """Put templates given by their rows together; every image is a medium of its own."""
    starts, flat = np.cumsum([0, *map(len, rows)]), np.concatenate(rows)
    return Templates(np.arange(len(rows)), subjects, flat, flat, starts, occluded[flat])
