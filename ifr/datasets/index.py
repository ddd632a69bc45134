"""What a reader found: the faces, how many of what, and what is wrong or missing."""

from dataclasses import dataclass
from typing import Any

from ifr.datasets.face_set import FaceSet


@dataclass(frozen=True)
class Issue:
    """One thing that is missing, unreadable or out of place in a data set on disk.

    Attributes:
        kind: a few words that group issues: ``"stray file"``, ``"missing image"``.
        where: the file, line or template.
        impact: what is lost by it: ``"its 3 images cannot be in any pair"``.
    """

    kind: str
    where: str
    impact: str


@dataclass(frozen=True)
class DatasetIndex:
    """A data set as it lies on disk, before alignment.

    Attributes:
        faces: images that are decoded when read (``LazyImages``). Standard attributes, all (N,):
            ``file`` text, the path below the root that names an image in protocols; ``subject``
            text, the identity's own name; ``identity`` numbers the sorted subjects from 0 on.
            Readers may add ``five_points`` (N, 5, 2) float32 pixels in the order of
            ``ARCFACE_TEMPLATE``, with NaN where unknown, and ``box`` (N, 4) float32 x, y, width,
            height of the face in the image, with NaN where unknown.
        counts: what was counted, by the names of ``PUBLISHED``: ``images``, ``identities``, and
            others of that format.
        issues: what is wrong or missing; empty when nothing is.
        protocol: what the format says of pairs, folds or templates, or None.
    """

    faces: FaceSet
    counts: dict[str, int]
    issues: tuple[Issue, ...] = ()
    protocol: Any = None
