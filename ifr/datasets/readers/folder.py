"""Photographs as ``ROOT/identity/image.jpg``: CASIA-WebFace, CelebA and whatever else."""

import errno
import os
import stat
from pathlib import Path

import cv2
import pandas as pd

from ifr.common.errors import UserError
from ifr.datasets.index import DatasetIndex, Issue
from ifr.datasets.readers.images import SUFFIXES, Files, photograph_set, require

LAYOUT = "expected one folder for each identity with its images: ROOT/identity/image.jpg"
NOT_READ = (".heic", ".heif", ".avif", ".jxl", ".jp2", ".dng", ".cr2", ".nef", ".arw", ".raw")
NO_PEOPLE = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "lost+found")  # put there by systems
REASONS = {errno.EACCES: "no permission", errno.ENOENT: "dangling link", errno.ELOOP: "link loop"}


def read_folder(root: Path, *, name: str | None = None, level: int | None = None) -> DatasetIndex:
    """Read a folder of identities, named as itself if None; all but full images are issues.

    The folders at ``level`` name the identities, whose images may lie at any depth below: 1 for
    those in the root; None is 1, but refuses folders that look like groups of people.
    """
    root, issues, depth = require(root, LAYOUT, "folder"), list[Issue](), level or 1
    found = list_images(root, root, issues)
    files = [file for file in found if file.count("/") >= depth]
    loose = [file for file in found if file.count("/") < depth]
    issues += [Issue("stray file", file, "none of its people is known") for file in loose]
    if not files:
        seen = f"; {len(loose)} images lie in {root} itself" if loose else ""
        raise UserError(f"{root} holds no identity with an image; {LAYOUT}{seen}")
    if level is None:
        _refuse_groups(root, files)
    subjects = [file.split("/")[depth - 1] for file in files]
    names = pd.Series(sorted(set(subjects)))
    impact = "counted as different people though only case or accents' form differ"
    for _, alike in names.groupby(names.str.normalize("NFC").str.casefold()):
        issues += [Issue("names alike", ", ".join(alike), impact)] if len(alike) > 1 else []
    faces = photograph_set(name or root.resolve().name, Files(root, files), subjects)
    return DatasetIndex(faces, dict(images=len(files), identities=len(names)), tuple(issues))


def list_images(
    folder: Path, root: Path, issues: list[Issue], above: tuple[tuple[int, int], ...] = ()
) -> list[str]:
    """Return the images in and below a folder, by paths relative to the root, links followed."""
    here, files = folder.relative_to(root).as_posix(), list[str]()
    try:
        status = folder.stat()
        place = status.st_dev, status.st_ino
        if place in above:
            raise OSError(errno.ELOOP, "")
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        issues.append(Issue(_reason(error), here, "its images are not read from here"))
        return []
    for entry in entries:
        path = entry.name if folder == root else f"{here}/{entry.name}"
        try:
            entry.name.encode()
            hidden = entry.name.startswith(".") or entry.name in NO_PEOPLE
            if entry.is_dir() and not hidden:
                files += list_images(folder / entry.name, root, issues, (*above, place))
            elif problem := ("hidden folder", "not read") if entry.is_dir() else _problem(entry):
                issues.append(Issue(problem[0], path, problem[1]))
            else:
                files.append(path)
        except UnicodeEncodeError:
            path = os.fsencode(path).decode(errors="backslashreplace")
            issues.append(Issue("name not in UTF-8", path, "not read: rename it"))
        except OSError as error:
            issues.append(Issue(_reason(error), path, "not read"))
    if not files and folder != root:
        issues.append(Issue("folder without images", here, "no person"))
    return files


def _problem(entry: os.DirEntry) -> tuple[str, str] | None:
    """Return kind and impact of a file that is not read, None for an image."""
    status, suffix = entry.stat(), Path(entry.name).suffix.lower()
    if not stat.S_ISREG(status.st_mode):
        return "neither file nor folder", "not read"
    if entry.name.startswith("."):
        return "stray file", "none"
    if suffix in SUFFIXES:
        return None if status.st_size else ("empty file", "an image less")
    if suffix in NOT_READ or cv2.haveImageReader(entry.path):
        return "image whose ending is not read", "an image less: save it as .jpg or .png"
    return "stray file", "none"


def _reason(error: OSError) -> str:
    return REASONS.get(error.errno or 0, str(error.strerror))


def _refuse_groups(root: Path, files: list[str]) -> None:
    """Refuse folders of folders of more names than they have themselves: groups of people?"""
    folders = [file.split("/")[:-1] for file in files]
    if min(map(len, folders)) == 1:
        return
    depths = range(max(map(len, folders)))
    names = [sorted({parts[k] for parts in folders if len(parts) > k}) for k in depths]
    deep = max(depths, key=lambda depth: len(names[depth]))
    if deep:
        first, second = names[0], names[deep]
        seen = f"its {len(first)} folders, such as {first[0]}, hold no images but folders of"
        choice = f"--level 1 if {first[0]} is a person, --level {deep + 1} if {second[0]} is"
        raise UserError(f"{root}: {seen} {len(second)} names, such as {second[0]}: give {choice}")
