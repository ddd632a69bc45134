"""``index.html`` of a run: figures, tables and claims on one page, without server or network."""

import json
import os
from html import escape
from pathlib import Path

import pandas as pd
from PIL import Image

from ifr.profiles import Profile

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem;
       color: #1b1b1b; background: #fff; }
figure { margin: 2rem 0; } figure img { max-width: 100%; border: 1px solid #ddd; }
figcaption { color: #444; } .scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; margin: .5rem 0 1.5rem; }
th, td { border-bottom: 1px solid #ccc; padding: .25rem .6rem; text-align: left; vertical-align:
top; }
thead th { border-bottom: 2px solid #555; } nav a { margin-right: 1rem; }
details { margin: .3rem 0; overflow-wrap: anywhere; } summary { cursor: pointer; }
"""


def write_index(folder: Path, profile: Profile) -> Path:
    """Write ``index.html`` into a results folder and return its path.

    Args:
        folder: a results folder with ``figures/``, ``tables/``, notebooks, claims and manifest.
        profile: the run size, for the heading.
    """
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    faces = "procedural faces" if profile.faces else "photographs"
    body = [
        f"<h1>Towards Interpretable Face Recognition: run “{escape(profile.name)}”</h1>",
        f"<p>{escape(profile.purpose.capitalize())}. Code {escape(manifest['code'])}, seed "
        f"{manifest['seed']}, {manifest['seconds'] / 60:.1f} min. "
        "Numbers marked “paper” are quoted; all others "
        f"were measured in this run on {faces}.</p>",
        '<nav><a href="#claims">Claims</a><a href="#figures">Figures</a>'
        '<a href="#tables">Tables</a>'
        '<a href="#notebooks">Notebooks</a><a href="#manifest">Manifest</a></nav>',
        '<h2 id="claims">Claims of the paper</h2>',
        _claims(folder),
        '<h2 id="figures">Figures</h2>',
        *map(_figure, sorted((folder / "figures").glob("*.png"))),
        '<h2 id="tables">Tables</h2>',
        *map(_table, sorted((folder / "tables").glob("*.csv"))),
        '<h2 id="notebooks">Executed notebooks</h2>',
        "<p>To be opened in JupyterLab.</p>",
        _notebooks(folder),
        '<h2 id="manifest">Manifest</h2>',
        _manifest(manifest),
    ]
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>ifr: {escape(profile.name)}</title><style>{STYLE}</style></head><body><main>"
        + "\n".join(body)
        + "</main></body></html>\n"
    )
    target = folder / "index.html"
    temporary = target.with_suffix(".partial")
    temporary.write_text(page, encoding="utf-8")
    os.replace(temporary, target)
    return target


def _claims(folder: Path) -> str:
    path = folder / "claims.csv"
    return _html(pd.read_csv(path)) if path.exists() else "<p>The claims were not evaluated.</p>"


def _figure(path: Path) -> str:
    with Image.open(path) as image:
        alt = image.info.get("Description", path.stem)
    name = path.stem.replace("_", " ").capitalize()
    source = f"figures/{path.name}"
    link = f' (<a href="figures/{path.stem}.pdf">PDF</a>)'
    pdf = link if path.with_suffix(".pdf").exists() else ""
    return (
        f'<figure id="{path.stem}"><a href="{source}"><img src="{source}" alt="{escape(alt)}" '
        f'loading="lazy"></a><figcaption><b>{escape(name)}.</b> {escape(alt)}'
        f"{pdf}</figcaption></figure>"
    )


def _table(path: Path) -> str:
    table = pd.read_csv(path)
    name = path.stem.replace("_", " ").capitalize()
    short = table.head(40)
    more = f"<p>The first 40 of {len(table)} rows.</p>" if len(table) > 40 else ""
    link = f'<a href="tables/{path.name}">CSV</a>'
    return f"<h3>{escape(name)} ({link})</h3>{more}{_html(short)}"


def _notebooks(folder: Path) -> str:
    names = [p.name for p in sorted(folder.glob("*.ipynb")) if not p.name.endswith(".failed.ipynb")]
    return "<ul>" + "".join(f'<li><a href="{n}">{escape(n)}</a></li>' for n in names) + "</ul>"


def _manifest(manifest: dict) -> str:
    """Return the manifest as nested lists that open and close, with a link to the file."""
    return '<p><a href="manifest.json">manifest.json</a></p>' + "".join(
        f"<details><summary>{escape(name.replace('_', ' '))}</summary>{_nested(value)}</details>"
        for name, value in manifest.items()
    )


def _nested(value: object) -> str:
    if isinstance(value, dict):
        items = [f"<li>{escape(str(name))}: {_nested(one)}</li>" for name, one in value.items()]
        return f"<ul>{''.join(items)}</ul>"
    if isinstance(value, list):
        return ", ".join(map(_nested, value))
    return escape(str(value))


def _html(table: pd.DataFrame) -> str:
    body = table.to_html(index=False, na_rep="", float_format=lambda x: f"{x:.4g}", border=0)
    return f'<div class="scroll">{body}</div>'
