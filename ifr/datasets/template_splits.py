"""Template protocols on procedural sets: who is enrolled, who is searched, who is compared."""

import numpy as np
import pandas as pd

from ifr.common.errors import UserError
from ifr.common.seeding import stream
from ifr.datasets import FaceSet
from ifr.datasets.index import Templates, TemplateTest

SPLITS = 10  # as IJB-A
SHARE = 2 / 3  # of the held-out identities in each split; IJB-A tests 167 of 500 subjects a split
GALLERY_IMAGES = 2  # clean ones of a gallery template: the base is then as good as the paper's
PROBE_IMAGES = (1, 3)  # images of a probe template, both ends included


def template_splits(
    faces: FaceSet, *, splits: int = SPLITS, share: float = SHARE, seed: int = 0
) -> list[TemplateTest]:
    """Draw splits as IJB-A has: two clean images enrol a person, the others make probes."""
    if "occluder" not in faces.attributes:
        raise UserError(f"set {faces.name!r} has no attribute 'occluder' to build templates from")
    return [_draw_split(faces, share, seed, number) for number in range(1, splits + 1)]


def _draw_split(faces: FaceSet, share: float, seed: int, number: int) -> TemplateTest:
    rng = stream(seed, "protocol/templates", number - 1)
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
            while len(images):  # templates of one to three, all clean or all occluded
                size = int(rng.integers(*PROBE_IMAGES, endpoint=True))
                probes.append(np.sort(images[:size]))
                images = images[size:]
        owners += [person] * (len(probes) - len(owners))
    searched, pairs = np.array(owners), np.indices((len(probes), len(gallery)), np.int32)
    pairs[1] += len(probes)  # every probe with every gallery template, which come after them
    search = _as_templates(probes, searched, occluded), _as_templates(gallery, chosen, occluded)
    verify = _as_templates([*probes, *gallery], np.append(searched, chosen), occluded)
    same = (searched[:, None] == chosen).ravel()
    return TemplateTest(verify, pairs.reshape(2, -1).T, same, (search,), number)


def _as_templates(rows: list[np.ndarray], subjects: np.ndarray, occluded: np.ndarray) -> Templates:
    """Put templates given by their rows together; every image is a medium of its own."""
    starts, flat = np.cumsum([0, *map(len, rows)]), np.concatenate(rows)
    return Templates(np.arange(len(rows)), subjects, flat, flat, starts, occluded[flat])
