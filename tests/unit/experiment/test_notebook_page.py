"""Executed notebooks as pages: everything inside, no network, equations and links that work."""

import os
import re

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from ifr.common import paths
from ifr.experiment.page import markdown, write_notebooks

SLIDER = (
    '<div><input type="range" oninput="show()"><img src="data:image/png;base64,AA" alt="A"></div>'
)


def write(path, *cells):
    heading = new_markdown_cell(
        "# 07 Where & what\n\n[12](12_claims.ipynb) and [09](09_gone.ipynb)"
    )
    made = new_notebook(cells=[heading, *cells])
    nbformat.write(made, path)
    return path.with_suffix(".html")


def page_of(tmp_path, *cells):
    write(tmp_path / "12_claims.ipynb")
    page = write(tmp_path / "07_places.ipynb", *cells)
    write_notebooks(tmp_path)
    return page.read_text(encoding="utf-8")


def cell(source, data, tags=()):
    output = new_output("display_data", data=data)
    return new_code_cell(source, outputs=[output], metadata=dict(tags=list(tags)))


def test_a_page_holds_code_and_outputs_and_asks_no_network(tmp_path):
    table = {"text/html": "<style scoped>td { color: red }</style><table></table>"}
    widget = {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "a slider"}
    script = {"application/javascript": "alert()", "text/plain": "no script"}
    shown = [cell("first = 1", {"text/html": SLIDER}), cell("hidden = 2", table, ["hide-input"])]
    page = page_of(tmp_path, *shown, cell("", widget), cell("", script))
    assert "<title>07 Where &amp; what</title>" in page and 'oninput="show()"' in page
    assert 'alt="A"' in page and "first" in page and "<table>" in page
    assert "hidden" not in page and "color: red" not in page
    assert "a slider" in page and "no script" in page and "alert" not in page
    assert "<script" not in page and "https://" not in page


def test_links_lead_to_pages_and_what_is_not_there_is_no_link(tmp_path):
    page = page_of(tmp_path)
    assert '<a href="12_claims.html">12</a> and 09' in page
    assert '<a href="index.html">' in page and '<a href="07_places.ipynb">' in page


def test_a_page_is_made_anew_only_for_a_newer_notebook_and_goes_with_it(tmp_path):
    notebook, page = tmp_path / "07_places.ipynb", tmp_path / "07_places.html"
    page_of(tmp_path)
    page.write_text("kept")
    write_notebooks(tmp_path)
    assert page.read_text() == "kept"
    newer = page.stat().st_mtime + 1
    os.utime(notebook, (newer, newer))
    write_notebooks(tmp_path)
    assert "Where &amp; what" in page.read_text()
    notebook.rename(tmp_path / "07_places.failed.ipynb")
    write_notebooks(tmp_path)
    assert not page.exists() and (tmp_path / "12_claims.html").exists()


def test_equations_are_drawn_by_the_browser_itself():
    page = markdown("With $a < \\bar{d}$:\n\n$$\\frac{1}{K} \\sum_i^K c_i$$")
    assert page.count("<math") == 2 and 'display="block"' in page and "$" not in page
    assert "<mfrac>" in page and "<mo>&#x0003C;</mo>" in page


def test_every_equation_of_the_notebooks_is_understood():
    for path in sorted(paths.notebooks().glob("*.ipynb")):
        cells = nbformat.read(path, as_version=4).cells
        text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        for equation in re.findall("<math.*?</math>", markdown(text), re.DOTALL):
            assert "\\" not in equation, f"{path.name}: {equation}"
