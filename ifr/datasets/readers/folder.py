"""Photographs as ``ROOT/identity/image.jpg``: CASIA-WebFace, CelebA and whatever else."""

from pathlib import Path

from ifr.common.errors import UserError
from ifr.datasets.index import DatasetIndex, Issue
from ifr.datasets.readers.images import Files, is_image, photograph_set, require

LAYOUT = "expected one folder for each identity with its images: ROOT/identity/image.jpg"


def read_folder(root: Path, *, name: str | None = None) -> DatasetIndex:
    """Read a folder of identities, named as itself if None; all but full images are issues."""
    root = require(root, LAYOUT, "folder")
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
    faces = photograph_set(name or root.resolve().name, Files(root, files), subjects)
    counts = dict(images=len(files), identities=len(set(subjects)))
    return DatasetIndex(faces, counts, tuple(issues))


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
