"""Photographs as ``ROOT/identity/image.jpg``: CASIA-WebFace, CelebA and whatever else."""

from pathlib import Path

import numpy as np

from ifr.datasets import FaceSet
from ifr.datasets.index import DatasetIndex, Issue
from ifr.datasets.readers.images import SUFFIXES, Files, LazyImages

LAYOUT = "expected one folder for each identity with its images: ROOT/identity/image.jpg"


def read_folder(root: Path, *, name: str | None = None) -> DatasetIndex:
    """Read a folder of identities.

    Args:
        root: holds one folder for each identity, which holds its images.
        name: of the set; the folder's own if None.

    Returns:
        Faces in the order of identity and file name. What is no image, lies elsewhere or is empty
        is a problem of the reading. ``counts``: images, identities.

    Raises:
        FileNotFoundError: if the folder is not there or holds no identity with an image.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder; {LAYOUT}")
    files, subjects, problems, loose = [], [], [], 0
    for entry in sorted(root.iterdir(), key=lambda path: path.name):
        if not entry.is_dir():
            loose += is_image(entry)
            impact = "none of its people is known" if is_image(entry) else "none"
            problems.append(Issue("stray file", entry.name, impact))
            continue
        found = _images_of(entry, root, problems)
        files += found
        subjects += [entry.name] * len(found)
    if not files:
        seen = f"; {loose} images lie in {root} itself" if loose else ""
        raise FileNotFoundError(f"{root} holds no identity with an image; {LAYOUT}{seen}")
    people, identity = np.unique(subjects, return_inverse=True)
    attributes = {"file": np.array(files), "subject": np.array(subjects)}
    faces = FaceSet(
        name or root.resolve().name,
        LazyImages(Files(root, files)),
        identity.astype(np.int64),
        None,
        attributes,
    )
    return DatasetIndex(faces, dict(images=len(files), identities=len(people)), tuple(problems))


def is_image(path: Path) -> bool:
    """Return whether a path has the suffix of an image and is not hidden."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _images_of(folder: Path, root: Path, problems: list[Issue]) -> list[str]:
    """Return the images of one identity relative to the root; note what else is there."""
    found = []
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        relative = path.relative_to(root).as_posix()
        if path.is_dir():
            problems.append(Issue("folder in an identity", relative, "its files are not read"))
        elif not is_image(path):
            problems.append(Issue("stray file", relative, "none"))
        elif path.stat().st_size == 0:
            problems.append(Issue("empty file", relative, f"{folder.name} has an image less"))
        else:
            found.append(relative)
    if not found:
        problems.append(Issue("identity without images", folder.name, "one identity less"))
    return found
