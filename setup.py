"""What pyproject.toml cannot say: a wheel carries notebooks, scripts and reference runs."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

CARRIED = ("notebooks", "scripts", "results/reference")
LEFT_OUT = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", "check_course.py")


class BuildWithCheckout(build_py):
    """Copies what belongs to the code beside the package, where ``ifr.common.paths`` looks."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:  # an editable installation uses the checkout itself
            target = Path(self.build_lib, "ifr-checkout")
            shutil.rmtree(target, ignore_errors=True)
            for folder in CARRIED:
                shutil.copytree(folder, target / folder, ignore=LEFT_OUT)
            shutil.copy("CITATION.cff", target)


setup(cmdclass={"build_py": BuildWithCheckout})
