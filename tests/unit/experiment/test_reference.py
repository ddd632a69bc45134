"""The committed runs: of the code they lie beside, and what ``ifr verify`` makes of them."""

import json
import shutil

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open

from ifr.common import paths
from ifr.datasets import FaceSet
from ifr.experiment.claims import BY_SEED, pooled
from ifr.experiment.page import markdown
from ifr.experiment.results import EVIDENCE_COLUMNS
from ifr.experiment.run import start
from ifr.experiment.verify import compare_evidence, conclusion
from ifr.landmarks import FACE_SIZE
from ifr.profiles import PROFILES
from ifr.training import Recipe, load_half, stand_in
from ifr.training.store import as_variant

FOLDERS = sorted(paths.reference("classroom").parent.iterdir())
each_run = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


def code_cells(path):
    """Return the sources of the code cells of a notebook, the parameters left out."""
    cells = nbformat.read(path, as_version=4).cells
    tags = {"parameters", "injected-parameters"}
    return [
        c.source
        for c in cells
        if c.cell_type == "code" and not tags & {*c.metadata.get("tags", [])}
    ]


@each_run
def test_executed_notebooks_are_those_of_this_version(folder):
    assert folder.name in PROFILES
    for executed in sorted(folder.glob("*.ipynb")):
        assert code_cells(executed) == code_cells(paths.notebooks() / executed.name), executed.name


@each_run
def test_the_manifest_is_of_a_clean_tree_and_of_todays_faces(folder):
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert "dirty" not in manifest["code"] and manifest["outdated"] == []
    assert manifest["parameters"] == json.loads(json.dumps(PROFILES[folder.name].as_dict()))


@each_run
def test_the_page_shows_the_findings_as_they_stand(folder):
    findings = markdown((folder / "findings.md").read_text(encoding="utf-8"))
    assert findings and findings in (folder / "index.html").read_text(encoding="utf-8")


@each_run
def test_each_seed_agrees_with_all_of_them(folder, tmp_path):
    known = pd.read_csv(folder / "tables" / BY_SEED)
    for seed, rows in known.groupby("seed"):
        assert conclusion(judge(rows, folder, tmp_path)).startswith("reproduced"), seed


GAIN = "gain of TAR at FAR .01, {} − clean: full − base (points)"
TOLD = {  # in README: of procedural faces, of photographs
    "d̄, SAD − base (pixels)": ("d̄, sad − base (pixels)",) * 2,
    "d̄, full − SAD (pixels)": ("d̄, full − sad (pixels)",) * 2,
    "full − base, clean (points)": (
        "TAR at FAR .01, clean: full − base (points)",
        "LFW accuracy, full − base (points)",
    ),
    "more under rectangles than clean": (
        GAIN.format("synthetic"),
        "gain of LFW accuracy, synthetic − clean: full − base (points)",
    ),
    "more behind worn things than clean": (GAIN.format("natural"), None),
}


def test_the_table_of_readme_tells_what_the_committed_runs_measured():
    lines = (paths.SOURCE / "README.md").read_text(encoding="utf-8").splitlines()
    rows = {label: cells for label, *cells in (cells_of(x) for x in lines if x.startswith("| "))}
    found = {}
    for name in ("classroom", "full_size", "photographs"):
        evidence = pd.read_csv(paths.reference(name) / "tables" / BY_SEED)
        found[name] = pooled(evidence).set_index("quantity")
    for label, (drawn, photographed) in TOLD.items():
        paper, *told = rows[label]
        assert paper == f"{found['classroom'].loc[drawn, 'paper']:.1f}".replace("-", "−"), label
        quantities = zip(found.values(), (drawn, drawn, photographed), strict=True)
        assert told == [in_brief(table, quantity) for table, quantity in quantities], label


def cells_of(line):
    return [cell.strip() for cell in line.split("|")[1:-1]]


def in_brief(table, quantity):
    if quantity is None:
        return ""
    value, low, high = table.loc[quantity, ["value", "low", "high"]]
    return f"{value:.1f} [{low:.1f}, {high:.1f}]".replace("-", "−")


def test_a_loss_left_out_is_no_reproduction(tmp_path):
    """SAD without its losses is LMF alone, which was trained too: its d̄ stands for that of SAD."""
    folder = paths.reference("classroom")
    known = pd.read_csv(folder / "tables" / BY_SEED)
    rows = known[known["seed"] == known["seed"].min()].set_index("quantity")
    gained = rows.loc["d̄, sad − lmf (pixels)", "value"]
    rows.loc[["d̄, sad − base (pixels)", "d̄, sad − lmf (pixels)"], "value"] -= gained
    rows.loc["d̄, full − sad (pixels)", "value"] += gained
    said = conclusion(judge(rows.reset_index(), folder, tmp_path))
    assert said.startswith("not reproduced: ") and ("C01" in said or "C02" in said)


def test_kept_networks_are_of_the_recipe_that_a_profile_trains(smoke_home):
    kept = [path for folder in FOLDERS for path in sorted(folder.glob("weights/*.safetensors"))]
    assert {path.parents[1].name for path in kept} == {"classroom", "full_size"}
    for path in kept:
        profile = PROFILES[path.parents[1].name]
        key = start("99_test", profile=profile.name).fingerprints["train"]
        none = np.empty((0, FACE_SIZE, FACE_SIZE, 3), np.uint8)
        faces = FaceSet("train", none, np.empty(0, np.int64), None, fingerprint=key)
        variant, size = as_variant(path.stem), profile.network.input_size
        with safe_open(path, "pt") as file:
            assert file.metadata()["recipe"] == Recipe(variant, profile, faces, 0).anywhere, path
        if path.stem in profile.kept:
            assert stand_in(variant, profile, faces, 0) is not None, path
        model = load_half(path.stem, profile.name).model
        with torch.inference_mode():
            features = model(torch.zeros(1, 3, size, size))
        assert features.shape == (1, profile.network.filters) and features.isfinite().all(), path


def judge(rows, folder, tmp_path):
    shutil.rmtree(tmp_path / "fresh", ignore_errors=True)
    tables = tmp_path / "fresh" / "tables"
    tables.mkdir(parents=True)
    rows[list(EVIDENCE_COLUMNS)].to_csv(tables / "evidence_07.csv", index=False)
    return list(compare_evidence(tables.parent, folder))
