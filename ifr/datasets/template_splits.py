"""Template protocols on procedural sets: who is enrolled, who is searched, who is compared."""

from dataclasses import dataclass

import numpy as np

from ifr.common.errors import UserError
from ifr.common.seeding import stream
from ifr.datasets import FaceSet
from ifr.datasets.templates import Templates

SPLITS = 10  # as IJB-A
SHARE = 2 / 3  # of the held-out identities in each split; IJB-A tests 167 of 500 subjects a split
GALLERY_IMAGES = 4  # clean images of a gallery template
PROBE_IMAGES = (1, 3)  # images of a probe template, both ends included
IMPOSTORS_PER_GENUINE = 6  # IJB-A compares about 10,000 impostor to 1,700 genuine pairs


@dataclass(frozen=True, eq=False)
class TemplateSplit:
    """One random split.

    Attributes:
        gallery: enrolled templates of clean images, one a person.
        probes: searched templates, either all clean or all occluded; each has a mate enrolled.
        pairs: (M, 2) probe and gallery template of each comparison.
    """

    gallery: Templates
    probes: Templates
    pairs: np.ndarray

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
    """Draw template splits, the stand-in for the ten splits of IJB-A.

    Each split takes two thirds of the identities. A person's gallery template holds four clean
    images, the other images are dealt into probe templates of one to three, clean and occluded ones
    apart.

    Args:
        faces: a held-out set with the attribute ``occluder``.
        splits: how many.
        share: of the identities in each split; 1 for all of them.
        seed: of the named streams.
    """
    if "occluder" not in faces.attributes:
        raise UserError(f"set {faces.name!r} has no attribute 'occluder' to build templates from")
    return [_draw_split(faces, share, stream(seed, "protocol/templates", k)) for k in range(splits)]


def _draw_split(faces: FaceSet, share: float, rng: np.random.Generator) -> TemplateSplit:
    occluded = faces.attributes["occluder"] != "none"
    people = np.unique(faces.identity)
    chosen = np.sort(rng.permutation(people)[: max(2, round(share * len(people)))])
    gallery, probes, probe_ids = [], [], []
    for person in chosen:
        own = np.flatnonzero(faces.identity == person)
        clean = rng.permutation(own[~occluded[own]])
        if len(clean) < 2:
            raise UserError(
                f"identity {person} of set {faces.name!r} has {len(clean)} clean images; a gallery "
                "and a probe template need at least 2"
            )
        enrolled = min(GALLERY_IMAGES, len(clean) - 1)
        gallery.append(np.sort(clean[:enrolled]))
        hidden = rng.permutation(own[occluded[own]])
        dealt = _deal(clean[enrolled:], rng) + _deal(hidden, rng)
        probes += dealt
        probe_ids += [person] * len(dealt)
    searched = _as_templates(probes, np.array(probe_ids), occluded)
    pairs = _draw_pairs(searched.subjects, chosen, rng)
    return TemplateSplit(_as_templates(gallery, chosen, occluded), searched, pairs)


def _as_templates(rows: list[np.ndarray], subjects: np.ndarray, occluded: np.ndarray) -> Templates:
    """Put templates given by their rows together; every image is a medium of its own."""
    starts = np.cumsum([0, *(len(one) for one in rows)])
    flat = np.concatenate(rows)
    return Templates(np.arange(len(rows)), subjects, flat, flat, starts, occluded[flat])


def _deal(images: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Deal images into templates of one to three."""
    dealt, first = [], 0
    while first < len(images):
        size = int(rng.integers(PROBE_IMAGES[0], PROBE_IMAGES[1], endpoint=True))
        dealt.append(np.sort(images[first : first + size]))
        first += size
    return dealt


def _draw_pairs(
    probe_ids: np.ndarray, gallery_ids: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Pair each probe with its mate and with some others of the gallery."""
    count = len(gallery_ids)
    mate = np.searchsorted(gallery_ids, probe_ids)
    others = min(IMPOSTORS_PER_GENUINE, count - 1)
    steps = np.argsort(rng.random((len(probe_ids), count - 1)), axis=1)[:, :others] + 1
    columns = np.concatenate([mate[:, None], (mate[:, None] + steps) % count], axis=1)
    rows = np.repeat(np.arange(len(probe_ids)), columns.shape[1])
    return np.stack([rows, columns.ravel()], axis=1)
