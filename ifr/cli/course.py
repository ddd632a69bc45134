"""The ``ifr course`` commands."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option, Typer

from ifr.cli.checkout import run_script

app = Typer(no_args_is_help=True, help="Exercises that grade themselves, with nbgrader.")
NUMBERS = Annotated[list[str] | None, Argument(help="Numbers, such as 01 04; default: all.")]


@app.command()
def build(
    numbers: NUMBERS = None,
    to: Annotated[Path | None, Option(help="Course folder; default: course/.")] = None,
) -> None:
    """Make the students' release and the instructor's copy of the exercises."""
    from ifr.apps import course
    from ifr.common import paths

    target = course.build(to or paths.home() / "course", numbers or ())
    print(f"students: {target / 'release'}\ninstructor: {target / 'source'}")


@app.command(context_settings=dict(ignore_unknown_options=True))
def check(
    arguments: Annotated[list[str] | None, Argument(help="Numbers; --nbgrader.")] = None,
) -> None:
    """Grade the reference solutions, the untouched release and wrong solutions."""
    run_script("check_course", arguments or ())
