"""Programs of the checkout, for those who work in one: ``scripts/NAME.py``."""

import subprocess
import sys
from collections.abc import Sequence

import typer

from ifr.common.errors import UserError
from ifr.common.paths import PACKAGE


def run_script(name: str, arguments: Sequence[str]) -> None:
    """Run a program of ``scripts/`` with this interpreter and end with its exit status."""
    script = PACKAGE.parent / "scripts" / f"{name}.py"
    if not script.is_file():
        raise UserError(f"{script} is not there: this command works in a checkout of the project")
    status = subprocess.run([sys.executable, str(script), *arguments], check=False).returncode
    if status:
        raise typer.Exit(status)
