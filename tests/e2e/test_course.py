"""The exercises grade themselves: full points for right answers, none for none, fewer for wrong."""

import json
import os
import shutil
from functools import cache

import course
import nbformat
import pytest
from check_course import (
    WRONG,
    check,
    grade_exercise,
    grade_with_nbgrader,
    read_mistake,
    with_mistake,
)

from ifr.cli.main import main as cli
from ifr.common import paths
from ifr.common.errors import UserError

ROOT = paths.PACKAGE.parent
EXERCISES = course.exercises()
NUMBERS = [path.name[:2] for path in EXERCISES]


@pytest.fixture(autouse=True)
def at_home(monkeypatch):
    """The checkout is the home, as for a student: its networks are those that exercises load."""
    monkeypatch.setenv("IFR_HOME", str(ROOT))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return course.build(tmp_path_factory.mktemp("course") / "a course")


@pytest.fixture
def exercise(tmp_path, monkeypatch):
    """A copy of the first exercise that a test may spoil, as the only one there is."""
    monkeypatch.setattr(course, "SOURCES", tmp_path)
    path = tmp_path / EXERCISES[0].name
    shutil.copy(EXERCISES[0], path)
    return path


def cells_of(path):
    notebook = nbformat.read(path, as_version=4)
    return {c.metadata.nbgrader.grade_id: c for c in notebook.cells if "nbgrader" in c.metadata}


@cache
def graded(path):
    return grade_exercise(path, WRONG)


@pytest.mark.parametrize("path", EXERCISES, ids=lambda path: path.stem)
def test_every_submission_scores_what_it_must(path):
    grades = graded(path)
    assert not [str(grade) for grade in grades if grade.problem]
    assert grades[0].submission == "reference" and grades[0].points == grades[0].most > 0
    assert grades[1].submission == "untouched" and grades[1].points == 0
    assert len(grades) >= 4 and all(0 < g.points < g.most for g in grades[2:])


@pytest.mark.parametrize("path", EXERCISES, ids=lambda path: path.stem)
def test_nbgrader_gives_the_same_points(built, path):
    """Of a wrong solution, whose other tests must pass: one kernel for each exercise."""
    there = list(grade_with_nbgrader(built, path, WRONG, first_mistake))
    assert there == first_mistake(graded(path))


def first_mistake(submissions):
    return submissions[2:3]


@pytest.mark.parametrize("path", EXERCISES, ids=lambda path: path.stem)
def test_the_release_keeps_the_text_and_hides_the_answers(built, path):
    source = built / "source" / path.stem / path.name
    release = built / "release" / path.stem / path.name
    assert source.read_bytes() == path.read_bytes()
    whole, given = cells_of(source), cells_of(release)
    assert list(whole) == list(given)
    for name, cell in given.items():
        facts = whole[name].metadata.nbgrader
        if facts.solution:
            word = "NotImplementedError" if cell.cell_type == "code" else "YOUR ANSWER HERE"
            assert word in cell.source and "SOLUTION" not in cell.source
            begin, _, end = whole[name].source.partition("### BEGIN SOLUTION")
            secret = (end or begin).partition("### END SOLUTION")[0].strip()
            assert secret.splitlines()[0].strip() not in release.read_text()
        elif facts.grade:
            assert "assert" in cell.source and "HIDDEN" not in cell.source
            assert len(cell.source) < len(whole[name].source)
        else:
            assert cell.source == whole[name].source
    assert release.read_bytes() == (course.RELEASE / path.name).read_bytes(), "--update makes it"
    assert (built / "gradebook.db").exists() and (built / "nbgrader_config.py").exists()


def test_building_leaves_the_environment_as_it_was(tmp_path, monkeypatch):
    monkeypatch.delenv("JUPYTER_PREFER_ENV_PATH", raising=False)
    before = dict(os.environ)
    with course.nbgrader_api(course.build(tmp_path, NUMBERS[:1])):
        assert os.environ["PATH"] != before["PATH"]
    assert dict(os.environ) == before


def test_building_again_keeps_what_students_handed_in(built):
    handed_in = built / "submitted" / "ada" / EXERCISES[0].stem / EXERCISES[0].name
    handed_in.parent.mkdir(parents=True)
    handed_in.write_text("{}")
    course.build(built, NUMBERS[:1])
    assert handed_in.read_text() == "{}" and not list(built.rglob("*.partial"))


def test_an_exercise_that_does_not_grade_is_found_out(exercise):
    """A test that passes on the untouched release, and a wrong solution that nothing finds."""
    notebook = nbformat.read(exercise, as_version=4)
    tests = [
        c
        for c in notebook.cells
        if c.metadata.get("nbgrader", {}).get("points") and c.cell_type == "code"
    ]
    for cell in tests:
        cell.source = "### BEGIN HIDDEN TESTS\nassert True\n### END HIDDEN TESTS"
    nbformat.write(notebook, exercise)
    grades = {grade.submission: grade for grade in grade_exercise(exercise, WRONG)}
    assert not grades.pop("reference").problem
    assert grades.pop("untouched").problem == "must get no point"
    assert all("must lose test_" in grade.problem for grade in grades.values())


def spoil(path, change):
    notebook = json.loads(path.read_text())
    cells = [c for c in notebook["cells"] if c["metadata"].get("nbgrader", {}).get("points")]
    change([c for c in cells if c["cell_type"] == "code"])
    path.write_text(json.dumps(notebook))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t[0]["metadata"]["nbgrader"].update(points=1), "add up to .*, not to 20"),
        (lambda t: t[1]["metadata"]["nbgrader"].update(t[0]["metadata"]["nbgrader"]), "used twice"),
        (lambda t: t[0]["metadata"]["nbgrader"].update(schema_version=2), "must be 3"),
        (lambda t: t[0].update(source="assert True"), "needs hidden tests"),
    ],
)
def test_an_exercise_out_of_form_is_refused(exercise, change, message):
    spoil(exercise, change)
    with pytest.raises(UserError, match=rf"{exercise.name}.*{message}"):
        course.require_form(exercise)


def test_a_wrong_solution_is_read_and_put_in_place(tmp_path):
    path = tmp_path / "forgets.py"
    path.write_text(
        '"""Forgets."""\n# loses: test_a, test_b\nimport x\n\n# %% a\nA = 1\n\n# %% b\nB\n'
    )
    mistake = read_mistake(path)
    assert mistake.loses == {"test_a", "test_b"} and mistake.cells == {"a": "A = 1", "b": "B"}
    solved = nbformat.read(EXERCISES[0], as_version=4)
    with pytest.raises(UserError, match="forgets: the exercise has no answer cell a, b"):
        with_mistake(solved, mistake)
    path.write_text('"""Forgets."""\nA = 1\n')
    with pytest.raises(UserError, match=r"forgets\.py is no wrong solution: expected a docstring"):
        read_mistake(path)


def test_too_few_wrong_solutions_and_unknown_numbers_are_refused(tmp_path, monkeypatch, capfd):
    with pytest.raises(UserError, match="has 0 wrong solutions"):
        next(check(tmp_path, NUMBERS[:1]))
    monkeypatch.setattr("sys.argv", ["ifr", "course", "build", "77", "--to", str(tmp_path)])
    with pytest.raises(SystemExit) as stop:
        cli()
    assert stop.value.code == 2 and "no exercise 77: choose from 01" in capfd.readouterr().err
    monkeypatch.setattr(course, "SOURCES", tmp_path)
    with pytest.raises(UserError, match="no exercises in"):
        course.exercises()
