"""What a reader found: the faces, how many of what, and what is wrong or missing."""

from dataclasses import dataclass
from typing import Any

from ifr.datasets.face_set import FaceSet


@dataclass(frozen=True)
class Issue:
    """One thing that is missing, unreadable or out of place in a data set on disk."""

    kind: str  # a few words that group issues: "stray file", "missing image"
    where: str  # the file, line or template
    impact: str  # what is lost by it: "its 3 images cannot be in any pair"


@dataclass(frozen=True)
class DatasetIndex:
    """A data set as it lies on disk, before alignment.

    The images of ``faces`` are decoded when read (``LazyImages``). Attributes, all of length N:
    ``file``, the path below the root that names an image in protocols; ``subject``, the name of
    the identity, which ``identity`` numbers in sorted order from 0 on. Readers may add, in pixels
    and with NaN where unknown, ``five_points`` (N, 5, 2) float32 in the order of
    ``ARCFACE_TEMPLATE``, and ``box`` (N, 4) float32: x, y, width, height of the face.
    """

    faces: FaceSet
    counts: dict[str, int]  # of images, identities and what else published_sets.csv has
    issues: tuple[Issue, ...] = ()
    protocol: Any = None  # what the format says of pairs, folds or templates
