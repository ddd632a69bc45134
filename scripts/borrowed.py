"""Finds answers that call the library for what they were to write, by reading the code.

What each answer may not call is in ``exercises/library.csv``. Names are followed through imports,
assignments and functions of the notebook; code that hides what it calls is not found.
"""

import ast
import csv
import re
import symtable
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

LIBRARY = Path(__file__).resolve().parent / "exercises" / "library.csv"
BY_NAME = ("attrgetter", "getattr", "methodcaller")  # builtins that take an attribute's name

DEFINES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
ALWAYS = (*DEFINES, ast.Import, ast.ImportFrom, ast.Assign)  # take the place of what was before

Reach = dict[str, set[str]]  # name in the notebook -> names that it uses, ".name" the library's


@cache
def read_library(exercise: str) -> dict[str, tuple[str, ...]]:
    """Return by answer what of the library gives it, such as ``ifr.losses.smooth``."""
    found: dict[str, list[str]] = defaultdict(list)
    with open(LIBRARY, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["exercise"] == exercise:
                found[row["answer"]].append(row["library"])
    return {answer: tuple(names) for answer, names in found.items()}


def borrowed(sources: Sequence[str], library: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return by answer the function of the library that it calls, of cells in their order."""
    names = {name.rpartition(".")[2] for given in library.values() for name in given}
    trees = [tree for tree in map(parsed, sources) if tree]
    foreign = {name for tree in trees for name in imported_from_elsewhere(tree)}
    reach: Reach = {}
    for statement in (one for tree in trees for one in tree.body):
        for name, used in bound(statement, names, foreign).items():
            before = set() if isinstance(statement, ALWAYS) else reach.get(name, set())
            reach[name] = before | used
    found = {}
    for answer, given in library.items():
        called = reached(answer, reach)
        hits = [name for name in given if f".{name.rpartition('.')[2]}" in called]
        found |= {answer: hits[0]} if hits else {}
    return found


def parsed(source: str) -> ast.Module | None:
    """Return a cell's code, without what only IPython understands; None if it is no Python."""
    from IPython.core.inputtransformer2 import TransformerManager

    try:
        body = re.sub(r"\A(\s*%%.*\n)+", "", source)
        return ast.parse(TransformerManager().transform_cell(body))
    except (SyntaxError, ValueError, RecursionError):
        return None


def imported_from_elsewhere(tree: ast.AST) -> Iterator[str]:
    """Yield the names of modules and functions that are not of the library."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and node.module):
            module = getattr(node, "module", "")
            for alias in node.names:
                if (module or alias.name).partition(".")[0] != "ifr":
                    yield (alias.asname or alias.name).partition(".")[0]


def bound(statement: ast.stmt, names: Collection[str], foreign: Collection[str]) -> Reach:
    """Return the names that a statement of a cell binds, with what each of them uses."""
    if isinstance(statement, ast.ImportFrom) and of_library(statement):
        given = {alias.asname or alias.name: alias.name for alias in statement.names}
        given |= dict(zip(names, names, strict=True)) if "*" in given else {}
        return {name: {f".{original}"} for name, original in given.items()}
    used = {f".{name}" for name in library_names(statement, names, foreign)}
    used |= global_names(statement)
    if isinstance(statement, DEFINES):
        return {statement.name: used}
    nodes = list(ast.walk(statement))
    stored = [n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    return dict.fromkeys([*stored, *(n.name for n in nodes if isinstance(n, DEFINES))], used)


def of_library(node: ast.ImportFrom) -> bool:
    """Return whether an import is from the library."""
    return (node.module or "").partition(".")[0] == "ifr"


def library_names(tree: ast.AST, names: Collection[str], foreign: Collection[str]) -> Iterator[str]:
    """Yield the functions of the library that code names, as attributes, imports or texts."""
    for node in ast.walk(tree):
        found: list[Any] = []
        if isinstance(node, ast.Attribute) and root(node) not in foreign:
            found = [node.attr]
        elif isinstance(node, ast.ImportFrom) and of_library(node):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.Call) and last_name(node.func) in BY_NAME:
            found = [one.value for one in node.args if isinstance(one, ast.Constant)]
        yield from (name for name in found if name in names)


def root(node: ast.AST) -> str:
    """Return the name that a chain of attributes begins with, or ""."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def last_name(node: ast.AST) -> str:
    """Return the name of what is called, or ""."""
    return node.attr if isinstance(node, ast.Attribute) else root(node)


def global_names(statement: ast.stmt) -> set[str]:
    """Return the names of the notebook that a statement, or a function in it, uses."""
    tables = [symtable.symtable(ast.unparse(statement), "<cell>", "exec")]
    used = set()
    for table in tables:
        tables += table.get_children()
        top = table.get_type() == "module"
        symbols = (one for one in table.get_symbols() if one.is_referenced())
        used |= {one.get_name() for one in symbols if top or one.is_global()}
    return used


def reached(name: str, reach: Reach) -> set[str]:
    """Return all that a name uses, directly or through others."""
    found, left = set(), {name}
    while left:
        found |= left
        left = set().union(*(reach.get(one, set()) for one in left)) - found
    return found
