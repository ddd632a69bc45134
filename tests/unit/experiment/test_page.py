"""The page of a run: everything that is there, and text that cannot break it."""

import json

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ifr import figures
from ifr.experiment.page import write_index
from ifr.profiles import get_profile


def test_the_page_shows_figures_tables_notebooks_and_manifest_as_text(tmp_path):
    (tmp_path / "tables").mkdir()
    manifest = dict(code="0.1+<b>", seed=3, seconds=90.0, data=dict(train=["a", "b"]))
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    pd.DataFrame(dict(n=np.arange(50), x=1 / 3)).to_csv(tmp_path / "tables" / "long_one.csv")
    figures.save_figure(Figure(), tmp_path / "figures", "figure_5", alt='Peaks of "full" & <base>')
    for name in ("07_spreadness.ipynb", "08_x.failed.ipynb"):
        (tmp_path / name).touch()
    page = write_index(tmp_path, get_profile("smoke")).read_text()
    assert "Code 0.1+&lt;b&gt;, seed 3, 1.5 min." in page and "not evaluated" in page
    assert 'alt="Peaks of &#34;full&#34; &amp; &lt;base&gt;"' in page
    assert 'src="figures/figure_5.png"' in page and 'href="figures/figure_5.pdf"' in page
    assert "The first 40 of 50 rows." in page and "0.3333" in page and "<td>40</td>" not in page
    assert "07_spreadness.ipynb" in page and "08_x" not in page
    assert "<summary>data</summary><ul><li>train: a, b</li></ul>" in page
    pd.DataFrame(dict(id=["C01"], verdict=["holds"])).to_csv(tmp_path / "claims.csv")
    assert "<td>C01</td>" in write_index(tmp_path, get_profile("smoke")).read_text()
