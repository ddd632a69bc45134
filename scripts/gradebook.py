"""The grades of a course as files: grades.csv, parts.csv, written.csv, feedback for students."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from jinja2 import Environment, FileSystemLoader

from ifr.common.errors import UserError
from ifr.common.files import value_hash, write_text

GRADES = "student exercise file status tested tested_most written written_most total most remarks"
PARTS = "student exercise part points most why"
WRITTEN = "student exercise part most points comment answer version"  # filled in by hand

Row = dict[str, object]


@dataclass(frozen=True)
class Test:
    """What one test gave, and why not more."""

    name: str
    points: float
    most: float
    why: str


@dataclass(frozen=True)
class Answer:
    """A written answer; ``points`` are given by hand, to one of none they are 0."""

    part: str
    most: float
    answer: str
    points: float | None = None
    comment: str = ""

    @property
    def version(self) -> str:
        """Tell this answer from another that was handed in before."""
        return value_hash(self.answer.split())[:8]


@dataclass(frozen=True)
class Result:
    """What came of one notebook, or why it was refused."""

    student: str
    exercise: str
    file: str
    refused: str = ""
    repaired: bool = False
    tests: list[Test] = field(default_factory=list)
    written: list[Answer] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def tested(self) -> float:
        """Points that the tests gave."""
        return sum(test.points for test in self.tests)

    @property
    def tested_most(self) -> float:
        """Points that the tests can give."""
        return sum(test.most for test in self.tests)

    @property
    def by_hand(self) -> float | None:
        """Points of the written answers, once all are given."""
        given = [one.points for one in self.written if one.points is not None]
        return sum(given) if len(given) == len(self.written) else None

    @property
    def total(self) -> float | None:
        """All points, once those of the written answers are given."""
        return None if self.by_hand is None else self.tested + self.by_hand

    @property
    def most(self) -> float:
        """All points that there are."""
        return self.tested_most + sum(one.most for one in self.written)

    def __str__(self) -> str:
        """Return a line for a terminal, and one for each note."""
        first = f"{self.student}, {self.exercise or self.file}: "
        if self.refused:
            return f"{first}refused: {self.file}: {self.refused}"
        lost = ", ".join(test.name for test in self.tests if test.why)
        first += (
            f"{self.tested:g} of {self.tested_most:g} points by tests{lost and f'; lost {lost}'}"
        )
        return "\n    ".join([first, *self.notes])


def write_results(folder: Path, results: Sequence[Result]) -> list[Result]:
    """Write the grades and the feedback; return the results with the points given by hand."""
    by_hand = read_by_hand(folder / "written.csv")
    results = [take_over(result, by_hand) for result in results]
    here = {(result.student, result.exercise) for result in results}
    others = [row for row in by_hand.values() if (row["student"], row["exercise"]) not in here]
    write_csv(folder / "written.csv", WRITTEN, [*written_rows(results), *others])
    write_csv(folder / "parts.csv", PARTS, part_rows(results))
    write_csv(folder / "grades.csv", GRADES, map(grade_row, results))
    pages = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
    page = pages.get_template("feedback.html.j2")
    for result in sorted(results, key=lambda one: not one.refused):  # a graded one comes last
        name = result.exercise or Path(result.file).stem
        facts = {key: getattr(result, key) for key in ("tested", "tested_most", "total", "most")}
        text = page.render(vars(result) | facts)
        write_text(folder / "feedback" / result.student / f"{name}.html", text + "\n")
    return results


def grade_row(result: Result) -> Row:
    """Return the row of a notebook; one that was refused has no number."""
    row: Row = dict(student=result.student, exercise=result.exercise, file=result.file)
    if result.refused:
        return row | dict(status="refused", remarks=result.refused)
    return row | dict(
        status="repaired" if result.repaired else "graded",
        tested=result.tested,
        tested_most=result.tested_most,
        written=result.by_hand,
        written_most=result.most - result.tested_most,
        total=result.total,
        most=result.most,
        remarks="; ".join(result.notes),
    )


def part_rows(results: Iterable[Result]) -> list[Row]:
    """Return a row for each test and written answer."""
    rows: list[Row] = []
    for result in results:
        whose: Row = dict(student=result.student, exercise=result.exercise)
        for test in result.tests:
            rows.append(whose | dict(part=test.name, points=test.points, most=test.most))
            rows[-1]["why"] = test.why
        for one in result.written:
            rows.append(whose | dict(part=one.part, points=one.points, most=one.most))
            rows[-1]["why"] = one.comment
    return rows


def written_rows(results: Iterable[Result]) -> list[Row]:
    """Return a row for each written answer, with the points and comments given so far."""
    return [
        dict(student=result.student, exercise=result.exercise, version=one.version) | vars(one)
        for result in results
        for one in result.written
    ]


def take_over(result: Result, by_hand: dict[tuple[str, ...], Row]) -> Result:
    """Give written answers their points and comments; not those of an answer handed in before."""
    notes, answers = list(result.notes), []
    for one in result.written:
        row = by_hand.get((result.student, result.exercise, one.part), {})
        points = given_points(row, one.most)
        if row and row["version"] != one.version and points is not None:
            notes.append(f"{one.part}: answered anew; its {points:g} points were taken back")
        elif row and row["version"] == one.version:
            one = replace(one, points=points, comment=str(row["comment"]))
        if not one.answer and one.points is None:
            one = replace(one, points=0.0)
        answers.append(one)
    return replace(result, written=answers, notes=notes)


def given_points(row: Row, most: float) -> float | None:
    """Return the points that were filled in, with a decimal comma or point; None for none."""
    text = str(row.get("points") or "").strip().replace(",", ".")
    if not text:
        return None
    try:
        points = float(text)
    except ValueError:
        points = -1.0
    if not 0 <= points <= most:
        who = f"{row['student']}, {row['exercise']}, {row['part']}"
        raise UserError(f"written.csv: {who}: points must be 0 to {most:g}, got {row['points']!r}")
    return points


def read_by_hand(path: Path) -> dict[tuple[str, ...], Row]:
    """Read what was filled in by hand, also as a spreadsheet saves it with semicolons."""
    if not path.exists():
        return {}
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8: save it as “CSV UTF-8”") from error
    separator = ";" if ";" in text.partition("\n")[0] else ","
    rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=separator))
    if rows and (missing := set(WRITTEN.split()) - set(rows[0])):
        raise UserError(f"{path} has no column {', '.join(sorted(missing))}: keep all columns")
    return {(row["student"], row["exercise"], row["part"]): dict(row) for row in rows}


def write_csv(path: Path, columns: str, rows: Iterable[Row]) -> None:
    """Write a table; a text that a spreadsheet would take for a formula gets a space before it."""
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, columns.split(), extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    for row in rows:
        table.writerow({name: plain(value) for name, value in row.items()})
    write_text(path, text.getvalue())


def plain(value: object) -> object:
    """Return a value as a cell of a table shows it."""
    if isinstance(value, float):
        return f"{value:g}"
    return re.sub(r"^(?=[-=+@])", " ", value) if isinstance(value, str) else value
