"""The page of a run and its description: what is there, and text that cannot break them."""

import json
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from ifr import figures
from ifr.common.paths import ASSETS
from ifr.experiment.page import write_index
from ifr.profiles import get_profile

VOID = ("meta", "img", "br", "hr", "input", "link")


class Tags(HTMLParser):
    """Notes tags that are not closed in their order, identifiers, and what is linked to."""

    def __init__(self, page):
        super().__init__()
        self.open, self.faults, self.ids, self.links = [], [], [], []
        self.feed(page)
        self.faults += self.open

    def handle_starttag(self, tag, attributes):
        self.open += [] if tag in VOID else [tag]
        known = dict(attributes)
        self.ids += [known["id"]] if "id" in known else []
        self.links += [known[name] for name in ("href", "src") if name in known]

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)


@pytest.fixture
def run(tmp_path):
    artefacts = {"figures/figure_5.png": "ab", "tables/long_one.csv": "cd"}
    manifest = dict(code="0.1+<b>", seed=3, seconds=90.0, weights="trained", artefacts=artefacts)
    manifest |= dict(packages={"torch": "2.11"}, parameters={}, data=dict(train=["a", "b"]))
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "tables").mkdir()
    pd.DataFrame(dict(n=np.arange(50), x=1 / 3)).to_csv(tmp_path / "tables" / "long_one.csv")
    for name in ("evidence_07", "unlisted", "figure_face_mesh", "figure_9", "figure_5"):
        alt = f'Peaks of "{name}" & <base>'
        figures.save_figure(Figure(), tmp_path / "figures", name, alt=alt)
    cell = dict(cell_type="markdown", metadata={}, source=["# 07 Where the filters look\n", "."])
    (tmp_path / "07_spreadness.ipynb").write_text(json.dumps(dict(cells=[cell])))
    (tmp_path / "08_x.failed.ipynb").touch()
    return tmp_path


def page_of(folder):
    page = write_index(folder, get_profile("smoke")).read_text(encoding="utf-8")
    tags = Tags(page)
    assert not tags.faults and len(set(tags.ids)) == len(tags.ids)
    inside = [link[1:] for link in tags.links if link.startswith("#")]
    assert set(inside) <= set(tags.ids)
    assert not [link for link in tags.links if link[0] != "#" and not (folder / link).exists()]
    return page


def judged(folder, **beside):
    """Write verdicts on three claims, evidence of one, and verdicts of other runs beside them."""
    verdicts = ["supported", "contradicted", "not tested here"]
    known = dict(id=["C01", "E01", "C15"], claim=["d̄ < rises", "ours", "clean"], verdict=verdicts)
    pd.DataFrame(known).to_csv(folder / "claims.csv", index=False)
    rows = pd.DataFrame(dict(claim="C01", quantity="d̄, sad − base (pixels)", value=[-1.5, 2]))
    rows = rows.assign(low=[-2, np.nan], high=[-1, np.nan], role=["claim", "control"])
    rows = rows.assign(test="within", margin=2.0, verdict="undecided")
    rows.to_csv(folder / "tables" / "claims_evidence.csv", index=False)
    seeds = pd.DataFrame(dict(seed=[1, 0, 2, 0]))
    seeds.to_csv(folder / "tables" / "evidence_by_seed.csv", index=False)
    beside = dict(id=known["id"], claim="", here=verdicts) | beside
    pd.DataFrame(beside).to_csv(folder / "tables" / "claims_beside.csv", index=False)


def test_the_page_shows_figures_tables_notebooks_and_manifest_as_text(run):
    page = page_of(run)
    assert "code 0.1+&lt;b&gt; in 2 min, training" in page and "One training seed, 3." in page
    assert "not evaluated" in page and 'href="figures/figure_5.pdf"' in page
    assert 'src="figures/figure_5.png" alt="Peaks of &#34;figure_5&#34; &amp; &lt;base&gt;"' in page
    assert "first 40 of 50 rows" in page and "0.3333" in page and "<td>40</td>" not in page
    assert 'href="07_spreadness.ipynb">07 Where the filters look</a>' in page
    assert "08_x" not in page and "<summary>data</summary><ul><li>train: a, b</li></ul>" in page


def test_figures_stand_in_the_papers_order_with_what_the_paper_shows(run):
    page = page_of(run)
    order = ["figure_5", "figure_9", "figure_face_mesh", "unlisted", "evidence_07"]
    places = [page.index(f'id="{name}"') for name in order]
    assert places == sorted(places)
    assert "(d̄ = 6.9)" in page and "<b>Unlisted</b>" in page
    listed = pd.read_csv(ASSETS / "figures.csv", dtype=str)
    assert not listed["stem"].duplicated().any() and not listed[["title", "notebook"]].isna().any(
        axis=None
    )


def test_a_notebook_is_shown_by_its_page_where_there_is_one(run):
    (run / "07_spreadness.html").touch()
    assert 'href="07_spreadness.html">07 Where the filters look</a>' in page_of(run)


def test_verdicts_stand_in_columns_with_values_in_plain_words(run):
    judged(run, photographs=["contradicted", "supported", "not tested here"])
    page = page_of(run)
    assert "pool 3 training seeds (0, 1, 2)" in page and "<th>Photographs</th>" in page
    assert "d̄ &lt; rises" in page and "✓ supported" in page and "✗ contradicted" in page
    assert "<b>−1.5</b> pixels, 95 % interval −2 to −1 (asked: within ±2)" in page
    assert "1 control</summary>" in page and "<b>+2</b> pixels, interval unknown" in page
    assert page.index("Claims of the paper") < page.index('id="C01"') < page.index('id="E01"')
    assert 'id="C15"' not in page and "<b>C15</b> clean" in page  # tested by nobody


def test_what_was_written_by_hand_stands_at_the_top(run):
    judged(run)
    (run / "findings.md").write_text("**Five** filters:\n\n* one\n* two\n", encoding="utf-8")
    page = page_of(run)
    assert page.index("What we found") < page.index("<strong>Five</strong>") < page.index("C01")


def test_the_run_is_described_as_an_ro_crate(run):
    judged(run)
    page_of(run)
    crate = json.loads((run / "ro-crate-metadata.json").read_text(encoding="utf-8"))
    assert crate["@context"][0] == "https://w3id.org/ro/crate/1.1/context"
    known = {entity["@id"]: entity for entity in crate["@graph"]}
    assert len(known) == len(crate["@graph"]) and all("@type" in one for one in known.values())
    about = known["ro-crate-metadata.json"]
    assert about["@type"] == "CreativeWork" and about["about"] == {"@id": "./"}
    assert about["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    root = known["./"]
    assert root["@type"] == "Dataset" and pd.Timestamp(root["datePublished"]).year >= 2025
    assert root["name"] and root["description"] and known[root["license"]["@id"]]["name"] == "MIT"
    assert known[root["author"][0]["@id"]]["name"] == "The ifr authors"
    files = {part["@id"]: known[part["@id"]] for part in root["hasPart"]}
    assert all(one["@type"] == "File" for one in files.values())
    assert files["figures/figure_5.png"]["sha256"] == "ab"
    assert files["tables/long_one.csv"]["encodingFormat"] == "text/csv"
    assert known["#ifr"]["softwareVersion"] == "0.1+<b>" and known["#seeds"]["value"] == "[0, 1, 2]"
    assert known[known["#run"]["instrument"]["@id"]] is known["#ifr"]
    assert not missing(crate["@graph"], {*known, "https://w3id.org/ro/crate/1.1"})


def missing(value, known):
    """Return the references in nested JSON to what is not known."""
    if isinstance(value, list):
        return [name for one in value for name in missing(one, known)]
    if isinstance(value, dict):
        found = missing(list(value.values()), known)
        return found + [value["@id"]] * (value.get("@id", "./") not in known)
    return []
