"""One notebook executed: its parameters, its key, what it wrote, and how it may stop."""

import errno
import os
import time

import nbformat
import pandas as pd
import papermill
import pytest
from jupyter_client.kernelspec import NoSuchKernel

from ifr.common import paths
from ifr.common.errors import Stopped, UserError
from ifr.experiment import batch, results
from ifr.experiment.claims import BY_SEED
from ifr.experiment.notebook import check_parameters, execute, notebook_key, parameter_names
from ifr.experiment.run import start

PARAMETERS = 'profile = "smoke"\nseed = 0'
WRITE = """
from pathlib import Path
import pandas as pd
from ifr.experiment.results import Results
results = Results(name="05_small", folder=Path("{folder}"))
results.save_table(pd.DataFrame(dict(seed=[seed])), "{table}")
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("IFR_HOME", str(tmp_path))
    monkeypatch.setattr(paths, "SOURCE", tmp_path)
    (tmp_path / "notebooks").mkdir()
    return start("test", profile="smoke", seed=3)


def write(run, *cells, name="05_small", parameters=PARAMETERS):
    """Write a notebook of code cells, or text where one begins with #; return its path."""
    made = nbformat.v4.new_notebook()
    made.cells = [
        nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
        *(
            nbformat.v4.new_markdown_cell(source)
            if source.startswith("#")
            else nbformat.v4.new_code_cell(source)
            for source in cells
        ),
    ]
    path = paths.notebooks() / f"{name}.ipynb"
    nbformat.write(made, path)
    return path


def table(run, name):
    return WRITE.format(folder=run.folder, table=name)


def test_a_current_result_is_kept_and_takes_over_a_changed_text(run):
    path = write(run, "# Old title", table(run, "small"), "print('ran', seed)")
    target = run.folder / path.name
    assert execute([path], run) and not execute([path], run)
    assert pd.read_csv(run.folder / "tables" / "small.csv")["seed"].tolist() == [3]
    record = results.record_of(target)
    assert list(record["files"]) == ["tables/small.csv"] and record["seconds"] > 0
    write(run, "# New title", table(run, "small"), "print('ran', seed)")
    assert not execute([path], run)
    executed = nbformat.read(target, as_version=4)
    assert [cell.source for cell in executed.cells if cell.cell_type == "markdown"] == [
        "# New title"
    ]
    assert executed.cells[-1].outputs[0].text == "ran 3\n"
    assert results.record_of(target) == record


def test_a_result_whose_file_was_changed_or_lost_is_not_current(run):
    path = write(run, table(run, "small"))
    assert execute([path], run)
    (run.folder / "tables" / "small.csv").write_text("seed\n4\n")
    assert execute([path], run)
    (run.folder / "tables" / "small.csv").unlink()
    assert execute([path], run) and not execute([path], run)


def test_what_a_notebook_no_longer_writes_is_removed_and_no_other_file(run):
    path = write(run, table(run, "old"))
    execute([path], run)
    (run.folder / "tables" / "by_hand.csv").write_text("a\n1\n")
    write(run, table(run, "new"))
    execute([path], run)
    assert sorted(p.stem for p in (run.folder / "tables").iterdir()) == ["by_hand", "new"]


def test_leftovers_of_renamed_notebooks_are_removed_before_a_run(run, capsys):
    kept, renamed = write(run, table(run, "kept")), write(run, table(run, "gone"), name="07_old")
    execute([kept, renamed], run)
    evidence = run.folder / "tables" / "evidence_09.csv"
    evidence.write_text("claim\nC01\n")
    batch.clear_leftovers(run, [kept])
    left = [p.relative_to(run.folder).as_posix() for p in sorted(run.folder.rglob("*.*"))]
    assert left == ["05_small.ipynb", "tables/kept.csv"]
    shown = capsys.readouterr().out
    assert all(f"removed {name}" in shown for name in ("07_old.ipynb", "tables/evidence_09.csv"))
    assert batch.result_files(run.folder) == left


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ('note = "a=b"', "note"),
        ('x: Literal["a"] = "a"', "x"),
        ("n: int | None = None", "n"),
        ("a = b = 1  # two", "b"),
        ("low, (high, *rest) = 1, (2, 3)", "rest"),
        ("sizes: list[int] = [x for x in range(3)]", "sizes"),
        ("%matplotlib inline\n!ls\nx = 1", "x"),
        ("x = 1; x.real", "x"),
    ],
)
def test_every_way_to_set_a_parameter_is_known(run, line, name):
    path = write(run, parameters=f"{PARAMETERS}\n{line}")
    assert parameter_names(path)[-1] == name
    check_parameters(path, {name: 1})


def test_unknown_parameters_and_a_cell_that_is_not_python_are_refused(run):
    with pytest.raises(UserError, match=r"has no parameter sede: it takes profile, seed"):
        check_parameters(write(run), {"sede": 1})
    with pytest.raises(UserError, match=r"05_small\.ipynb are not Python: line 1"):
        parameter_names(write(run, parameters="seed := 1"))
    with pytest.raises(UserError, match=r"no parameter x: it takes profile, seed, y$"):
        check_parameters(write(run, parameters=f"{PARAMETERS}\ny = [x for x in (1,)]"), {"x": 1})
    path = write(run)
    for text in ("<<<<<<< HEAD\n{}", "{}", "[]"):
        path.write_text(text)
        with pytest.raises(UserError, match=r"05_small\.ipynb is no notebook"):
            parameter_names(path)


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("raise RuntimeError('no face')", "RuntimeError: no face"),
        ("raise RuntimeError('no face\\nand more')", "RuntimeError: no face; open"),
        ("import sys; sys.exit(0)", "SystemExit"),
        ("%%capture\nimport sys; sys.exit(0)", "SystemExit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt;"),
        ("import os; os._exit(0)", "its kernel was killed"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "its kernel was killed"),
    ],
)
def test_a_notebook_that_does_not_reach_its_end_is_named_and_keeps_the_last_result(
    run, capfd, cell, words
):
    path = write(run, "good = 1")
    execute([path], run)
    good = (run.folder / path.name).read_bytes()
    write(run, cell, "never = 1")
    with pytest.raises(UserError, match=rf"05_small\.ipynb.*{words}.*failed\.ipynb"):
        execute([path], run)
    assert (run.folder / path.name).read_bytes() == good
    assert (run.folder / "05_small.failed.ipynb").exists()
    assert capfd.readouterr().err == ""  # the message says it, and no library another time


def test_the_kernel_gets_its_environment_and_this_process_keeps_its_own(run):
    path = write(run, "import os; print(os.environ['IFR_PROGRESS'], 'IFR_JOURNAL' in os.environ)")
    before = dict(os.environ)
    execute([path], run)
    assert dict(os.environ) == before
    executed = nbformat.read(run.folder / path.name, as_version=4)
    assert executed.cells[-1].outputs[0].text == "0 True\n"


def test_ctrl_c_stops_every_notebook_and_leaves_nothing_half_done(run, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")  # two kernels
    interrupt = "import os, signal, time; os.kill(os.getppid(), signal.SIGINT); time.sleep(60)"
    other = write(run, "import time; time.sleep(60)", name="06_other")
    last = write(run, "1", name="07_last")
    began = time.monotonic()
    with pytest.raises(Stopped, match=r"stopped: what is done is kept"):
        execute([write(run, interrupt), other, last], run)
    assert not list(run.folder.glob("*.ipynb")) and time.monotonic() - began < 50


def test_notebooks_run_side_by_side_each_with_its_share_of_the_cores(run, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    meet = """
import time
from pathlib import Path
Path("{own}").touch()
while not Path("{other}").exists():
    time.sleep(0.05)
import torch
from ifr.experiment.run import start
_ = start("x", profile="smoke")
print(torch.get_num_threads())
"""
    names = ("first", "second")
    paths_ = [
        write(run, meet.format(own=run.folder / own, other=run.folder / other), name=f"0{k}_{own}")
        for k, (own, other) in enumerate((names, names[::-1]), start=5)
    ]
    assert execute(paths_, run) == paths_
    for path in paths_:
        executed = nbformat.read(run.folder / path.name, as_version=4)
        assert executed.cells[-1].outputs[-1].text.endswith("1\n")


def test_after_an_error_no_notebook_is_begun_and_those_in_work_come_to_their_end(run, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    bad, begun = write(run, "1 / 0"), []
    good = write(run, "import time; time.sleep(8)", name="06_b")
    third = write(run, "1", name="07_c")
    with pytest.raises(UserError, match="ZeroDivisionError"):
        execute([bad, good, third], run, begin=begun.append)
    assert begun == [bad, good]
    left = sorted(path.name for path in run.folder.glob("*.ipynb"))
    assert left == ["05_small.failed.ipynb", "06_b.ipynb"]


def test_a_stop_is_told_in_one_line_without_a_traceback(run):
    path = write(run, "from ifr.common.errors import Stopped; raise Stopped('step 3 is saved')")
    with pytest.raises(UserError, match=r"stopped with Stopped: step 3 is saved; open"):
        execute([path], run)
    failed = nbformat.read(run.folder / "05_small.failed.ipynb", as_version=4)
    errors = [output for cell in failed.cells for output in cell.get("outputs", ())]
    assert [error.traceback for error in errors] == [["step 3 is saved"]]


def test_an_executed_notebook_tells_its_parameters_and_no_other_fact_of_papermill(run):
    path = write(run, "# Text", "print(seed)")
    execute([path], run, parameters=dict(seed=5))
    executed = nbformat.read(run.folder / path.name, as_version=4)
    assert executed.metadata.papermill == dict(parameters=dict(profile="smoke", seed=5))
    assert all(not {"papermill", "execution"} & set(cell.metadata) for cell in executed.cells)
    assert executed.cells[1].metadata.tags == ["injected-parameters"]


def test_the_kernel_says_nothing_in_the_log(run, capfd):
    execute([write(run, "1")], run)
    output = capfd.readouterr()
    assert output.out.startswith("05_small.ipynb: executed in ") and output.out.count("\n") == 1
    assert output.err == ""


def test_folders_named_from_here_are_the_same_for_the_kernel(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path.parent)
    monkeypatch.setenv("IFR_HOME", tmp_path.name)
    monkeypatch.setenv("IFR_REAL_FACES", "my {faces}")
    line = "from ifr.common import paths; print(paths.home(), paths.real_faces(), sep='\\n')"
    path = write(run, line)
    execute([path], run)
    executed = nbformat.read(run.folder / path.name, as_version=4)
    assert executed.cells[-1].outputs[0].text == f"{tmp_path}\n{tmp_path.parent / 'my {faces}'}\n"


def test_a_home_of_any_name_will_do(tmp_path, monkeypatch):
    home = tmp_path / "my wörk {seed} {0} %s"
    monkeypatch.setenv("IFR_HOME", str(home))
    monkeypatch.setattr(paths, "SOURCE", home)
    (home / "notebooks").mkdir(parents=True)
    run = start("test", profile="smoke")
    path = write(run, table(run, "small"))
    assert execute([path], run) and (run.folder / "tables" / "small.csv").exists()
    assert [one.name for one in run.folder.glob("*.ipynb")] == ["05_small.ipynb"]


def test_a_disk_that_fills_up_while_a_notebook_runs_leaves_the_last_result(run, monkeypatch):
    path = write(run, "1")
    execute([path], run)

    def full(_, target, *__, **___):
        (run.folder / "05_small.failed.ipynb").write_text("{ half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(papermill, "execute_notebook", full)
    with pytest.raises(
        UserError, match=r"05_small\.failed\.ipynb cannot be written: No space left"
    ):
        execute([path], run, force=True)
    assert [one.name for one in run.folder.glob("*.ipynb")] == ["05_small.ipynb"]
    assert results.record_of(run.folder / path.name)["key"]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (NoSuchKernel("python3"), "no kernel for notebooks is installed: pip install ipykernel"),
        (
            RuntimeError("Kernel died before replying"),
            r"05_small\.ipynb was not begun: Kernel died",
        ),
    ],
)
def test_a_kernel_that_does_not_start_is_told(run, monkeypatch, fault, words):
    def fails(*_, **__):
        raise fault

    monkeypatch.setattr(papermill, "execute_notebook", fails)
    with pytest.raises(UserError, match=words):
        execute([write(run, "1")], run)


def test_the_key_follows_what_the_library_does_not_what_it_says(run, tmp_path, monkeypatch):
    path = write(run, "1")

    def key(text, **parameters):
        package = tmp_path / f"package{len(list(tmp_path.iterdir()))}"
        package.mkdir()
        (package / "module.py").write_text(text)
        monkeypatch.setattr(paths, "PACKAGE", package)
        return notebook_key(path, run, parameters)

    first = key('"""Old words."""\nRATE = 0.5\n')
    assert key('"""Mended words, more of them."""\n\nRATE = 0.5  # and why\n') == first
    assert key('"""Old words."""\nRATE = 0.25\n') != first
    assert key('"""Old words."""\nRATE = 0.5\n', seed=1) != first


def test_the_key_follows_the_evidence_that_a_notebook_shows(run):
    claims, other = write(run, name="12_claims"), write(run, name="11_part_retrieval")
    second = run.folder.with_name("seed-9") / "tables"

    def keys():
        return [notebook_key(path, run, {}) for path in (claims, other)]

    seen = [keys()]
    for folder, name in (
        (run.folder / "tables", "evidence_07.csv"),
        (paths.results("photographs", 0), "claims.csv"),
        (second, "evidence_07.csv"),
        (second, "evidence_11.csv"),
    ):
        (folder / "tables").mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("claim\n")
        (folder / "tables" / BY_SEED).write_text("claim\n")
        seen.append(keys())
    assert len({one for one, _ in seen}) == 5  # it reads all
    assert [other == seen[0][1] for _, other in seen] == [True] * 4 + [False]  # what it recorded
