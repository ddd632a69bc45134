"""Grade what students handed in: python scripts/grade_course.py FOLDER [--to FOLDER]

Each notebook is put in the form of its exercise or refused, and runs in a process of its own. Next
to FOLDER come grades.csv, parts.csv, written.csv and feedback/ for the students. Points of written
answers go into written.csv; graded again, only what ran out of time runs again.
"""

import argparse
import json
import os
import re
import sys
import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from course import RELEASE, SETTINGS, SOURCES, exercises
from gradebook import Answer, Result, Test, read_by_hand, write_results
from handed_in import Exercise, Refused, Repaired, exercise_of, read_cells, read_exercise, repair
from joblib import Parallel, delayed
from run_apart import Cell, Outcome, run_apart

from ifr.common import paths
from ifr.common.errors import UserError
from ifr.common.files import code_hash, file_hash, value_hash, write_text
from ifr.common.hardware import usable_cores

HERE = Path(__file__).resolve().parent
NO_STUDENTS = ("__MACOSX", ".")  # how folders begin that systems and editors leave


@dataclass(frozen=True)
class HandedIn:
    """A notebook: whose it is, the exercise that its name says, or "", and where it lies."""

    student: str
    named: str
    path: Path


def collect(folder: Path, stems: Sequence[str], student: str = "") -> Iterator[HandedIn]:
    """Yield the notebooks that a folder holds, in one of three layouts.

    ``STUDENT/…/NAME.ipynb``, ``STUDENT_EXERCISE.ipynb`` or ``EXERCISE/STUDENT…``. A student's
    folder without a notebook counts as one that cannot be read.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        entries = []
    for path in entries:
        if path.name.startswith(NO_STUDENTS) or (student and path.is_dir() and path.is_symlink()):
            continue
        if not path.is_dir():
            if path.suffix.lower() == ".ipynb":
                who, named = names_of(path, stems)
                yield HandedIn(student or who or text(folder.resolve().name), named, path)
        elif not student and path.name in stems:
            yield from collect(path, stems)
        else:
            found = list(collect(path, stems, student or text(path.name)))
            yield from found or ([] if student else [HandedIn(text(path.name), "", path)])


def text(name: str) -> str:
    """Return a name that can be written, of a file that may not be named in UTF-8."""
    return os.fsencode(name).decode("utf-8", "replace")


def names_of(path: Path, stems: Sequence[str]) -> tuple[str, str]:
    """Return the student and the exercise that the name of a file says."""
    for stem in stems:
        parts = re.split(stem.replace("_", "[ _-]+"), path.stem, maxsplit=1, flags=re.IGNORECASE)
        if len(parts) == 2:
            before, behind = (part.strip(" _-.") for part in parts)
            copy = re.fullmatch(r"(copy)?[\d() -]*", behind, flags=re.IGNORECASE)
            return text(before or ("" if copy else behind)), stem
    return text(path.stem), ""


@dataclass(frozen=True)
class Prepared:
    """A notebook in the form of its exercise."""

    handed_in: HandedIn
    exercise: Exercise
    repaired: Repaired


def prepare(handed_in: HandedIn, course: Sequence[Exercise]) -> Prepared | Result:
    """Read a notebook and repair it, or say why not."""
    try:
        cells = read_cells(handed_in.path)
        exercise = exercise_of(cells, handed_in.named, course)
        return Prepared(handed_in, exercise, repair(cells, exercise))
    except Refused as refusal:
        return refused(handed_in, handed_in.named, str(refusal))


def refused(handed_in: HandedIn, exercise: str, why: str) -> Result:
    """Return the result of a notebook that is not graded."""
    return Result(handed_in.student, exercise, text(handed_in.path.name), refused=why)


def choose(found: Sequence[Prepared]) -> list[Prepared | Result]:
    """Take one notebook of each exercise of a student: of several that named as the exercise is."""
    groups: dict[tuple[str, str], list[Prepared]] = defaultdict(list)
    for one in found:
        groups[one.handed_in.student, one.exercise.stem].append(one)
    chosen: list[Prepared | Result] = []
    for (_, stem), ones in groups.items():
        contents = {file_hash(one.handed_in.path): one for one in ones}
        exact = [one for one in contents.values() if one.handed_in.path.stem == stem]
        single = exact if len(exact) == 1 else list(contents.values())
        names = ", ".join(text(one.handed_in.path.name) for one in ones)
        if len(single) > 1:
            why = f"there are {len(ones)} notebooks of this exercise ({names}): keep one"
            chosen.append(refused(ones[0].handed_in, stem, why))
            continue
        if len(contents) > 1:
            graded = text(single[0].handed_in.path.name)
            single[0].repaired.notes.append(f"of {names} only {graded} was graded")
        chosen.append(single[0])
    return chosen


def run(one: Prepared, kept: Path, code: str, forbidden: Collection[Path]) -> Result:
    """Run a notebook, unless the same cells ran before under this code; return what it scored."""
    cells, exercise = one.repaired.cells, one.exercise
    key = value_hash([code, sorted(exercise.answers), [asdict(cell) for cell in cells]])
    file = kept / f"{key}.json"
    if file.exists():
        outcomes = [Outcome(**outcome) for outcome in json.loads(file.read_text(encoding="utf-8"))]
    else:
        outcomes = run_apart(cells, exercise.answers, forbidden)
        if not any("for more than" in outcome.why for outcome in outcomes):  # a busy machine?
            write_text(file, json.dumps([asdict(outcome) for outcome in outcomes]))
    require_machine(cells, outcomes, exercise)
    notes = [*one.repaired.notes, *(note for note in remarks(cells, outcomes))]
    reasons = [one.repaired.no_own.get(cell.name) or outcome.why
               for cell, outcome in zip(cells, outcomes, strict=True)]  # fmt: skip
    tests = [
        Test(cell.name, 0.0 if why else cell.points, cell.points, why)
        for cell, why in zip(cells, reasons, strict=True)
        if cell.points
    ]
    return Result(
        one.handed_in.student,
        exercise.stem,
        text(one.handed_in.path.name),
        repaired=bool(one.repaired.notes),
        tests=[replace(test, why=without(exercise.hidden, test.why)) for test in tests],
        written=[
            Answer(name, exercise.by_name[name].points, answer)
            for name, answer in one.repaired.written.items()
        ],
        notes=[without(exercise.hidden, note) for note in notes],
    )


def remarks(cells: Sequence[Cell], outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield what to say of cells that failed and are no tests."""
    for cell, outcome in zip(cells, outcomes, strict=True):
        if outcome.why and not cell.points:
            first = cell.source.strip().partition("\n")[0][:60]
            yield f"{cell.name or f'the cell that begins with “{first}”'}: {outcome.why}"


def require_machine(cells: Sequence[Cell], outcomes: Sequence[Outcome], exercise: Exercise) -> None:
    """Refuse to grade where a cell of the course fails before any cell of the student has run."""
    for cell, outcome in zip(cells, outcomes, strict=True):
        if not cell.course:
            return
        if outcome.why:
            where = f"{exercise.stem}, the course's own cell {cell.name}"
            raise UserError(f"{where}, fails on this machine, so nothing is graded: {outcome.why}")


def without(lines: Collection[str], words: str) -> str:
    """Return a text without lines that students must not see."""
    for line in lines:
        words = words.replace(line, "…")
    return words


def off_limits(folder: Path, target: Path) -> list[Path]:
    """Return the folders that hold answers, but none that the grading itself needs."""
    code = paths.SOURCE
    closed = [SOURCES, code / "tests", code / ".git", paths.home() / "course", folder, target]
    if (folder.parent / SETTINGS).exists():
        closed.append(folder.parent)
    needed = [Path(place).resolve() for place in (tempfile.gettempdir(), sys.prefix, paths.PACKAGE)]
    return [one for one in closed if not any(place.is_relative_to(one) for place in needed)]


def grade(folder: Path, target: Path) -> Iterator[Result]:
    """Grade all notebooks of a folder, several at a time; each result comes as it is known."""
    course = [read_exercise(path, RELEASE / path.name) for path in exercises()]
    handed_in = list(collect(folder, [exercise.stem for exercise in course]))
    if not any(one.path.suffix.lower() == ".ipynb" for one in handed_in):
        raise UserError(f"{folder} holds no notebook: expected STUDENT/EXERCISE.ipynb in it")
    prepared = [prepare(one, course) for one in handed_in]
    yield from (one for one in prepared if isinstance(one, Result))
    chosen = choose([one for one in prepared if isinstance(one, Prepared)])
    yield from (one for one in chosen if isinstance(one, Result))
    jobs = [one for one in chosen if isinstance(one, Prepared)]
    closed = off_limits(folder, target)
    # Before the threads start: Python 3.11 cannot parse two sources at once.
    code = code_hash(sorted([*paths.PACKAGE.rglob("*.py"), *HERE.glob("run_*.py")]))
    work = Parallel(n_jobs=usable_cores(), prefer="threads", return_as="generator")
    yield from work(delayed(run)(one, target / "kept", code, closed) for one in jobs)


def main() -> int:
    """Print a line for each notebook; exit status 1 if one was refused."""
    parser = argparse.ArgumentParser(prog="ifr course grade", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="STUDENT/….ipynb or STUDENT_EXERCISE.ipynb in it")
    parser.add_argument("--to", type=Path, help="where grades go; default: FOLDER_graded beside it")
    options = parser.parse_args()
    folder = options.folder.resolve()
    folder = folder / "submitted" if (folder / SETTINGS).exists() else folder
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: name the one that holds what students handed in")
    target = (options.to or folder.with_name(f"{folder.name}_graded")).resolve()
    if target.is_relative_to(folder):
        raise UserError(f"--to {target} lies among what students handed in: choose another folder")
    read_by_hand(paths.require_writable(target) / "written.csv")  # refused before anything runs
    results = []
    for result in grade(folder, target):
        print(result, flush=True)
        results.append(result)
    results = write_results(target, sorted(results, key=lambda one: (one.student, one.exercise)))
    left = sum(result.by_hand is None for result in results)
    bad = sum(bool(result.refused) for result in results)
    print(f"{len(results) - bad} graded, {bad} refused; {target / 'grades.csv'}")
    if left:
        print(f"{left} with written answers to grade: fill in {target / 'written.csv'}, run again")
    return int(bad > 0)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"ifr: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("ifr: stopped; graded again, what is done is not run again", file=sys.stderr)
        sys.exit(130)
