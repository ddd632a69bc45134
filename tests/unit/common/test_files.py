"""Files written whole or not at all, also on a full disk; one process at a time; hashes."""

import ast
import errno
import re
import sys
import threading

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from ifr.common.errors import OutOfTime, UserError
from ifr.common.files import alone, code_hash, write_array, write_bytes, write_text, written_whole

resource = pytest.importorskip("resource")  # limits a process: POSIX alone has it
LIMIT = 50_000  # bytes
NUMBERS = np.random.default_rng(0).random((200, 100))


@pytest.fixture
def little_room():
    """Files of this process end at LIMIT bytes, which the system refuses as it does a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def write_torch(path):
    with open(path, "wb") as file:
        torch.save(dict(a=torch.from_numpy(NUMBERS)), file)


def write_archive(path):
    with open(path, "wb") as file:
        np.savez(file, a=NUMBERS)


def draw(path):
    figure = Figure()
    figure.subplots().imshow(NUMBERS, interpolation="none")
    figure.savefig(path, format="png", dpi=300)


def write_notebook(path):
    cells = [nbformat.v4.new_markdown_cell("x" * 2 * LIMIT)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(bytes(2 * LIMIT)),
        lambda path: pd.DataFrame(NUMBERS).to_csv(path),
        write_torch,
        write_archive,
        draw,
        write_notebook,
    ],
)
def test_a_file_that_does_not_fit_is_named_and_leaves_what_was_there(tmp_path, little_room, write):
    """Libraries raise OSError with and without a number, RuntimeError and their own kinds."""
    path = tmp_path / "a.bin"
    write_bytes(path, b"before")
    with (
        pytest.raises(
            UserError, match=r"a\.bin cannot be written: File too large; free some space"
        ),
        written_whole(path) as temporary,
    ):
        write(temporary)
    with pytest.raises(UserError, match="cannot be written"):
        write_array(path, NUMBERS)
    assert [one.name for one in tmp_path.iterdir()] == ["a.bin"]
    assert path.read_bytes() == b"before"


def test_another_fault_while_writing_stays_what_it_is_and_leaves_nothing(tmp_path):
    for fault in (ZeroDivisionError(), OSError(errno.EIO, "broken"), UserError("no faces")):
        with pytest.raises(type(fault)), written_whole(tmp_path / "a") as temporary:
            temporary.write_text("half")
            raise fault
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot write to .*file/a: Not a directory.*IFR_HOME"):
        write_text(tmp_path / "file" / "a" / "b.txt", "x")


def test_two_threads_write_one_file_without_meeting(tmp_path):
    with written_whole(tmp_path / "a") as one, written_whole(tmp_path / "a") as other:
        one.write_text("one")
        other.write_text("other")
    assert (tmp_path / "a").read_text() == "one" and len(list(tmp_path.iterdir())) == 1


def test_who_holds_a_lock_is_alone_and_leaves_no_file(tmp_path, capsys):
    lock, order = tmp_path / "made here" / "a.lock", []
    inside, go_on = threading.Event(), threading.Event()

    def hold():
        with alone(lock):
            inside.set()
            assert go_on.wait(60)
            order.append("first")

    first = threading.Thread(target=hold)
    first.start()
    assert inside.wait(60)
    with alone(lock, go_on.set):
        order.append("second")
    first.join(60)
    assert order == ["first", "second"] and not list(lock.parent.iterdir())
    assert f"it holds {lock}: waiting for it" in capsys.readouterr().err


def test_a_wait_ends_when_time_is_up_and_an_error_frees_the_lock(tmp_path):
    def late():
        raise OutOfTime("time is up")

    with pytest.raises(ZeroDivisionError), alone(tmp_path / "a.lock"):
        with pytest.raises(OutOfTime), alone(tmp_path / "a.lock", late):
            pass
        raise ZeroDivisionError
    with alone(tmp_path / "a.lock"):
        pass
    assert not list(tmp_path.iterdir())


def test_comments_docstrings_and_layout_do_not_count_but_code_does(tmp_path):
    def hashed(text):
        path = tmp_path / "a.py"
        path.write_text(text)
        return code_hash([path])

    plain = hashed('def f(x):\n    """Double."""\n    return 2 * x\n')
    assert plain == hashed(
        'def f(x):\n    """Twice."""\n    # a comment\n    return (2 *\n        x)\n'
    )
    assert plain != hashed('def f(x):\n    """Double."""\n    return 3 * x\n')


def test_every_version_of_python_gives_code_the_same_hash(tmp_path, monkeypatch):
    """Else the networks kept with a reference would not be found: 3.12 and 3.13 gave others."""
    path = tmp_path / "a.py"
    path.write_text(
        "class A(B):\n    async def f(self, *a, k=1, **b):\n        return [x async for x in a]\n"
        "\n\n@g\ndef h():\n    match k:\n        case [1, *_]:\n            return f'{k!r:>9}'\n"
    )
    assert code_hash([path])[:16] == "2ce4860d65e704d1"
    every = {"show_empty": True} if sys.version_info >= (3, 13) else {}
    plain = ast.dump(ast.parse(path.read_text()), **every).replace(", type_params=[]", "")
    typed = re.sub(r"decorator_list=\[(.*?)\]\)", r"decorator_list=[\1], type_params=[])", plain)
    assert typed.count("type_params") == 3
    monkeypatch.setattr(ast, "dump", lambda tree: typed)  # as 3.12 shows it
    monkeypatch.setattr(sys, "version_info", (3, 12))
    assert code_hash([path])[:16] == "2ce4860d65e704d1"
    # 3.13 hides empty lists, unless it is asked
    hidden = typed.replace(", type_params=[]", "").replace(", decorator_list=[]", "")
    monkeypatch.setattr(ast, "dump", lambda tree, show_empty=False: typed if show_empty else hidden)
    monkeypatch.setattr(sys, "version_info", (3, 13))
    assert code_hash([path])[:16] == "2ce4860d65e704d1"
