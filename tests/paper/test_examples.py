"""The examples in the docstrings of the library's public functions give what they show."""

import doctest
from importlib import import_module

import pytest

from ifr.common.paths import PACKAGE

MODULES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    failed, tried = doctest.testmod(import_module(name))
    assert tried > 0 and failed == 0


def test_the_papers_equations_have_examples() -> None:
    assert {"ifr.losses", "ifr.models.layers"} <= set(MODULES)
