"""Programs of the checkout, for those who work in one: ``scripts/NAME.py``."""

import subprocess
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from ifr.common import paths
from ifr.common.errors import UserError

PASS_ON = dict(ignore_unknown_options=True)  # what a script takes is its own affair
ARGUMENTS = Annotated[list[str] | None, typer.Argument(help="Passed on, such as -- --help.")]


def run_script(name: str, arguments: Sequence[str]) -> None:
    """Run a program of ``scripts/`` with this interpreter and end with its exit status."""
    script = paths.SOURCE / "scripts" / f"{name}.py"
    if not script.is_file():
        raise UserError(f"{script} is not there: this command works in a checkout of the project")
    status = subprocess.run([sys.executable, str(script), *arguments], check=False).returncode
    if status:
        raise typer.Exit(status)
