"""Make the course: python scripts/course.py [01 04 ...] [--to FOLDER]

nbgrader's release of the exercises for students and the instructor's copy, in a folder that
nbgrader works in.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import nbformat
from run_cells import BEGIN_HIDDEN, SECONDS

from ifr.common import paths
from ifr.common.errors import UserError
from ifr.common.files import write_text, written_whole

SOURCES = paths.SOURCE / "scripts" / "exercises"  # with solutions and hidden tests
RELEASE = paths.notebooks() / "exercises"  # as students get them
POINTS = 20  # of an exercise, those given by hand included
GUIDE, SETTINGS = "README.md", "nbgrader_config.py"
SECRETS = ("BEGIN SOLUTION", "END SOLUTION", "HIDDEN TESTS", "MARK SCHEME")

CONFIG = f"""# Settings of nbgrader for this course; run nbgrader in this folder.
c = get_config()  # noqa: F821
c.CourseDirectory.course_id = "ifr"
c.Execute.timeout = {SECONDS}
"""


def exercises(numbers: Collection[str] = ()) -> list[Path]:
    """Return the notebooks of the exercises, with solutions, in order; ``("01", "04")`` or all."""
    sources = {path.name[:2]: path for path in sorted(SOURCES.glob("[0-9][0-9]_*.ipynb"))}
    if not sources:
        raise UserError(f"no exercises in {SOURCES}: run in a checkout of the project")
    unknown = sorted(set(numbers) - set(sources))
    if unknown:
        raise UserError(f"no exercise {', '.join(unknown)}: choose from {', '.join(sources)}")
    return [path for number, path in sources.items() if not numbers or number in numbers]


def build(target: Path, numbers: Collection[str] = ()) -> Path:
    """Make the course folder: ``source`` for the teacher, ``release`` for the students.

    Built again it gets the exercises as they are now; what students handed in and what was graded
    stays. An exercise that is not in nbgrader's form is refused by notebook and cell.
    """
    chosen = exercises(numbers)
    for path in chosen:
        require_form(path)
    paths.require_writable(target)
    write_text(target / SETTINGS, CONFIG)
    shutil.copy(SOURCES / GUIDE, target)
    with nbgrader_api(target) as api:
        for path in chosen:
            with written_whole(target / "source" / path.stem / path.name) as temporary:
                shutil.copy(path, temporary)
            require_success(api.generate_assignment(path.stem, force=True, create=True), path.name)
            release = (target / "release" / path.stem / path.name).read_text(encoding="utf-8")
            left = [word for word in SECRETS if word in release]
            if left:
                raise UserError(f"the release of {path.name} still shows {', '.join(left)}")
    return target


def require_form(path: Path) -> None:
    """Refuse a notebook that nbgrader cannot release and grade as an exercise of this course."""
    seen: set[str] = set()
    points = 0
    for index, cell in enumerate(nbformat.read(path, as_version=4).cells):
        if "nbgrader" not in cell.metadata:
            continue
        settings = cell.metadata["nbgrader"]
        where = f"{path.name}, cell {index} ({settings.get('grade_id')!r})"
        if settings.get("schema_version") != 3:
            raise UserError(f"{where}: schema_version must be 3, got {settings}")
        if settings["grade_id"] in seen:
            raise UserError(f"{where}: this grade_id is used twice")
        seen.add(settings["grade_id"])
        is_test = settings["grade"] and cell.cell_type == "code" and not settings["solution"]
        if is_test and BEGIN_HIDDEN not in cell.source:
            raise UserError(f"{where}: a test needs hidden tests beside those students see")
        points += settings["points"] if settings["grade"] else 0
    if points != POINTS:
        raise UserError(f"{path.name}: its points add up to {points}, not to {POINTS}")


@contextmanager
def nbgrader_api(course: Path) -> Iterator[Any]:
    """Give nbgrader's interface for a course folder; meanwhile it finds this Python's programs."""
    try:
        from nbgrader.apps.api import NbGraderAPI
        from traitlets.config import PyFileConfigLoader
    except ModuleNotFoundError:
        raise UserError("the course needs nbgrader: pip install 'ifr[course]'") from None
    config = PyFileConfigLoader(SETTINGS, path=str(course)).load_config()
    config.CourseDirectory.root = str(course.resolve())
    config.NbGraderAPI.log_level = "ERROR"
    programs = str(Path(sys.executable).parent)  # nbgrader starts alembic as a program
    path = os.pathsep.join([programs, os.environ.get("PATH", "")])
    prefer = os.environ.get("JUPYTER_PREFER_ENV_PATH", "1")  # the kernel of this environment
    with patch.dict(os.environ, PATH=path, JUPYTER_PREFER_ENV_PATH=prefer):
        yield NbGraderAPI(config=config)


def require_success(result: dict[str, Any], what: str) -> None:
    """Refuse what nbgrader failed on, with what it said."""
    if not result["success"]:
        raise UserError(f"nbgrader failed on {what}:\n{result.get('error') or result.get('log')}")


def main() -> None:
    """Build the course and say where it is."""
    parser = argparse.ArgumentParser(prog="ifr course build", description=build.__doc__)
    parser.add_argument("numbers", nargs="*", help="of exercises, such as 01 04; default: all")
    parser.add_argument("--to", type=Path, default=paths.home() / "course", help="its folder")
    parser.add_argument("--update", action="store_true", help=f"also the release in {RELEASE}")
    options = parser.parse_args()
    target = build(options.to, options.numbers)
    if options.update:
        for path in exercises(options.numbers):
            with written_whole(RELEASE / path.name) as temporary:
                shutil.copy(target / "release" / path.stem / path.name, temporary)
    print(f"students: {target / 'release'}\ninstructor: {target / 'source'}")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(f"ifr: {error}", file=sys.stderr)
        sys.exit(2)
