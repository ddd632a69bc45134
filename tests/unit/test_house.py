"""The house: which rooms there are, who imports from whom, and how large a file may grow."""

import ast
from pathlib import Path

import pytest

from ifr.common.paths import PACKAGE

# Top to bottom, as CONTRIBUTING.md lists them: a room imports only from rooms above it.
ROOMS = (
    "common",
    "profiles",
    "landmarks",
    "faces",
    "datasets",
    "mesh",
    "occlusion",
    "losses",
    "models",
    "training",
    "evaluation",
    "interpretation",
    "figures",
    "experiment",
    "apps",
    "cli",
)
BESIDE_THE_ROOMS = {"__init__.py", "__main__.py", "py.typed", "assets", "__pycache__"}
# The paper's companion took 12,500; explained pairs and their measures, what protocols count and
# open-set identification came on top.
FILE_LINES, FUNCTION_LINES, ALL_LINES = 400, 60, 14_771
SOURCES = sorted(PACKAGE.rglob("*.py"))


def room_of(source: Path) -> str:
    """Return the room a source file lies in."""
    return source.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(text: str) -> set[str]:
    """Return the rooms that a module imports from, imports inside functions included."""
    rooms = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "ifr":
            names = [f"ifr.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "the library imports by full names"
            names = [node.module or ""]
        else:
            continue
        rooms |= {name.split(".")[1] for name in names if name.startswith("ifr.")}
    return rooms & set(ROOMS)


def below(room: str, imported: set[str]) -> set[str]:
    """Return those of some imported rooms that do not lie above a room."""
    return {other for other in imported - {room} if ROOMS.index(other) > ROOMS.index(room)}


def test_one_look_shows_the_rooms():
    entries = {path.name for path in PACKAGE.iterdir()} - BESIDE_THE_ROOMS
    assert {name.removesuffix(".py") for name in entries} == set(ROOMS)
    assert len(ROOMS) <= 16


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_from_rooms_above_it(room):
    """So no two rooms import each other, either."""
    sources = [source for source in SOURCES if room_of(source) == room]
    assert sources
    wrong = {
        str(source.relative_to(PACKAGE)): found
        for source in sources
        if (found := below(room, imported_rooms(source.read_text(encoding="utf-8"))))
    }
    assert not wrong


def test_an_import_from_below_is_seen_in_every_form():
    for line in (
        "from ifr.cli.main import app",
        "from ifr import cli",
        "import ifr.cli.main",
        "def late():\n    from ifr.cli import main",
    ):
        assert below("mesh", imported_rooms(line)) == {"cli"}
    assert not below("cli", imported_rooms("from ifr.mesh import FaceMesh"))


def test_files_and_functions_stay_small():
    total, large = 0, []
    for source in SOURCES:
        text, name = source.read_text(encoding="utf-8"), source.relative_to(PACKAGE)
        lines = len(text.splitlines())
        total += lines
        if lines > FILE_LINES:
            large.append(f"{name}: {lines} lines")
        large += [
            f"{name}: {node.name} has {node.end_lineno - node.lineno + 1} lines"
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and node.end_lineno - node.lineno + 1 > FUNCTION_LINES
        ]
    assert not large
    assert total <= ALL_LINES


def test_every_function_is_annotated():
    bare = [
        f"{source.relative_to(PACKAGE)}:{node.lineno} {node.name}"
        for source in SOURCES
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not annotated(node)
    ]
    assert not bare


def annotated(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Return whether every parameter but self has a type, and so has the result (not __init__)."""
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    named = [argument for argument in arguments if argument.arg not in ("self", "cls", "_")]
    result = node.returns is not None or node.name == "__init__"
    return result and all(argument.annotation is not None for argument in named)
