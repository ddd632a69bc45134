"""Every notebook runs at profile smoke, and what it leaves behind is what it promises."""

import json
import re
import shutil
from itertools import pairwise

import nbformat
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ifr.common import paths
from ifr.experiment.batch import numbered_notebooks, reproduce
from ifr.experiment.claims import paper_claims
from ifr.experiment.notebook import WIDGET, execute
from ifr.experiment.results import records
from ifr.experiment.run import start
from ifr.experiment.verify import DIFFERS, verify
from ifr.profiles import get_profile

ALL = numbered_notebooks()
NOTEBOOKS = numbered_notebooks(get_profile("smoke").notebooks)
PHOTOGRAPHS = numbered_notebooks(get_profile("photographs_smoke").notebooks)
pytestmark = pytest.mark.notebooks


@pytest.fixture(scope="module")
def folder(smoke_home):
    """The results of the whole batch at profile smoke."""
    return reproduce("smoke")


@pytest.fixture(scope="module")
def photographs(smoke_home, photographs_root):
    """The results of the run on photographs, on pictures laid out as photographs are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IFR_REAL_FACES", str(photographs_root))
        yield reproduce("photographs_smoke")


@pytest.fixture(scope="module")
def backbone(smoke_home):
    """The results of the run with a second backbone."""
    return reproduce("second_backbone_smoke")


@pytest.mark.parametrize("path", ALL, ids=lambda p: p.stem)
def test_form(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    first = notebook.cells[0]
    assert first.cell_type == "markdown" and first.source.startswith(f"# {path.stem[:2]} ")
    for word in ("*Covers:*", "*Needs:*", "*Takes:*"):
        assert word in first.source, f"the first cell of {path.name} lacks {word}"
    tagged = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    default = {"14": "photographs", "17": "second_backbone"}.get(path.stem[:2], "classroom")
    assert len(tagged) == 1 and f'profile = "{default}"' in tagged[0].source
    code = [c for c in notebook.cells if c.cell_type == "code"]
    assert not any(c.outputs or c.execution_count for c in code), "outputs are kept stripped"
    assert max(len(c.source.splitlines()) for c in code) <= 18
    if path.stem[:2] != "00":
        text = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
        assert re.search("What the paper reports / what (this run|was) measured", text)


@pytest.mark.parametrize("path", ALL, ids=lambda p: p.stem)
def test_headings_make_a_table_of_contents_and_links_lead_somewhere(path):
    text = "\n".join(
        c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "markdown"
    )
    levels = [len(mark) for mark in re.findall(r"^(#+) ", text, flags=re.MULTILINE)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    links = re.findall(r"\]\(([^)#]+)\)", text)
    missing = [link for link in links if not (path.parent / link).exists()]
    assert not missing, f"links of {path.name} that lead nowhere: {missing}"
    order = [one.name for one in ALL]
    place = order.index(path.name)
    near = [*order[max(0, place - 1) : place], *order[place + 1 : place + 2]]
    last = nbformat.read(path, as_version=4).cells[-1].source
    leads = dict.fromkeys(re.findall(r"\]\(([^)]+)\)", last))  # 00 is 01's neighbour and the map
    assert [link for link in leads if link in near] == near
    for name, title in re.findall(r"\[([^\]]+)\]\((\d\d_\w+\.ipynb)\)", last):
        first = nbformat.read(path.parent / title, as_version=4).cells[0].source
        assert name == "All notebooks" or first.startswith(f"# {name}\n")


def test_every_picture_has_a_text_alternative_and_no_widget_is_left_dead(folder):
    for source in NOTEBOOKS:
        executed = nbformat.read(folder / source.name, as_version=4)
        assert "widgets" not in executed.metadata
        for cell in executed.cells:
            for data in (o.data for o in cell.get("outputs", ()) if "data" in o):
                assert not [kind for kind in data if kind.startswith(("image/", WIDGET))]
                pictures = re.findall(r"<img ([^>]*)>", data.get("text/html", ""))
                assert all(re.search('alt="[^"]{20,}"', one) for one in pictures)


def test_every_notebook_ran_without_error(folder):
    for source in NOTEBOOKS:
        executed = nbformat.read(folder / source.name, as_version=4)
        outputs = [o for c in executed.cells if c.cell_type == "code" for o in c.outputs]
        assert not [o for o in outputs if o.output_type == "error"]
        assert all(c.execution_count for c in executed.cells if c.cell_type == "code" and c.source)


def test_every_notebook_is_headed_by_what_it_found(folder):
    for source in NOTEBOOKS[1:]:
        executed = nbformat.read(folder / source.name, as_version=4)
        outputs = [o.data for c in executed.cells for o in c.get("outputs", ()) if "data" in o]
        head = outputs[0]["text/markdown"]
        assert head.startswith("**What was found**") and "\n* " in head, source.name


@pytest.mark.parametrize(
    "name",
    [f"figure_{n}" for n in (1, 3, 4, 5, 6, 7, 8, 9)]
    + ["figure_training_curves", "evidence_07", "claims", "explorer"],
)
def test_each_figure_is_drawn_as_png_and_pdf_with_its_numbers(folder, name):
    png = folder / "figures" / f"{name}.png"
    with Image.open(png) as image:
        assert len(image.info["Description"]) > 20  # the text alternative
        pixels = np.asarray(image.convert("L"))
    assert min(pixels.shape) > 200 and pixels.std() > 5
    assert (folder / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    if name.startswith("figure_"):
        assert len(list((folder / "tables").glob(f"{name}*.csv"))) >= 1


@pytest.mark.parametrize("name", [f"table_{n}" for n in (2, 3, 4, 5, 6)])
def test_each_table_holds_finite_figures_beside_the_papers(folder, name):
    table = pd.read_csv(folder / "tables" / f"{name}.csv")
    assert len(table) and any("paper" in column for column in table.columns)
    own = table.select_dtypes("number")[
        [c for c in table.select_dtypes("number") if "paper" not in c]
    ]
    assert len(own.columns) and np.isfinite(own.to_numpy()[:, 0]).all()
    for column in own.columns:
        if column.endswith("_percent"):
            assert own[column].dropna().between(0, 100).all()


def test_rates_and_ranks_are_ordered_where_they_must_be(folder):
    table = pd.read_csv(folder / "tables" / "table_5.csv")
    wide = {c: table[c] for c in table.columns}
    strict = next(c for c in wide if "001" in c and "paper" not in c and "std" not in c)
    loose = next(
        c for c in wide if "01" in c and "001" not in c and "paper" not in c and "std" not in c
    )
    assert (wide[strict] <= wide[loose] + 1e-9).all()


def test_every_claim_has_a_row_and_all_but_the_second_backbone_are_tested(folder):
    table = pd.read_csv(folder / "claims.csv").set_index("id")
    assert list(table.index) == paper_claims()["id"].tolist()
    assert set(table.index[table["verdict"] == "not tested here"]) == {"C15", "C16", "C26"}
    evidence = pd.concat(pd.read_csv(p) for p in (folder / "tables").glob("evidence_*.csv"))
    assert np.isfinite(evidence["value"]).all()
    spread = evidence.dropna(subset=["low", "high"])
    assert (spread["low"] <= spread["high"] + 1e-9).all()


def test_manifest_names_and_hashes_what_is_there(folder):
    import hashlib

    manifest = json.loads((folder / "manifest.json").read_text())
    for key in (
        "code",
        "parameters",
        "seed",
        "packages",
        "device",
        "data",
        "artefacts",
        "seconds",
        "peak_memory_bytes",
    ):
        assert manifest[key] or manifest[key] == 0, key
    for name, digest in manifest["artefacts"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    assert len(manifest["artefacts"]) > 40


def test_index_shows_the_run_without_a_server_or_network(folder):
    page = (folder / "index.html").read_text()
    assert "http://" not in page and "https://" not in page and "<script" not in page
    for png in (folder / "figures").glob("*.png"):
        assert f'src="figures/{png.name}" alt="' in page


def test_every_notebook_has_a_page_without_a_server_or_network(folder):
    for notebook in folder.glob("[0-9]*.ipynb"):
        page = notebook.with_suffix(".html").read_text()
        assert "https://" not in page and "<script" not in page


def test_nothing_half_written_is_left(folder):
    assert not list(folder.rglob("*.partial")) + list(folder.glob("*.failed.ipynb"))


def test_a_second_run_keeps_everything_and_metrics_are_identical_when_forced(folder, smoke_sets):
    before = {p.name: p.stat().st_mtime_ns for p in folder.glob("*.ipynb")}
    reproduce("smoke")
    assert before == {p.name: p.stat().st_mtime_ns for p in folder.glob("*.ipynb")}
    table = folder / "tables" / "closed_set_accuracy.csv"
    figure = next((folder / "figures").glob("figure_5.png"))
    bytes_before = table.read_bytes(), figure.read_bytes()
    seven = next(p for p in NOTEBOOKS if p.stem.startswith("07"))
    five = next(p for p in NOTEBOOKS if p.stem.startswith("05"))
    run = start("test", profile="smoke")
    assert execute([seven, five], run, force=True) == [seven, five]
    assert (table.read_bytes(), figure.read_bytes()) == bytes_before


def test_verify_agrees_with_itself_and_names_a_difference(folder, tmp_path):
    rows = verify(folder, folder)
    assert len(rows) > 20 and not [row for row in rows if row.outcome == DIFFERS]
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    table = pd.read_csv(other / "tables" / "figure_5.csv")
    table["d_bar_pixels"] *= -1  # the other way round
    table.to_csv(other / "tables" / "figure_5.csv", index=False)
    (other / "tables" / "evidence_07.csv").unlink()
    named = [row.what for row in verify(other, folder) if row.outcome == DIFFERS]
    assert "C01, d̄, sad − base (pixels)" in named and "figure_5 order of d̄" in named


def test_every_file_of_the_run_is_recorded_by_one_notebook(folder):
    written = [name for record in records(folder).values() for name in record["files"]]
    assert len(written) == len(set(written))
    here = {p.relative_to(folder).as_posix() for p in folder.glob("*/*.*")}
    assert here | {"claims.csv"} == set(written)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert set(manifest["artefacts"]) == {*written, *(path.name for path in NOTEBOOKS)}


def test_the_run_on_photographs_leaves_figures_tables_and_verdicts(photographs):
    assert [path.name for path in sorted(photographs.glob("*.ipynb"))] == ["14_photographs.ipynb"]
    for name in ("figure_5", "figure_6", "figure_lfw"):
        with Image.open(photographs / "figures" / f"{name}.png") as image:
            assert len(image.info["Description"]) > 20
    lfw = pd.read_csv(photographs / "tables" / "lfw.csv")
    assert set(lfw["variant"]) == {"base", "augmented", "sad", "full", "lmf"}
    assert len(lfw) == 10
    assert lfw["accuracy_percent"].between(0, 100).all()
    verdicts = pd.read_csv(photographs / "claims.csv").set_index("id")["verdict"]
    tested = {"C01", "C02", "C03", "C13", "C14", "C18", "C19", "C20"}
    assert set(verdicts.index[verdicts != "not tested here"]) == tested
    manifest = json.loads((photographs / "manifest.json").read_text())
    assert set(manifest["data"]) == {"train", "closed", "lfw"}


def test_the_run_with_a_second_backbone_leaves_its_claims(backbone):
    verdicts = pd.read_csv(backbone / "claims.csv").set_index("id")["verdict"]
    assert set(verdicts.index[verdicts != "not tested here"]) == {"C15", "C16", "C26"}
    evidence = pd.read_csv(backbone / "tables" / "evidence_by_seed.csv")
    assert len(evidence) == 6 and evidence["quantity"].str.contains("second backbone").all()


def test_the_claims_of_photographs_stand_beside_those_of_a_run(photographs, folder):
    from ifr.experiment import claims

    verdicts = pd.read_csv(folder / "claims.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(claims, "OTHERS", ("photographs_smoke",))
        both = claims.beside_others(verdicts, "smoke")
    here = verdicts.set_index("id")["verdict"]
    real = pd.read_csv(photographs / "claims.csv").set_index("id")["verdict"]
    for row in both.itertuples():
        assert row.here == here[row.id] and row.photographs_smoke == real[row.id]


def test_paths_stay_inside_the_home(folder, smoke_home):
    assert paths.results("smoke", 0) == folder and folder.is_relative_to(smoke_home)
