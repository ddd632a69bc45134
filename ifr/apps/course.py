"""The course: nbgrader's student release of the exercises, and the proof that their grading works.

nbgrader makes the release and grades; this file lays the exercises out for it, and hands in the
reference solutions, the untouched release and wrong solutions to see what each of them scores.
"""

import ast
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from ifr.common import paths

POINTS = 20  # of an exercise, those given by hand included
SECONDS = 20  # a graded cell may take; a longer one is stopped and gets no points
MISTAKES = 2  # wrong solutions an exercise has at least
REFERENCE, UNTOUCHED = "reference", "untouched"
GUIDE = "README.md"
SECRETS = ("BEGIN SOLUTION", "END SOLUTION", "HIDDEN TESTS", "MARK SCHEME")

CONFIG = f"""# Settings of nbgrader for this course; run nbgrader in this folder.
c = get_config()  # noqa: F821
c.CourseDirectory.course_id = "ifr"
c.Execute.timeout = {SECONDS}
"""


@dataclass(frozen=True)
class Mistake:
    """A wrong solution that a good student might hand in.

    Attributes:
        name: of its file.
        why: what is wrong.
        loses: grade ids of the test cells that must find it; all others must pass.
        cells: source of the answer cells that hold it, by grade id.
    """

    name: str
    why: str
    loses: frozenset[str]
    cells: dict[str, str]


@dataclass(frozen=True)
class Grade:
    """What one submission of one exercise scored.

    Attributes:
        exercise: its name.
        submission: ``"reference"``, ``"untouched"`` or the name of a wrong solution.
        points: given by the tests.
        most: that the tests can give.
        lost: grade ids of the tests that gave fewer points than they can.
        problem: why this is not what the submission must score; empty where it is.
        seconds: the grading took, the start of the kernel included.
    """

    exercise: str
    submission: str
    points: float
    most: float
    lost: frozenset[str]
    problem: str
    seconds: float

    def __str__(self) -> str:
        """Return one line for a terminal."""
        lost = f", loses {', '.join(sorted(self.lost))}" if self.lost else ""
        word = f"  WRONG: {self.problem}" if self.problem else ""
        share = f"{self.points:g} of {self.most:g} points"
        return f"{self.exercise} {self.submission}: {share}{lost} ({self.seconds:.0f} s){word}"


def exercises(numbers: Collection[str] = ()) -> list[Path]:
    """Return the notebooks of the exercises, with solutions, in order.

    Args:
        numbers: such as ``("01", "04")``; empty for all.

    Raises:
        FileNotFoundError: where there are none, as outside a checkout.
        ValueError: for an unknown number.
    """
    found = sorted(paths.exercises().glob("[0-9][0-9]_*.ipynb"))
    if not found:
        raise FileNotFoundError(
            f"no exercises in {paths.exercises()}: run from a checkout of the project, or set "
            "IFR_HOME to one"
        )
    known = [path.name[:2] for path in found]
    unknown = sorted(set(numbers) - set(known))
    if unknown:
        raise ValueError(f"no exercise {', '.join(unknown)}: choose from {', '.join(known)}")
    return [path for path in found if not numbers or path.name[:2] in numbers]


def build(target: Path, numbers: Collection[str] = ()) -> Path:
    """Make the course folder: ``source`` for the teacher, ``release`` for the students.

    The folder is one that nbgrader works in, with its gradebook. Built again it gets the exercises
    as they are now; what students handed in and what was graded stays.

    Args:
        target: the folder; made if needed.
        numbers: of exercises; empty for all.

    Raises:
        ModuleNotFoundError: without nbgrader.
        ValueError: if an exercise is not in nbgrader's form, naming the notebook and the cell.
    """
    chosen = exercises(numbers)
    for path in chosen:
        require_form(path)
    api = _nbgrader(paths.require_writable(target))
    (target / "nbgrader_config.py").write_text(CONFIG, encoding="utf-8")
    if (paths.exercises() / GUIDE).exists():
        shutil.copy(paths.exercises() / GUIDE, target / GUIDE)
    for path in chosen:
        source = target / "source" / path.stem
        source.mkdir(parents=True, exist_ok=True)
        temporary = source / f"{path.name}.partial"
        shutil.copy(path, temporary)
        os.replace(temporary, source / path.name)
        _done(api.generate_assignment(path.stem, force=True, create=True), path.name)
        release = (target / "release" / path.stem / path.name).read_text(encoding="utf-8")
        left = [word for word in SECRETS if word in release]
        if left:
            raise ValueError(f"the release of {path.name} still shows {', '.join(left)}")
    return target


def require_form(path: Path) -> None:
    """Check that a notebook is an exercise that nbgrader can release and grade.

    Raises:
        ValueError: naming the notebook, the cell and what is wrong.
    """
    notebook = nbformat.read(path, as_version=4)
    seen: set[str] = set()
    points = 0
    for place, cell in enumerate(notebook.cells):
        facts = cell.metadata.get("nbgrader")
        if facts is None:
            continue
        where = f"{path.name}, cell {place} ({facts.get('grade_id')!r})"
        if facts.get("schema_version") != 3:
            raise ValueError(f"{where}: schema_version must be 3, got {facts}")
        if facts["grade_id"] in seen:
            raise ValueError(f"{where}: this grade_id is used twice")
        seen.add(facts["grade_id"])
        if not facts["grade"]:
            continue
        points += facts["points"]
        test = cell.cell_type == "code" and not facts["solution"]
        if test and "### BEGIN HIDDEN TESTS" not in cell.source:
            raise ValueError(f"{where}: a test needs hidden tests beside those students see")
    if points != POINTS:
        raise ValueError(f"{path.name}: its points add up to {points}, not to {POINTS}")


def read_mistake(path: Path) -> Mistake:
    """Read a wrong solution: docstring, ``# loses: …``, and cells, each after ``# %% grade_id``.

    Raises:
        ValueError: if a part is missing, naming the file.
    """
    text = path.read_text(encoding="utf-8")
    why = ast.get_docstring(ast.parse(text))
    loses = re.search(r"^# loses: (.+)$", text, flags=re.MULTILINE)
    _, *parts = re.split(r"^# %% (\S+)\n", text, flags=re.MULTILINE)
    if not (why and loses and parts):
        raise ValueError(
            f"{path} is no wrong solution: expected a docstring, a line '# loses: test_…' and "
            "cells that begin with '# %% grade_id'"
        )
    cells = {name: source.strip() for name, source in zip(parts[::2], parts[1::2], strict=True)}
    return Mistake(path.stem, why, frozenset(loses[1].replace(" ", "").split(",")), cells)


def with_mistake(notebook: NotebookNode, mistake: Mistake) -> NotebookNode:
    """Return a solved exercise with the mistake in place of its answers.

    Raises:
        ValueError: if it has no such answer cell.
    """
    changed = nbformat.from_dict(notebook)
    left = dict(mistake.cells)
    for cell in changed.cells:
        facts = cell.metadata.get("nbgrader", {})
        if facts.get("solution") and facts["grade_id"] in left:
            cell.source = left.pop(facts["grade_id"])
    if left:
        raise ValueError(f"{mistake.name}: the exercise has no answer cell {', '.join(left)}")
    return changed


def check(wrong: Path, numbers: Collection[str] = ()) -> Iterator[Grade]:
    """Hand in every kind of submission of every exercise and yield what each scored.

    The reference solution must get every point of the tests, the untouched release none, and each
    wrong solution must lose the tests that it names and no others.

    Args:
        wrong: folder with a folder of wrong solutions for each exercise.
        numbers: of exercises; empty for all.

    Raises:
        ValueError: if an exercise has fewer than two wrong solutions.
    """
    chosen = exercises(numbers)
    mistakes = {
        path: [read_mistake(found) for found in sorted((wrong / path.stem).glob("*.py"))]
        for path in chosen
    }
    for path, found in mistakes.items():
        if len(found) < MISTAKES:
            raise ValueError(
                f"{path.stem} has {len(found)} wrong solutions in {wrong / path.stem}, fewer than "
                f"{MISTAKES}"
            )
    with tempfile.TemporaryDirectory() as place:
        course = build(Path(place), numbers)
        api = _nbgrader(course)
        for path, found in mistakes.items():
            solved = nbformat.read(path, as_version=4)
            released = nbformat.read(course / "release" / path.stem / path.name, as_version=4)
            yield _graded(api, course, path.stem, REFERENCE, solved, _all_points)
            yield _graded(api, course, path.stem, UNTOUCHED, released, _no_points)
            for mistake in found:
                handed_in = with_mistake(solved, mistake)
                judge = _loses(mistake.loses)
                yield _graded(api, course, path.stem, mistake.name, handed_in, judge)


Judge = Callable[[dict[str, tuple[float, float]]], str]


def _all_points(scores: dict[str, tuple[float, float]]) -> str:
    return "" if all(got == most for got, most in scores.values()) else "must get every point"


def _no_points(scores: dict[str, tuple[float, float]]) -> str:
    return "" if all(got == 0 for got, _ in scores.values()) else "must get no point"


def _loses(expected: frozenset[str]) -> Judge:
    def judge(scores: dict[str, tuple[float, float]]) -> str:
        lost = {name for name, (got, most) in scores.items() if got < most}
        return "" if lost == expected else f"must lose {', '.join(sorted(expected))}"

    return judge


def _graded(
    api, course: Path, exercise: str, student: str, notebook: NotebookNode, judge: Judge
) -> Grade:
    """Hand in a notebook as a student would, have nbgrader grade it, and return the outcome."""
    began = time.monotonic()
    folder = course / "submitted" / student / exercise
    folder.mkdir(parents=True)
    nbformat.write(notebook, folder / f"{exercise}.ipynb")
    _done(api.autograde(exercise, student), f"{exercise} of {student}")
    with api.gradebook as gradebook:
        grades = gradebook.find_submission_notebook(exercise, exercise, student).grades
        scores = {
            grade.name: (float(grade.auto_score or 0), float(grade.max_score))
            for grade in grades
            if grade.cell.cell_type == "code"
        }
    return Grade(
        exercise,
        student,
        sum(got for got, _ in scores.values()),
        sum(most for _, most in scores.values()),
        frozenset(name for name, (got, most) in scores.items() if got < most),
        judge(scores),
        time.monotonic() - began,
    )


def _nbgrader(course: Path):
    """Return nbgrader's interface for a course folder.

    Raises:
        ModuleNotFoundError: saying how to install it.
    """
    os.environ.setdefault("JUPYTER_PREFER_ENV_PATH", "1")  # the kernel of this environment
    here, path = str(Path(sys.executable).parent), os.environ.get("PATH", "")
    if here not in path.split(os.pathsep):  # nbgrader starts alembic as a program
        os.environ["PATH"] = os.pathsep.join([here, path])
    try:
        from nbgrader.apps.api import NbGraderAPI
        from traitlets.config import Config
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the course needs nbgrader, which is not installed: pip install 'ifr[course]'"
        ) from error
    config = Config()
    config.CourseDirectory.root = str(course.resolve())
    config.CourseDirectory.course_id = "ifr"
    config.Execute.timeout = SECONDS
    config.NbGraderAPI.log_level = "ERROR"
    return NbGraderAPI(config=config)


def _done(result: dict, what: str) -> None:
    if not result["success"]:
        raise ValueError(f"nbgrader failed on {what}:\n{result.get('error') or result.get('log')}")
