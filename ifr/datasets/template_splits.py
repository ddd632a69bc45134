"""Template protocols on procedural sets: who is enrolled, who is searched, who is compared."""

from dataclasses import dataclass

import numpy as np

from ifr.common.errors import UserError
from ifr.common.seeding import stream
from ifr.datasets import FaceSet
from ifr.datasets.index import Templates

SPLITS = 10  # as IJB-A
SHARE = 2 / 3  # of the held-out identities in each split; IJB-A tests 167 of 500 subjects a split
GALLERY_IMAGES = 4  # clean images of a gallery template
PROBE_IMAGES = (1, 3)  # images of a probe template, both ends included


@dataclass(frozen=True, eq=False)
class TemplateSplit:
    """One random split."""

    gallery: Templates  # enrolled templates of clean images, one a person
    probes: Templates  # searched, either all clean or all occluded; each has a mate enrolled
    pairs: np.ndarray  # (M, 2) probe and gallery template of each comparison: all there are

    @property
    def gallery_ids(self) -> np.ndarray:
        """(G,) person of each gallery template."""
        return self.gallery.subjects

    @property
    def probe_ids(self) -> np.ndarray:
        """(P,) person of each probe template."""
        return self.probes.subjects

    @property
    def probe_occluded(self) -> np.ndarray:
        """(P,) whether the images of a probe template carry a natural occluder."""
        return self.probes.occluded[self.probes.starts[:-1]]

    @property
    def same(self) -> np.ndarray:
        """(M,) whether a pair is of one person."""
        return self.probe_ids[self.pairs[:, 0]] == self.gallery_ids[self.pairs[:, 1]]


def template_splits(
    faces: FaceSet, *, splits: int = SPLITS, share: float = SHARE, seed: int = 0
) -> list[TemplateSplit]:
    """Draw template splits of a held-out set, the stand-in for IJB-A's, each of a share of people.

    Four clean images enrol a person; the others make probes, clean and occluded ones apart.
    """
    if "occluder" not in faces.attributes:
        raise UserError(f"set {faces.name!r} has no attribute 'occluder' to build templates from")
    return [_draw_split(faces, share, stream(seed, "protocol/templates", k)) for k in range(splits)]


def _draw_split(faces: FaceSet, share: float, rng: np.random.Generator) -> TemplateSplit:
    occluded = faces.attributes["occluder"] != "none"
    people, counts = np.unique(faces.identity, return_counts=True)
    groups = np.split(np.argsort(faces.identity, kind="stable"), np.cumsum(counts)[:-1])
    rows_of = dict(zip(people.tolist(), groups, strict=True))
    chosen = np.sort(rng.permutation(people)[: max(2, round(share * len(people)))])
    gallery, probes = [], []
    owners: list[int] = []
    for person in chosen:
        own = rows_of[int(person)]
        clean = rng.permutation(own[~occluded[own]])
        if len(clean) < 2:
            fault = f"identity {person} of set {faces.name!r} has {len(clean)} clean images"
            raise UserError(f"{fault}; a gallery and a probe template need at least 2")
        enrolled = min(GALLERY_IMAGES, len(clean) - 1)
        gallery.append(np.sort(clean[:enrolled]))
        hidden = rng.permutation(own[occluded[own]])
        probes += _deal(clean[enrolled:], rng) + _deal(hidden, rng)
        owners += [person] * (len(probes) - len(owners))
    searched = _as_templates(probes, np.array(owners), occluded)
    pairs = np.indices((len(searched), len(chosen))).reshape(2, -1).T
    return TemplateSplit(_as_templates(gallery, chosen, occluded), searched, pairs)


def _as_templates(rows: list[np.ndarray], subjects: np.ndarray, occluded: np.ndarray) -> Templates:
    """Put templates given by their rows together; every image is a medium of its own."""
    starts = np.cumsum([0, *(len(one) for one in rows)])
    flat = np.concatenate(rows)
    return Templates(np.arange(len(rows)), subjects, flat, flat, starts, occluded[flat])


def _deal(images: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Deal images into templates of one to three."""
    dealt = []
    while len(images):
        size = int(rng.integers(*PROBE_IMAGES, endpoint=True))
        dealt.append(np.sort(images[:size]))
        images = images[size:]
    return dealt
