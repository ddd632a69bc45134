"""The ``ifr course`` commands."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Exercises that grade themselves, with nbgrader.")
NUMBERS = Annotated[list[str] | None, typer.Argument(help="Numbers, such as 01 04; default: all.")]


@app.command()
def build(
    numbers: NUMBERS = None,
    to: Annotated[Path | None, typer.Option(help="Course folder; default: course/.")] = None,
) -> None:
    """Make the students' release and the instructor's copy of the exercises."""
    from ifr.apps import course
    from ifr.common import paths

    target = course.build(to or paths.home() / "course", numbers or ())
    print(f"students: {target / 'release'}\ninstructor: {target / 'source'}")


@app.command()
def check(
    numbers: NUMBERS = None,
    wrong: Annotated[
        Path | None, typer.Option(help="Folder of wrong solutions; default: tests/wrong_solutions.")
    ] = None,
) -> None:
    """Grade the reference solutions, the untouched release and wrong solutions."""
    from ifr.apps import course
    from ifr.common import paths

    folder = wrong or paths.home() / "tests" / "e2e" / "wrong_solutions"
    failed = graded = 0
    for grade in course.check(folder, numbers or ()):
        print(grade, flush=True)
        graded, failed = graded + 1, failed + bool(grade.problem)
    print(f"{graded - failed} of {graded} submissions score what they must")
    if failed:
        raise typer.Exit(1)
