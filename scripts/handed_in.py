"""Notebooks as students hand them in: which exercise, and its cells put in order or refused.

The course's cells come from its source, so a test that is missing, changed or moved is there again;
the student's answers, and cells of their own, are found by name, by text, or by what they define.
"""

import difflib
import json
import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import nbformat
from borrowed import borrowed, read_library
from nbformat import NotebookNode
from run_apart import Cell

ALIKE = 0.6  # share of the text that a changed cell of the course still has at least


class Refused(Exception):
    """A notebook that cannot be graded: why, and what to do."""


@dataclass(frozen=True)
class Part:
    """A cell of an exercise: as its source has it, and as it was given to students."""

    name: str
    is_code: bool
    is_answer: bool
    points: float
    source: str
    given: str

    @property
    def is_test(self) -> bool:
        """Whether it gives points by itself."""
        return self.points > 0 and not self.is_answer


@dataclass(frozen=True)
class Exercise:
    """An exercise: its cells that have a name, in order."""

    stem: str
    parts: tuple[Part, ...]

    @cached_property
    def by_name(self) -> dict[str, Part]:
        """Its cells by name."""
        return {part.name: part for part in self.parts}

    @cached_property
    def answers(self) -> frozenset[str]:
        """The names that its answers define."""
        found = [defined(p.source) for p in self.parts if p.is_answer and p.is_code]
        return frozenset().union(*found)

    @property
    def hidden(self) -> frozenset[str]:
        """The lines of its tests that students must not see."""
        given = {line.strip() for part in self.parts for line in part.given.splitlines()}
        tests = [part.source for part in self.parts if part.is_test]
        source = {line.strip() for test in tests for line in test.splitlines()}
        return frozenset(line for line in source - given if len(line) > 12)


@dataclass
class Own:
    """A cell of a student's notebook; ``original`` is false once its text was changed."""

    kind: str
    source: str
    name: str
    answers: bool
    original: bool


@dataclass
class Repaired:
    """A notebook that can be graded: what to run, the written answers, and what was put right."""

    cells: list[Cell] = field(default_factory=list)
    written: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    no_own: dict[str, str] = field(default_factory=dict)  # tests of answers that are no own work


def read_exercise(source: Path, release: Path) -> Exercise:
    """Read an exercise from its source and the students' release of it."""
    whole, given = (nbformat.read(path, as_version=4).cells for path in (source, release))
    parts = []
    for cell, shown in zip(whole, given, strict=True):
        if facts := cell.metadata.get("nbgrader"):
            points = float(facts["points"]) if facts["grade"] else 0.0
            is_code = cell.cell_type == "code"
            name, answer = facts["grade_id"], facts["solution"]
            parts.append(Part(name, is_code, answer, points, cell.source, shown.source))
    return Exercise(source.stem, tuple(parts))


def defined(source: str) -> set[str]:
    """Return the functions and classes that a cell defines, even one with an error in it."""
    return set(re.findall(r"^(?:async +)?(?:def|class) +(\w+)", source, flags=re.MULTILINE))


def read_cells(path: Path) -> list[Own]:
    """Read the cells of a notebook; what is no notebook is refused."""
    if path.is_dir():
        raise Refused("the folder holds no notebook (.ipynb) that can be read; ask for it again")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Refused(f"it cannot be read: {error.strerror}") from error
    if not content.strip():
        raise Refused("the file is empty; ask for it again")
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Refused(f"it is not valid JSON, so no notebook: {error}; ask for it again") from error
    try:
        return [own_cell(cell) for cell in nbformat.convert(nbformat.from_dict(data), 4).cells]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise Refused("it is JSON, but no notebook; ask for it again") from error


def own_cell(cell: NotebookNode) -> Own:
    """Return what a cell of a student's notebook holds."""
    from nbgrader.utils import compute_checksum

    source = cell.get("source", "")
    text = source if isinstance(source, str) else "".join(source)
    cell.source = text.encode("utf-8", "replace").decode()  # JSON can hold what UTF-8 cannot
    metadata = cell.get("metadata")
    facts = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    facts = facts if isinstance(facts, dict) else {}
    name = facts.get("grade_id")
    if not isinstance(name, str):
        return Own(cell.cell_type, cell.source, "", False, False)
    try:
        original = compute_checksum(cell) == facts.get("checksum")
    except (AttributeError, KeyError, TypeError, ValueError):
        original = False
    return Own(cell.cell_type, cell.source, name, bool(facts.get("solution")), original)


def same(one: str, other: str) -> bool:
    """Return whether two texts differ in white space at most."""
    return one.split() == other.split()


def share_found(cells: Sequence[Own], exercise: Exercise) -> float:
    """Return the share of an exercise's tests and answers that a notebook holds in some form."""
    texts = {" ".join(cell.source.split()) for cell in cells}
    names = {cell.name for cell in cells}
    made = set().union(*(defined(cell.source) for cell in cells if cell.kind == "code"))
    marked = [part for part in exercise.parts if part.is_test or part.is_answer]
    found = [
        part.name in names
        or (part.is_test and " ".join(part.given.split()) in texts)
        or (part.is_answer and part.is_code and bool(defined(part.source) & made))
        for part in marked
    ]
    return sum(found) / len(marked)


def exercise_of(cells: Sequence[Own], named: str, exercises: Sequence[Exercise]) -> Exercise:
    """Return the exercise that a notebook holds; one ``named`` otherwise is refused."""
    shares = {exercise.stem: share_found(cells, exercise) for exercise in exercises}
    best = max(shares.values())
    if best == 0:
        raise Refused("it holds no cell of any exercise; was the wrong notebook handed in?")
    likely = [stem for stem, share in shares.items() if share == best]
    if named and named not in likely:
        raise Refused(f"it is named {named} but holds {likely[0]}; ask which it is")
    chosen = named or likely[0]
    if not named and len(likely) > 1:
        raise Refused(f"it may be {' or '.join(likely)}; name the file after its exercise")
    return next(exercise for exercise in exercises if exercise.stem == chosen)


def repair(cells: Sequence[Own], exercise: Exercise) -> Repaired:
    """Put the cells of a notebook in the exercise's order, with the course's own from its source.

    A cell of the student's own stays behind the cell of the exercise that it followed. Of an
    answer handed in twice both stay, so the later one counts, as it does in Jupyter.
    """
    result = Repaired()
    place = find_parts(cells, exercise, result.notes)
    refuse_other_release(cells, place, exercise)
    names = list(exercise.by_name)
    owner = {index: name for name, index in place.items()}
    behind: dict[str, list[Own]] = defaultdict(list)
    result.notes += moved([owner[index] for index in sorted(owner)], names)
    last = ""
    for index, cell in enumerate(cells):
        if index in owner:
            last = owner[index]
        elif is_own(cell, exercise, result.notes):
            behind[last].append(cell)
    result.cells = [Cell("", cell.source, course=False) for cell in behind[""] if runs(cell)]
    before: list[Own] = []  # what stands behind the cell before
    for part in exercise.parts:
        mine = cells[place[part.name]] if part.name in place else None
        if part.is_code:
            result.cells += code_of(part, mine, cells, result.notes)
        elif part.is_answer:
            result.written[part.name] = written(part, [*before, mine, *behind[part.name]])
        rest = [cell for cell in behind[part.name] if runs(cell)]
        result.cells += [Cell("", cell.source, course=False) for cell in rest]
        before = behind[part.name] if mine else before
    tests = [index for index, cell in enumerate(result.cells) if cell.points]
    del result.cells[max(tests) + 1 :]  # what stands behind the last test has nothing to give
    result.no_own = tests_of_borrowed(result.cells, exercise)
    return result


def tests_of_borrowed(cells: Sequence[Cell], exercise: Exercise) -> dict[str, str]:
    """Return why tests give nothing: the answer above them calls the library's."""
    calls = borrowed([cell.source for cell in cells], read_library(exercise.stem))
    found, why = {}, ""
    for part in exercise.parts:
        if part.is_answer and part.is_code:
            mine = sorted(defined(part.source) & calls.keys())
            why = "; ".join(f"{name} calls {calls[name]}: write it yourself" for name in mine)
        elif part.is_test and why:
            found[part.name] = why
    return found


def moved(found: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return a note for each cell that is out of the exercise's order."""
    right = sorted(found, key=names.index)
    blocks = difflib.SequenceMatcher(None, found, right, autojunk=False).get_matching_blocks()
    kept = {name for block in blocks for name in found[block.a : block.a + block.size]}
    return [f"{name}: out of its place; put back" for name in found if name not in kept]


def find_parts(cells: Sequence[Own], exercise: Exercise, notes: list[str]) -> dict[str, int]:
    """Return which cell is which part of the exercise: by name, else text, else what it defines."""
    place: dict[str, int] = {}
    for part in exercise.parts:
        named = [index for index, cell in enumerate(cells) if cell.name == part.name]
        if len(named) > 1:
            notes.append(f"{part.name}: there {len(named)} times")
        if named:
            place[part.name] = min(named, key=lambda i: preference(cells[i], part))
    lost = [
        part.name
        for part in exercise.parts
        if part.name not in place and find_without_name(part, cells, place, exercise.by_name)
    ]
    if shown := [name for name in lost if exercise.by_name[name].is_code]:
        notes.append(f"{', '.join(shown)}: without nbgrader's metadata; found by text")
    for part in exercise.parts:
        if part.name not in place and part.is_code and part.is_answer:
            found = where_defined(part, cells, place, exercise)
            if found is not None:
                place = {name: index for name, index in place.items() if index != found}
                place[part.name] = found
                notes.append(f"{part.name}: in a cell without its name; found by what it defines")
    return place


def preference(cell: Own, part: Part) -> float:
    """Order cells of one name, best first: the answered one, or the course's as it was given."""
    if part.is_answer:
        return float(same(cell.source, part.given))
    return -likeness(cell.source, part.given)


def likeness(one: str, other: str) -> float:
    """Return how much of two texts is the same, from 0 to 1."""
    if same(one, other):
        return 1.0
    matcher = difflib.SequenceMatcher(None, one[:4000], other[:4000], autojunk=False)
    return matcher.ratio() if matcher.quick_ratio() >= ALIKE else 0.0


def find_without_name(
    part: Part, cells: Sequence[Own], place: dict[str, int], known: Collection[str]
) -> bool:
    """Find a part by its text, or, of the course's own, by a text much like it."""
    taken = set(place.values())
    free = [i for i, cell in enumerate(cells) if i not in taken and cell.name not in known]
    found = next((i for i in free if same(cells[i].source, part.given)), None)
    if found is None and part.is_code and not part.is_answer:
        alike = {i: likeness(cells[i].source, part.given) for i in free if cells[i].kind == "code"}
        best = max(alike, key=lambda i: alike[i], default=None)
        found = best if best is not None and alike[best] >= ALIKE else None
    if found is not None:
        place[part.name] = found
    return found is not None


def where_defined(
    part: Part, cells: Sequence[Own], place: dict[str, int], exercise: Exercise
) -> int | None:
    """Return the cell that defines what an answer should, even if it was one of the course's."""
    wanted = defined(part.source)
    answers = {index for name, index in place.items() if exercise.by_name[name].is_answer}
    for index, cell in enumerate(cells):
        if index not in answers and cell.kind == "code" and wanted & defined(cell.source):
            return index
    return None


def refuse_other_release(cells: Sequence[Own], place: dict[str, int], exercise: Exercise) -> None:
    """Refuse a notebook whose answers are to another exercise than this one asks for."""
    strange = sorted({c.name for c in cells if c.answers and c.name not in exercise.by_name})
    missing = [p.name for p in exercise.parts if p.is_answer and p.name not in place]
    if strange and missing:
        raise Refused(
            f"it is of another release: it answers {', '.join(strange)}, not {', '.join(missing)}; "
            "ask for the present one"
        )


def is_own(cell: Own, exercise: Exercise, notes: list[str]) -> bool:
    """Return whether a cell without a place is the student's; copies of the course's are not."""
    part = exercise.by_name.get(cell.name)
    if part is not None and part.is_answer:
        return not same(cell.source, part.given)
    if part is not None:
        return likeness(cell.source, part.given) < ALIKE
    if cell.name and not cell.answers and cell.original:
        notes.append(f"{cell.name}: of another release; left out")
        return False
    return not any(p.is_code and same(cell.source, p.given) for p in exercise.parts)


def runs(cell: Own) -> bool:
    """Return whether a cell of the student's own has code to run."""
    return cell.kind == "code" and bool(cell.source.strip())


def code_of(part: Part, mine: Own | None, cells: Sequence[Own], notes: list[str]) -> list[Cell]:
    """Return what to run for a part: the student's answer, or the course's own from its source."""
    if mine is not None and mine.kind != "code":
        notes.append(f"{part.name}: turned into {mine.kind}; read as code")
    if part.is_answer:
        if mine is not None:
            return [Cell(part.name, mine.source, course=False)]
        elsewhere = any(defined(part.source) & defined(c.source) for c in cells if runs(c))
        where = "the answer is in another cell" if elsewhere else "the answer is missing"
        notes.append(f"{part.name}: {where}")
        return [] if elsewhere else [Cell(part.name, part.given, course=False)]
    if mine is None:
        notes.append(f"{part.name}: missing; restored")
    elif not same(mine.source, part.given):
        why = (
            "of another release; the present one was used" if mine.original else "changed; restored"
        )
        notes.append(f"{part.name}: {why}")
    return [Cell(part.name, part.source, course=True, points=part.points)]


def written(part: Part, cells: Sequence[Own | None]) -> str:
    """Return a written answer: the text of its cell, and of the student's beside it."""
    texts = [c.source.strip() for c in cells if c and not (c.kind == "code" and not c.answers)]
    return "\n\n".join(text for text in texts if text and not same(text, part.given))
