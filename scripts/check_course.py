"""Prove that the exercises grade themselves: python scripts/check_course.py [01 04 ...]

Every kind of submission of every exercise is graded: the reference solution must get every point
of the tests, the untouched release none, and each wrong solution must lose the tests that it names
and no others. A submission is run in this process by what grades students in a process each, which
takes a second where nbgrader takes several; ``--nbgrader`` has nbgrader itself grade all of them.
"""

import argparse
import ast
import copy
import hashlib
import pickle
import re
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
from course import RELEASE, build, exercises, nbgrader_api, require_success
from handed_in import Exercise, own_cell, read_exercise, repair
from joblib import Parallel, delayed
from nbformat import NotebookNode
from run_cells import Session
from torch import Tensor

from ifr import faces, training
from ifr.common.errors import UserError
from ifr.common.hardware import usable_cores

WRONG = Path(__file__).resolve().parents[1] / "tests" / "e2e" / "wrong_solutions"
MISTAKES = 2  # wrong solutions an exercise has at least
REFERENCE, UNTOUCHED = "reference", "untouched"

Scores = dict[str, tuple[float, float]]  # grade id of a test -> points it gave, points it can give


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


Submission = tuple[str, NotebookNode, frozenset[str]]
Chosen = Callable[[list[Submission]], list[Submission]]


@dataclass(frozen=True)
class Grade:
    """What one submission of one exercise scored; ``problem`` is empty where that is right."""

    exercise: str
    submission: str
    scores: Scores
    problem: str

    @property
    def points(self) -> float:
        """Points that the tests gave."""
        return sum(got for got, _ in self.scores.values())

    @property
    def most(self) -> float:
        """Points that the tests can give."""
        return sum(most for _, most in self.scores.values())

    def __str__(self) -> str:
        """Return one line for a terminal."""
        names = ", ".join(sorted(lost(self.scores)))
        word = f"  WRONG: {self.problem}" if self.problem else ""
        share = f"{self.points:g} of {self.most:g} points"
        return f"{self.exercise} {self.submission}: {share}{names and f', loses {names}'}{word}"


def lost(scores: Scores) -> frozenset[str]:
    """Return the tests that gave fewer points than they can."""
    return frozenset(name for name, (got, most) in scores.items() if got < most)


def grade(path: Path, submission: str, scores: Scores, loses: frozenset[str]) -> Grade:
    """Return the grade of a submission, with the reason where it is not what it must be."""
    problem = ""
    if submission == UNTOUCHED:
        problem = "must get no point" if any(got for got, _ in scores.values()) else ""
    elif lost(scores) != loses:
        problem = f"must lose {', '.join(sorted(loses))}" if loses else "must get every point"
    return Grade(path.stem, submission, scores, problem)


def read_mistake(path: Path) -> Mistake:
    """Read a wrong solution: docstring, ``# loses: …``, and cells, each after ``# %% grade_id``."""
    text = path.read_text(encoding="utf-8")
    why = ast.get_docstring(ast.parse(text))
    loses = re.search(r"^# loses: (.+)$", text, flags=re.MULTILINE)
    _, *parts = re.split(r"^# %% (\S+)\n", text, flags=re.MULTILINE)
    if not (why and loses and parts):
        raise UserError(
            f"{path} is no wrong solution: expected a docstring, a line '# loses: test_…' and "
            "cells that begin with '# %% grade_id'"
        )
    cells = {name: source.strip() for name, source in zip(parts[::2], parts[1::2], strict=True)}
    return Mistake(path.stem, why, frozenset(loses[1].replace(" ", "").split(",")), cells)


def read_mistakes(exercise: Path, wrong: Path) -> list[Mistake]:
    """Return the wrong solutions of an exercise, of which there must be two."""
    mistakes = [read_mistake(path) for path in sorted((wrong / exercise.stem).glob("*.py"))]
    if len(mistakes) < MISTAKES:
        raise UserError(
            f"{exercise.stem} has {len(mistakes)} wrong solutions in {wrong / exercise.stem}, "
            f"fewer than {MISTAKES}"
        )
    return mistakes


def with_mistake(notebook: NotebookNode, mistake: Mistake) -> NotebookNode:
    """Return a solved exercise with the mistake in place of its answers."""
    changed = nbformat.from_dict(notebook)
    left = dict(mistake.cells)
    for cell in changed.cells:
        settings = cell.metadata.get("nbgrader", {})
        if settings.get("solution") and settings["grade_id"] in left:
            cell.source = left.pop(settings["grade_id"])
    if left:
        raise UserError(f"{mistake.name}: the exercise has no answer cell {', '.join(left)}")
    return changed


def run_notebook(notebook: NotebookNode, exercise: Exercise) -> Scores:
    """Run a submission in this process, put in order as one that is handed in."""
    session = Session(exercise.answers)
    scores: Scores = {}
    cells = [own_cell(cell) for cell in nbformat.from_dict(notebook).cells]
    repaired = repair(cells, exercise)
    for cell in repaired.cells:
        why = session.run(cell.source, cell.course) or repaired.no_own.get(cell.name)
        if cell.points:
            scores[cell.name] = (0.0 if why else cell.points, cell.points)
    return scores


def grade_exercise(path: Path, wrong: Path) -> list[Grade]:
    """Run every submission of one exercise in this process."""
    release = RELEASE / path.name
    solved, bare = (nbformat.read(one, as_version=4) for one in (path, release))
    exercise = read_exercise(path, release)
    handed_in = submissions(solved, bare, read_mistakes(path, wrong))
    with drawn_once():
        return [
            grade(path, name, run_notebook(notebook, exercise), loses)
            for name, notebook, loses in handed_in
        ]


@contextmanager
def drawn_once() -> Iterator[None]:
    """Draw a face, and ask a kept network about it, once: all submissions have the same ones."""
    before = faces.render, faces.build_identity, training.load_half

    def load_half(*names: str) -> training.Trained:
        trained = before[2](*names)
        model: Any = trained.model
        model.features_and_response = remembered(model.features_and_response)
        return trained

    faces.render = remembered(faces.render)
    faces.build_identity = cache(faces.build_identity)
    training.load_half = cache(load_half)
    try:
        yield
    finally:
        faces.render, faces.build_identity, training.load_half = before


def remembered(call: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that gives a copy of what it gave to equal arguments before."""
    known: dict[str, Any] = {}

    def again(*arguments: Any) -> Any:
        plain = [one.numpy() if isinstance(one, Tensor) else one for one in arguments]
        key = hashlib.sha256(pickle.dumps(plain)).hexdigest()
        if key not in known:
            known[key] = call(*arguments)
        return copy.deepcopy(known[key])

    return again


def submissions(
    solved: NotebookNode, bare: NotebookNode, mistakes: list[Mistake]
) -> list[Submission]:
    """Return what is handed in by name, with the tests that a wrong solution must lose."""
    wrong = [(one.name, with_mistake(solved, one), one.loses) for one in mistakes]
    return [(REFERENCE, solved, frozenset()), (UNTOUCHED, bare, frozenset()), *wrong]


def check(wrong: Path = WRONG, numbers: Collection[str] = ()) -> Iterator[Grade]:
    """Yield the grade of every submission, exercises side by side, each in a fresh process."""
    chosen = exercises(numbers)
    for path in chosen:
        read_mistakes(path, wrong)  # refuse before the first is graded
    jobs = min(usable_cores(), len(chosen))
    work = Parallel(n_jobs=jobs, return_as="generator")
    for grades in work(delayed(grade_exercise)(path, wrong) for path in chosen):
        yield from grades


def grade_with_nbgrader(
    course: Path, path: Path, wrong: Path, chosen: Chosen = list
) -> Iterator[Grade]:
    """Hand in submissions of one exercise of a course that is built; nbgrader grades them."""
    solved = nbformat.read(path, as_version=4)
    bare = nbformat.read(course / "release" / path.stem / path.name, as_version=4)
    handed_in = chosen(submissions(solved, bare, read_mistakes(path, wrong)))
    with nbgrader_api(course) as api:
        for name, notebook, loses in handed_in:
            scores = autograde(api, course, path.stem, name, notebook)
            yield grade(path, name, scores, loses)


def grade_all_with_nbgrader(wrong: Path, numbers: Collection[str]) -> Iterator[Grade]:
    """Build the course in a folder of its own, and have nbgrader grade every submission."""
    with tempfile.TemporaryDirectory() as folder:
        course = build(Path(folder), numbers)
        for path in exercises(numbers):
            yield from grade_with_nbgrader(course, path, wrong)


def autograde(
    api: Any, course: Path, exercise: str, student: str, notebook: NotebookNode
) -> Scores:
    """Hand in one notebook and return what nbgrader's tests gave."""
    folder = course / "submitted" / student / exercise
    folder.mkdir(parents=True)
    nbformat.write(notebook, folder / f"{exercise}.ipynb")
    require_success(api.autograde(exercise, student), f"{exercise} of {student}")
    with api.gradebook as gradebook:
        grades = gradebook.find_submission_notebook(exercise, exercise, student).grades
        return {
            grade.name: (float(grade.auto_score or 0), float(grade.max_score))
            for grade in grades
            if grade.cell.cell_type == "code"
        }


def main() -> int:
    """Print a line for each submission; exit status 1 if one does not score what it must."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("numbers", nargs="*", help="of exercises; default: all")
    parser.add_argument("--wrong", type=Path, default=WRONG, help="folder of wrong solutions")
    parser.add_argument("--nbgrader", action="store_true", help="let nbgrader grade, a kernel each")
    options = parser.parse_args()
    grades: Iterator[Grade]
    if options.nbgrader:
        grades = grade_all_with_nbgrader(options.wrong, options.numbers)
    else:
        grades = check(options.wrong, options.numbers)
    graded = failed = 0
    for grade in grades:
        print(grade, flush=True)
        graded, failed = graded + 1, failed + bool(grade.problem)
    print(f"{graded - failed} of {graded} submissions score what they must")
    return int(failed > 0)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"check_course: {error}")
