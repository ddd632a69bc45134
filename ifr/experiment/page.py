"""``index.html`` of a run: figures, tables and claims on one page, without server or network."""

import json
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader
from PIL import Image

from ifr.common.files import write_text
from ifr.common.paths import ASSETS
from ifr.experiment.results import FAILED
from ifr.profiles import Profile


def write_index(folder: Path, profile: Profile) -> Path:
    """Write ``index.html`` into a results folder that has a manifest, and return its path."""
    claims, page = folder / "claims.csv", folder / "index.html"
    pages = Environment(loader=FileSystemLoader(ASSETS), autoescape=True)
    text = pages.get_template("page.html.j2").render(
        profile=profile,
        manifest=json.loads((folder / "manifest.json").read_text(encoding="utf-8")),
        claims=pd.read_csv(claims) if claims.exists() else None,
        figures=[_figure(path) for path in sorted((folder / "figures").glob("*.png"))],
        tables={path.stem: pd.read_csv(path) for path in sorted((folder / "tables").glob("*.csv"))},
        notebooks=[p.name for p in sorted(folder.glob("*.ipynb")) if FAILED not in p.name],
    )
    write_text(page, text + "\n")
    return page


def _figure(path: Path) -> dict[str, object]:
    with Image.open(path) as image:
        alt = image.info.get("Description", path.stem)
    return dict(name=path.stem, alt=alt, pdf=path.with_suffix(".pdf").exists())
