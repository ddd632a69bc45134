"""Photographs as ``ROOT/identity/image.jpg``: CASIA-WebFace, CelebA and whatever else."""

from pathlib import Path

from ifr.common.errors import UserError
from ifr.datasets.index import DatasetIndex, Issue
from ifr.datasets.readers.images import SUFFIXES, Files, photograph_set

LAYOUT = "expected one folder for each identity with its images: ROOT/identity/image.jpg"


def read_folder(root: Path, *, name: str | None = None) -> DatasetIndex:
    """Read a folder of identities, ``root/identity/image.jpg``.

    Args:
        root: holds one folder for each identity, which holds its images.
        name: of the set; the folder's own if None.

    Returns:
        Faces in the order of identity and file name. What is no image, lies elsewhere or is empty
        is an issue. ``counts``: images, identities.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root} is not a folder; {LAYOUT}")
    files: list[str] = []
    issues: list[Issue] = []
    loose = 0
    for entry in sorted(root.iterdir(), key=lambda path: path.name):
        if entry.is_dir():
            files += _images_of(entry, root, issues)
            continue
        loose += is_image(entry)
        impact = "none of its people is known" if is_image(entry) else "none"
        issues.append(Issue("stray file", entry.name, impact))
    if not files:
        seen = f"; {loose} images lie in {root} itself" if loose else ""
        raise UserError(f"{root} holds no identity with an image; {LAYOUT}{seen}")
    subjects = [file.partition("/")[0] for file in files]
    faces = photograph_set(name or root.resolve().name, Files(root, files), files, subjects)
    return DatasetIndex(
        faces, dict(images=len(files), identities=len(set(subjects))), tuple(issues)
    )


def is_image(path: Path) -> bool:
    """Return whether a path has the suffix of an image and is not hidden."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _images_of(folder: Path, root: Path, issues: list[Issue]) -> list[str]:
    """Return the images of one identity relative to the root; note what else is there."""
    files = []
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        relative = path.relative_to(root).as_posix()
        if path.is_dir():
            issues.append(Issue("folder in an identity", relative, "its files are not read"))
        elif not is_image(path):
            issues.append(Issue("stray file", relative, "none"))
        elif path.stat().st_size == 0:
            issues.append(Issue("empty file", relative, f"{folder.name} has an image less"))
        else:
            files.append(relative)
    if not files:
        issues.append(Issue("identity without images", folder.name, "one identity less"))
    return files
