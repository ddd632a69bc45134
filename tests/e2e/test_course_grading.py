"""Grading what students handed in: tests that cannot be talked round, grades and feedback."""

import csv
import html
import subprocess
import sys

import course
import grade_course
import gradebook
import pytest
import run_apart
from gradebook import Answer, Result, Test
from handed_in_examples import FIRST, as_bytes, at, changed, solved, untouched
from nbformat.v4 import new_code_cell
from run_apart import Cell, Outcome
from run_apart import run_apart as run_cells_apart
from run_cells import Session

from ifr.common import paths
from ifr.common.errors import UserError

Test.__test__ = False  # no class of tests
CHEATS = {
    "np.allclose = lambda *a, **k: True": "assert np.allclose(1, 2)",
    "np = None": "assert np.zeros(1) == 1",
    "abs = len = all = lambda *a: 0": "assert abs(-1) == 0 or len([1]) == 0",
    "import builtins\nbuiltins.all = lambda *a: True": "assert all([0])",
    "import torch\ntorch.Tensor.__eq__ = lambda *a: True": "assert bool(torch.ones(1) == 2)",
    "import sys, types\nsys.modules['math'] = types.ModuleType('math')": "import math\nmath.x",
    "AssertionError = ZeroDivisionError\n__builtins__ = {}": "assert False",
    "from ifr.mesh import FaceMesh\nFaceMesh.locate = lambda *a: 1": (
        "from ifr.mesh import FaceMesh\nassert FaceMesh.locate(1) == 1"
    ),
}


@pytest.mark.parametrize("cheat", CHEATS)
def test_a_student_does_not_change_what_a_test_means(cheat):
    session = Session(frozenset({"answer"}))
    assert not session.run("import math, numpy as np, torch\nimport ifr.mesh", True)
    assert not session.run(cheat, False)
    assert session.run(CHEATS[cheat], True)


def test_asserts_count_in_an_optimised_python():
    code = "from run_cells import Session; print(Session(frozenset()).run('assert 1 == 2', True))"
    command = [sys.executable, "-O", "-c", code]
    found = subprocess.run(command, cwd=course.SOURCES.parent, capture_output=True, text=True)
    assert found.stdout == "failed: assert 1 == 2\n"


def test_names_go_both_ways_and_each_side_keeps_its_own():
    session = Session(frozenset({"answer"}))
    for source, is_course in (
        ("data = 3\ndef show():\n    return answer() + extra", True),
        ("extra = data\ndef answer():\n    return data\nmine = data = 5", False),
        ("assert (show(), data, mine) == (8, 3, 5)\nmine = answer = 0\nnew = 1", True),
        ("assert (mine, data, new, answer()) == (5, 5, 1, 5)", False),
    ):
        assert not session.run(source, is_course)


def test_reasons_show_no_hidden_test_and_nothing_that_an_answer_says_of_a_test():
    session = Session(frozenset({"answer"}))
    session.run("def answer():\n    raise ValueError('seen')", False)
    hidden = "### BEGIN HIDDEN TESTS\n"
    assert session.run(f"{hidden}assert 'secret' == 1", True) == "a hidden test failed"
    assert session.run(f"{hidden}assert 'secret' == 1, 'too small'", True) == "too small"
    assert session.run("assert 'shown' == 1", True) == "failed: assert 'shown' == 1"
    assert session.run("answer()", True) == "ValueError"
    assert session.run("1 / 0", True) == "ZeroDivisionError: division by zero"
    assert session.run("raise ValueError('mine')", False).startswith("ValueError: mine")


def test_a_failing_machine_is_not_a_students_fault():
    cells = [Cell("data", "", True), Cell("", "", False), Cell("picture", "", True)]
    bad, good = Outcome("no network"), Outcome("")
    grade_course.require_machine(cells, [good, bad, bad], FIRST)
    with pytest.raises(UserError, match="own cell data, fails on this machine"):
        grade_course.require_machine(cells, [bad, good, good], FIRST)


def graded(answer="Because.", points=None):
    written = [Answer("explain", 2, answer, points)]
    return Result("ada", "01", "01.ipynb", tests=[Test("t", 3, 4, "")], written=written)


def read_table(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_points_given_by_hand_are_taken_over_until_the_answer_changes(tmp_path):
    gradebook.write_results(tmp_path, [graded("=1+1")])
    (row,) = read_table(tmp_path / "grades.csv")
    assert (row["tested"], row["written"], row["total"], row["most"]) == ("3", "", "", "6")
    text = (tmp_path / "written.csv").read_text()
    assert ", =1+1," in text, "no formula for a spreadsheet"
    filled = text.replace("explain,2,,,", 'explain,2,"1,5",well,')
    (tmp_path / "written.csv").write_text(filled, encoding="utf-8-sig")
    (result,) = gradebook.write_results(tmp_path, [graded("=1+1")])
    assert (result.total, result.written[0].comment) == (4.5, "well")
    assert "4.5 of 6" in (tmp_path / "feedback/ada/01.html").read_text()
    gradebook.write_results(tmp_path, [])  # another folder's results: these stay
    (result,) = gradebook.write_results(tmp_path, [graded("Another.")])
    assert result.total is None and "1.5 points were taken back" in result.notes[0]
    (result,) = gradebook.write_results(tmp_path, [graded("")])
    assert result.total == 3, "no answer, no points"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("ada;01;explain;2;3;;;x", "points must be 0 to 2, got '3'"),
        ("ada;01;explain;2;many;;;x", "points must be 0 to 2, got 'many'"),
    ],
)
def test_points_out_of_range_are_refused(tmp_path, row, message):
    header = gradebook.WRITTEN.replace(" ", ";")
    (tmp_path / "written.csv").write_text(f"{header}\n{row}\n")
    with pytest.raises(UserError, match=message):
        gradebook.write_results(tmp_path, [graded()])


def test_a_spoilt_table_of_written_answers_is_refused(tmp_path):
    path = tmp_path / "written.csv"
    path.write_text("student,points\nada,1\n")
    with pytest.raises(UserError, match="no column answer, comment"):
        gradebook.read_by_hand(path)
    path.write_bytes("Zoë".encode("latin-1"))
    with pytest.raises(UserError, match="not UTF-8"):
        gradebook.read_by_hand(path)


DEADLY = """
import os
{read}
def barycentric(*_):
    os._exit(0)
def enclosing_triangle(*_):
    return __import__("ctypes").string_at(0)
def place(*_):
    return np.ones(3 * 10**8)
def warp_rectangle(*_):
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass
"""
READS = """
for path in {files}:
    try:
        open(path).read()
    except PermissionError:
        continue
    os._exit(0)
"""


@pytest.fixture(scope="module")
def klass(tmp_path_factory):
    """A class of students, graded once: the folder of results and what the terminal showed."""
    folder = tmp_path_factory.mktemp("class") / "handed in"
    deadly, cheat, late = solved(), untouched(), solved()
    files = [str(course.SOURCES / f"{FIRST.stem}.ipynb"), str(folder / "right.ipynb")]
    code = new_code_cell(DEADLY.format(read=READS.format(files=files)))
    for name in ("barycentric", "enclosing_triangle", "place", "warp_rectangle"):
        deadly.cells[at(deadly, name)].source = "%matplotlib inline\n!ls"
    deadly.cells.insert(at(deadly, "barycentric"), code)
    cheat.cells.insert(1, new_code_cell("import os\nos._exit(0)"))
    cheat.cells.insert(2, new_code_cell('print(\'{"why": ""}\', "20 of 20 points")\nquit()'))
    changed(late)
    for path, content in (
        ("right.ipynb", as_bytes(solved())),
        ("deadly/01_barycentric_masks.ipynb", as_bytes(deadly)),
        ("cheat/x.ipynb", as_bytes(cheat)),
        ("broken/01_barycentric_masks.ipynb", b"{"),
        ("late/01_barycentric_masks.ipynb", as_bytes(late)),
    ):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IFR_HOME", str(paths.PACKAGE.parent))
        patch.setattr(run_apart, "MEMORY", 2 << 30)
        patch.setattr(run_apart, "CELL_SECONDS", 10)
        patch.setattr(run_apart, "GRACE", 1)
        patch.setattr(sys, "argv", ["grade", str(folder)])
        status = grade_course.main()
    return status, folder.with_name("handed in_graded")


def test_a_class_is_graded_whatever_some_of_it_handed_in(klass):
    status, results = klass
    rows = {row["student"]: row for row in read_table(results / "grades.csv")}
    assert status == 1, "one was refused"
    assert (rows["right"]["status"], rows["right"]["tested"]) == ("graded", "18")
    assert (rows["late"]["status"], rows["late"]["tested"]) == ("repaired", "18")
    assert (rows["broken"]["status"], rows["broken"]["tested"]) == ("refused", "")
    assert (rows["cheat"]["tested"], rows["cheat"]["total"]) == ("0", "0")
    parts = [row for row in read_table(results / "parts.csv") if row["student"] == "deadly"]
    why = {row["part"]: row["why"] for row in parts}
    assert rows["deadly"]["tested"] == "6", "of the three parts that harm nobody"
    assert "exit status 0" in why["test_barycentric"]
    assert "SIGSEGV" in why["test_enclosing_triangle"]
    assert "MemoryError" in why["test_place"] and "10 s" in why["test_warp_rectangle"]
    kept = list((results / "kept").iterdir())
    assert len(kept) == 2, "of the same cells one run counts; what ran out of time runs again"


def test_feedback_shows_no_hidden_test(klass):
    _, results = klass
    pages = {page.parent.name: html.unescape(page.read_text()) for page in results.rglob("*.html")}
    assert set(pages) == {"right", "late", "deadly", "cheat", "broken"}
    for page in [*pages.values(), (results / "parts.csv").read_text()]:
        assert not [line for line in FIRST.hidden if line in page] and len(FIRST.hidden) > 50
    assert "18 of 18 points" in pages["right"] and "not valid JSON" in pages["broken"]
    assert "test_place: changed; restored" in pages["late"]


def test_a_cell_that_ends_its_process_is_left_out_and_its_forged_answers_count_for_nothing():
    forged = "import os\nfor fd in range(3, 64):\n    try:\n        os.write(fd, b'{}\\n')\n"
    cells = [
        Cell("", forged + "    except OSError:\n        pass", False),
        Cell("", "def answer():\n    return 1", False),
        Cell("t", "assert answer() == 1", True, 2.0),
    ]
    outcomes = run_cells_apart(cells, {"answer"})
    assert outcomes == [Outcome("it interfered with the grading", True), Outcome(""), Outcome("")]


def test_what_cannot_be_graded_is_said(tmp_path, monkeypatch):
    for arguments, message in (
        ([tmp_path / "nowhere"], "is no folder"),
        ([tmp_path], "holds no notebook"),
        ([tmp_path, "--to", tmp_path / "in"], "lies among what students handed in"),
    ):
        monkeypatch.setattr(sys, "argv", ["grade", *map(str, arguments)])
        with pytest.raises(UserError, match=message):
            grade_course.main()
