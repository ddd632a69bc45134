"""Answers that call the library for what they were to write: found, and nothing else is."""

import csv
import importlib

import grade_course
import pytest
from borrowed import LIBRARY, borrowed, read_library
from grade_course import HandedIn, Prepared
from handed_in import defined, own_cell, repair
from handed_in_examples import ALL, at, solved
from nbformat.v4 import new_code_cell
from run_apart import Outcome

FOURTH = next(exercise for exercise in ALL if exercise.stem.startswith("04"))
ROWS = list(csv.DictReader(LIBRARY.read_text(encoding="utf-8").splitlines()))
FAD = read_library(FOURTH.stem)
NAME = "ifr.losses.feature_activation_diversity"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['answer']}-{row['library']}")
def test_the_table_names_answers_and_functions_that_exist(row):
    exercise = next(one for one in ALL if one.stem == row["exercise"])
    assert row["answer"] in exercise.answers
    *path, name = row["library"].split(".")
    owner = importlib.import_module(".".join(part for part in path if part.islower()))
    for part in path:
        owner = getattr(owner, part) if part[0].isupper() else owner
    assert callable(getattr(owner, name))
    method = row["library"].rpartition(".")[0].rpartition(".")[2][0].isupper()
    where = row["library"].rpartition(".")[0]
    given = "import ifr" if method else f"from {where} import {name} as given"
    call = f"ifr.x.{name}" if method else "given"
    code = f"{given}\ndef {row['answer']}(*a):\n    return {call}(*a)"
    found = borrowed([code], read_library(row["exercise"]))
    assert found[row["answer"]].rpartition(".")[2] == name


def test_every_exercise_has_a_row():
    assert {row["exercise"] for row in ROWS} == {exercise.stem for exercise in ALL}


FAD_NAME = NAME.rpartition(".")[2]
CALLS = [
    f"from ifr.losses import {FAD_NAME} as f\ndef fad_loss(*a):\n    return f(*a)",
    f"from ifr import losses\nfad_loss = losses.{FAD_NAME}",
    f"import ifr.losses as L\ndef fad_loss(c, o, m): return L.{FAD_NAME}(c, o, m)",
    f"def fad_loss(*a):\n    from ifr.losses import {FAD_NAME} as f\n    return f(*a)",
    f"from ifr.losses import *\nfad_loss = lambda *a: {FAD_NAME}(*a)",
    f"from ifr import losses\ndef help(*a):\n    return losses.{FAD_NAME}(*a)\n"
    "def fad_loss(*a):\n    return help(*a)",
    f"import ifr.losses\ndef fad_loss(*a):\n    return getattr(ifr.losses, '{FAD_NAME}')(*a)",
    "%%time\n%matplotlib inline\nfrom ifr import losses\ntry:\n"
    f"    fad_loss = losses.{FAD_NAME}\nexcept ImportError:\n    pass",
]


@pytest.mark.parametrize("code", CALLS)
def test_a_call_is_found_however_it_is_reached(code):
    assert borrowed(["import torch", code, "def broken("], FAD) == {"fad_loss": NAME}
    first, _, rest = code.partition("\n")
    if not first.startswith(("%", "def")):
        assert borrowed([first, rest], FAD) == {"fad_loss": NAME}, "in cells apart"


OWN = "def fad_loss(c, o, m):\n    return ((c - o).abs() * m).sum(dim=1).mean()"
INNOCENT = [
    OWN,
    f"from ifr import losses\n{OWN}\nassert losses.feature_activation_diversity(1, 2, 3) == 4",
    f"from ifr.losses import feature_activation_diversity as theirs\n{OWN}\nprint(theirs)",
    f"from ifr import losses\nfad_loss = losses.feature_activation_diversity\n{OWN}",
    "import own as mine\ndef fad_loss(*a):\n    return mine.feature_activation_diversity(*a)",
    'def fad_loss(*a):\n    "feature_activation_diversity"\n    theirs = 1\n    return theirs\n'
    "from ifr import losses\ntheirs = losses.feature_activation_diversity",
]


@pytest.mark.parametrize("code", INNOCENT)
def test_comparing_with_the_library_costs_nothing(code):
    assert borrowed([code], FAD) == {}


@pytest.mark.parametrize("exercise", ALL, ids=lambda exercise: exercise.stem)
def test_no_reference_solution_is_taken_for_a_call(exercise):
    cells = [own_cell(cell) for cell in solved(exercise.stem).cells]
    assert repair(cells, exercise).no_own == {}


def test_the_part_scores_zero_and_says_why(tmp_path, monkeypatch):
    notebook = solved(FOURTH.stem)
    notebook.cells[at(notebook, "fad_loss")].source = CALLS[0]
    notebook.cells.insert(0, new_code_cell("from ifr import losses"))
    repaired = repair([own_cell(cell) for cell in notebook.cells], FOURTH)
    assert list(repaired.no_own) == ["test_fad_loss"] and "fad_loss" in defined(CALLS[0])
    monkeypatch.setattr(grade_course, "run_apart", lambda cells, *a: [Outcome("")] * len(cells))
    handed_in = HandedIn("ada", FOURTH.stem, tmp_path / "x.ipynb")
    result = grade_course.run(Prepared(handed_in, FOURTH, repaired), tmp_path, "", ())
    scores = {test.name: (test.points, test.why) for test in result.tests}
    assert scores.pop("test_fad_loss") == (0.0, f"fad_loss calls {NAME}: write it yourself")
    assert all(points > 0 and not why for points, why in scores.values())
