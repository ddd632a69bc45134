"""Notebooks as students hand them in: repaired or refused, whoever's and whatever they are."""

import copy

import grade_course
import nbformat
import pytest
from handed_in import Refused, exercise_of, own_cell, read_cells, repair
from handed_in_examples import ALL, FIRST, STEMS, TESTS, as_bytes, at, changed, solved, untouched
from nbformat.v4 import new_code_cell, new_markdown_cell, new_raw_cell
from nbgrader.utils import compute_checksum


def repaired(notebook):
    return repair([own_cell(cell) for cell in nbformat.from_dict(notebook).cells], FIRST)


def removed(notebook, name="test_place"):
    del notebook.cells[at(notebook, name)]


def copied(notebook):
    place = at(notebook, "test_place")
    notebook.cells.insert(0, copy.deepcopy(notebook.cells[place]))


def copied_untouched(notebook):
    place = at(notebook, "place")
    notebook.cells.insert(place + 1, untouched().cells[place])


def moved(notebook):
    notebook.cells.append(notebook.cells.pop(at(notebook, "test_place")))


def retyped(notebook):
    for name, new in (("test_place", new_markdown_cell), ("place", new_raw_cell)):
        place = at(notebook, name)
        old = notebook.cells[place]
        notebook.cells[place] = new(old.source, metadata=old.metadata)


def older(notebook):
    cell = notebook.cells[at(notebook, "test_place")]
    cell.source = "assert place(1) == 2"
    cell.metadata.nbgrader.checksum = compute_checksum(cell)


def without_metadata(notebook):
    for cell in notebook.cells:
        cell.metadata = {}


def broken_metadata(notebook):
    spoilt = [{"nbgrader": 3}, {"nbgrader": {"grade_id": [1]}}, {"nbgrader": {}}]
    for index, cell in enumerate(notebook.cells):
        cell.metadata = spoilt[index % 3]


def answer_in_the_test(notebook):
    answer = notebook.cells.pop(at(notebook, "place"))
    notebook.cells[at(notebook, "test_place")].source = answer.source


def renamed(notebook):
    for name in ("place", "test_place"):
        notebook.cells[at(notebook, name)].metadata.nbgrader.grade_id = f"old_{name}"


@pytest.mark.parametrize(
    ("change", "notes"),
    [
        (lambda notebook: None, []),
        (removed, ["test_place: missing; restored"]),
        (copied, ["test_place: there 2 times", "test_place: out of its place; put back"]),
        (copied_untouched, ["place: there 2 times"]),
        (changed, ["test_place: changed; restored"]),
        (moved, ["test_place: out of its place; put back"]),
        (retyped, ["place: turned into raw; read as code", "test_place: turned into markdown"]),
        (older, ["test_place: of another release; the present one was used"]),
        (without_metadata, ["without nbgrader's metadata", "place: in a cell without its name"]),
        (broken_metadata, ["without nbgrader's metadata", "place: in a cell without its name"]),
        (
            answer_in_the_test,
            ["place: in a cell without its name", "test_place: missing; restored"],
        ),
        (renamed, ["place: in a cell without its name"]),
    ],
)
def test_the_courses_cells_are_the_sources_again_each_once_and_in_place(change, notes):
    notebook = solved()
    change(notebook)
    result, right = repaired(notebook), repaired(solved())
    assert [cell for cell in result.cells if cell.course] == [c for c in right.cells if c.course]
    assert {cell.name: cell.points for cell in result.cells if cell.points} == TESTS
    order = [cell.source for cell in right.cells]
    found = [cell.source for cell in result.cells if cell.source in order]
    assert found == order, "answers, too, each before its test"
    assert result.written == right.written
    assert all(any(note in one for one in result.notes) for note in notes)
    assert bool(result.notes) == bool(notes)


def test_cells_of_the_students_own_stay_where_they_are_and_the_later_answer_counts():
    notebook = solved()
    place = at(notebook, "place")
    better = copy.deepcopy(notebook.cells[place])
    better.source = "def place(*_):\n    return 'later'"
    notebook.cells[place + 1 : place + 1] = [new_code_cell("helper = 1"), better]
    notebook.cells.insert(0, new_code_cell("first = 1"))
    notebook.cells.append(new_code_cell("never_run = 1"))
    sources = [cell.source for cell in repaired(notebook).cells]
    assert sources[0] == "first = 1" and "never_run = 1" not in sources
    start = sources.index("helper = 1")
    assert "def place(" in sources[start - 1] and sources[start + 1] == better.source
    assert sources[start + 2] == FIRST.by_name["test_place"].source


def test_a_written_answer_is_found_beside_its_cell_and_none_is_none():
    notebook = untouched()
    place = at(notebook, "explain_same_spot")
    assert repaired(notebook).written == {"explain_same_spot": ""}
    notebook.cells.insert(place + 1, new_markdown_cell("Because."))
    assert repaired(notebook).written == {"explain_same_spot": "Because."}
    del notebook.cells[place]
    assert repaired(notebook).written == {"explain_same_spot": "Because."}


def test_all_answers_in_one_cell_are_found():
    answers = [c.source for c in repaired(solved()).cells if not c.course]
    notebook = nbformat.v4.new_notebook(cells=[new_code_cell("\n".join(answers))])
    result = repaired(notebook)
    assert [cell.source for cell in result.cells if not cell.course] == ["\n".join(answers)]
    assert result.cells[0].name == "data" and sum(cell.points for cell in result.cells) == 18


def test_answers_to_another_release_are_refused():
    notebook = solved()
    renamed(notebook)
    cell = notebook.cells[at(notebook, "old_place")]
    cell.source = cell.source.replace("def place", "def locate")
    with pytest.raises(Refused, match="another release: it answers old_place, not place"):
        repaired(notebook)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b'{"cells": [<<<<<<< HEAD', "not valid JSON"),
        (b"<html>", "not valid JSON"),
        (b"\xff\x00\xfe", "not valid JSON"),
        (b"[]", "no notebook"),
        (b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}}', "no notebook"),
        (b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [3]}', "no notebook"),
    ],
)
def test_what_is_no_notebook_is_refused(tmp_path, content, why):
    path = tmp_path / "01.ipynb"
    path.write_bytes(content)
    with pytest.raises(Refused, match=why):
        read_cells(path)


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_a_notebook_is_read_in_any_encoding_of_json(tmp_path, start):
    path = tmp_path / "01.ipynb"
    path.write_bytes(start + as_bytes(solved()))
    assert [cell.source for cell in read_cells(path)] == [cell.source for cell in solved().cells]


def test_the_exercise_is_what_the_cells_say():
    cells = [own_cell(cell) for cell in solved(STEMS[1]).cells]
    assert exercise_of(cells, "", ALL).stem == exercise_of(cells, STEMS[1], ALL).stem == STEMS[1]
    with pytest.raises(Refused, match=f"named {STEMS[0]} but holds {STEMS[1]}"):
        exercise_of(cells, STEMS[0], ALL)
    with pytest.raises(Refused, match="no cell of any exercise"):
        exercise_of([own_cell(new_code_cell("print(1)"))], STEMS[0], ALL)


@pytest.mark.parametrize(
    ("path", "student", "named"),
    [
        ("ada/01_barycentric_masks.ipynb", "ada", FIRST.stem),
        ("ada/01_barycentric_masks/01_barycentric_masks.ipynb", "ada", FIRST.stem),
        ("Ada Lovelace/Untitled1.IPYNB", "Ada Lovelace", ""),
        ("01_barycentric_masks/ada.ipynb", "ada", ""),
        ("01_barycentric_masks/ada/01.ipynb", "ada", ""),
        ("ada_01_barycentric_masks.ipynb", "ada", FIRST.stem),
        ("Ada Lovelace - 01 barycentric masks (1).ipynb", "Ada Lovelace", FIRST.stem),
        ("01_barycentric_masks_ada.ipynb", "ada", FIRST.stem),
        ("ada.ipynb", "ada", ""),
        ("01_barycentric_masks-Copy1.ipynb", "class", FIRST.stem),
        ("ada/answer.pdf", "ada", ""),
    ],
)
def test_layouts(tmp_path, path, student, named):
    folder = tmp_path / "class"
    for name in (path, ".DS_Store", "__MACOSX/._x.ipynb", "ada/.ipynb_checkpoints/x.ipynb"):
        if name == path or name.startswith(path.partition("/")[0]) or name[0] in "._":
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
    (found,) = grade_course.collect(folder, STEMS)
    assert (found.student, found.named) == (student, named)


def test_of_two_notebooks_the_one_named_as_the_exercise_counts_else_none(tmp_path):
    for name, notebook in (("01_barycentric_masks", solved()), ("draft", untouched())):
        (tmp_path / "ada").mkdir(exist_ok=True)
        (tmp_path / "ada" / f"{name}.ipynb").write_bytes(as_bytes(notebook))
    ones = [grade_course.prepare(one, ALL) for one in grade_course.collect(tmp_path, STEMS)]
    (chosen,) = grade_course.choose(ones)
    assert chosen.handed_in.path.stem == FIRST.stem and "draft.ipynb" in chosen.repaired.notes[-1]
    (tmp_path / "ada" / "01_barycentric_masks.ipynb").rename(tmp_path / "ada" / "final.ipynb")
    ones = [grade_course.prepare(one, ALL) for one in grade_course.collect(tmp_path, STEMS)]
    (chosen,) = grade_course.choose(ones)
    assert "draft.ipynb, final.ipynb" in chosen.refused
