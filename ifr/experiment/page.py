"""The pages of a run, without server or network: its index, an RO-Crate, executed notebooks."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import nbformat
import pandas as pd
import yaml
from jinja2 import Environment, FileSystemLoader
from latex2mathml.converter import convert as mathml
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from PIL import Image
from traitlets.config import Config

from ifr.common.files import write_text
from ifr.common.paths import ASSETS, SOURCE
from ifr.experiment.claims import OTHERS, UNTESTED
from ifr.experiment.results import FAILED
from ifr.profiles import Profile

TEMPLATES = Environment(loader=FileSystemLoader(ASSETS), autoescape=True)
# Of an output, the first of these that it has: no scripts, and no widgets, which need a server.
SHOWN = ["text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/plain"]
LINK = re.compile(r'<a href="([^"#:]+)">(.*?)</a>')  # to a file
# Of tables and of source, as pandas and IPython bring it along: the page has its own.
STYLE = re.compile(r"<style(?: scoped[^>]*>|>pre ).*?</style>", re.DOTALL)


class _Renderer(IPythonRenderer):
    """Writes the equations of Markdown as MathML, which browsers draw without a script."""

    def inline_math(self, body: str) -> str:
        return mathml(body)

    def block_math(self, body: str) -> str:
        return mathml(body, display="block")


def markdown(text: str) -> str:
    """Return Markdown as HTML."""
    return MarkdownWithMath(_Renderer(escape=False, exclude_anchor_links=True)).render(text)


def executed(folder: Path) -> dict[str, Path]:
    """Return the executed notebooks of a run by their numbers."""
    there = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    return {path.name[:2]: path for path in there if FAILED not in path.name}


def title_of(notebook: Path) -> str:
    """Return the first heading of a notebook, or else its name."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    heading = re.match("# (.+)", "".join(cells[0]["source"]) if cells else "")
    return heading[1] if heading else notebook.stem


def write_notebooks(folder: Path) -> None:
    """Write a page beside each executed notebook of a run, unless it is newer; drop others."""
    pages = {path.name: path.with_suffix(".html") for path in executed(folder).values()}
    for page in set(folder.glob("[0-9][0-9]_*.html")) - set(pages.values()):
        page.unlink()
    for name, page in pages.items():
        notebook = folder / name
        if page.exists() and page.stat().st_mtime >= notebook.stat().st_mtime:
            continue
        body = LINK.sub(lambda link: _between_pages(link, pages), STYLE.sub("", _body(notebook)))
        facts = dict(title=title_of(notebook), source=name, body=body)
        write_text(page, TEMPLATES.get_template("notebook.html.j2").render(facts) + "\n")


def _body(notebook: Path) -> str:
    """Return the cells of a notebook as HTML, those tagged ``hide-input`` without their code."""
    settings = Config()
    settings.TagRemovePreprocessor.update(enabled=True, remove_input_tags={"hide-input"})
    settings.NbConvertBase.display_data_priority = SHOWN
    settings.HTMLExporter.filters = dict(markdown2html=markdown)
    plain = dict(exclude_input_prompt=True, exclude_output_prompt=True, template_name="basic")
    exporter = HTMLExporter(config=settings, **plain)
    return exporter.from_notebook_node(nbformat.read(notebook, as_version=4))[0]


def _between_pages(link: re.Match, pages: dict[str, Path]) -> str:
    """Return a link to a notebook as one to its page; only the words where there is none."""
    file, words = link.groups()
    return f'<a href="{pages[file].name}">{words}</a>' if file in pages else words


def write_index(folder: Path, profile: Profile) -> Path:
    """Write ``index.html`` and ``ro-crate-metadata.json`` beside a manifest; return the page."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    results = [folder / name for name in manifest["artefacts"]] or [folder / "manifest.json"]
    newest = datetime.fromtimestamp(max(path.stat().st_mtime for path in results), UTC)
    tables = {path.stem: pd.read_csv(path) for path in sorted(folder.glob("tables/*.csv"))}
    evidence = tables.get("claims_evidence", pd.DataFrame(columns=["claim"])).groupby("claim")
    by_seed = tables.get("evidence_by_seed", pd.DataFrame(dict(seed=[manifest["seed"]])))
    facts = dict(
        profile=profile,
        manifest=manifest,
        made=f"{newest:%Y-%m-%d}",
        seeds=sorted(by_seed["seed"].unique().tolist()),
        findings=markdown(_text(folder / "findings.md")),
        claims=_claims(folder, tables),
        others=[name for name in OTHERS if name in tables.get("claims_beside", ())],
        evidence={claim: list(rows.itertuples()) for claim, rows in evidence},
        figures=_figures(folder),
        tables=tables,
        notebooks={number: (path, title_of(path)) for number, path in executed(folder).items()},
        cited=yaml.safe_load(_text(SOURCE / "CITATION.cff")) or {},
    )
    crate = json.loads(TEMPLATES.get_template("crate.json.j2").render(facts))
    write_text(folder / "ro-crate-metadata.json", json.dumps(crate, indent=1) + "\n")
    write_text(folder / "index.html", TEMPLATES.get_template("page.html.j2").render(facts) + "\n")
    return folder / "index.html"


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _claims(folder: Path, tables: dict[str, pd.DataFrame]) -> list[dict]:
    """Return each claim with its verdict, and those of other runs where notebook 12 has them."""
    if not (folder / "claims.csv").exists():
        return []
    rows = pd.read_csv(folder / "claims.csv")
    if (beside := tables.get("claims_beside")) is not None:
        rows = rows.merge(beside.drop(columns=["claim", "here"]), how="left", on="id")
    verdicts = rows[rows.columns.intersection(["verdict", *OTHERS])]
    rows["tested"] = (verdicts != UNTESTED).any(axis=1)
    return rows.fillna("").to_dict("records")


def _figures(folder: Path) -> list[dict]:
    """Return the figures in the order of ``assets/figures.csv``, those it does not list last."""
    listed = pd.read_csv(ASSETS / "figures.csv", dtype=str, keep_default_na=False)
    found = {path.stem: path for path in sorted((folder / "figures").glob("*.png"))}
    rows = listed[listed["stem"].isin(found)].to_dict("records")
    rows += [dict(stem=stem) for stem in found if stem not in set(listed["stem"])]
    for row in rows:
        with Image.open(path := found[row["stem"]]) as image:
            row |= dict(alt=image.info.get("Description", path.stem), size=image.size)
        row["pdf"] = path.with_suffix(".pdf").exists()
    return rows
