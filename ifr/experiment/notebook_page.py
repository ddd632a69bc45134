"""Executed notebooks as pages: one file each, without server, network or JupyterLab."""

import json
import re
from pathlib import Path

import nbformat
from jinja2 import Environment, FileSystemLoader
from latex2mathml.converter import convert as mathml
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from traitlets.config import Config

from ifr.common.files import write_text
from ifr.common.paths import ASSETS
from ifr.experiment.results import FAILED

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
