"""The ``ifr course`` commands, which run the programs of a checkout."""

from typer import Typer

from ifr.cli.checkout import ARGUMENTS, PASS_ON, run_script

app = Typer(no_args_is_help=True, help="Exercises that grade themselves, with nbgrader.")


@app.command(context_settings=PASS_ON)
def build(arguments: ARGUMENTS = None) -> None:
    """Make the students' release and the instructor's copy: numbers, --to FOLDER."""
    run_script("course", arguments or ())


@app.command(context_settings=PASS_ON)
def check(arguments: ARGUMENTS = None) -> None:
    """Grade the reference, untouched and wrong solutions; takes numbers and --nbgrader."""
    run_script("check_course", arguments or ())


@app.command(context_settings=PASS_ON)
def grade(arguments: ARGUMENTS = None) -> None:
    """Grade what students handed in: FOLDER, --to FOLDER. Writes grades and feedback."""
    run_script("grade_course", arguments or ())
