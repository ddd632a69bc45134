"""The page of a run, without server or network, and its description as an RO-Crate."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import yaml
from PIL import Image

from ifr.common.files import write_text
from ifr.common.paths import ASSETS, SOURCE
from ifr.experiment.claims import OTHERS, UNTESTED
from ifr.experiment.notebook_page import TEMPLATES, executed, markdown, title_of
from ifr.profiles import Profile


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
    known = [row["stem"] for row in rows]
    rows += [dict(stem=stem) for stem in found if stem not in known]
    for row in rows:
        with Image.open(path := found[row["stem"]]) as image:
            row |= dict(alt=image.info.get("Description", path.stem), size=image.size)
        row["pdf"] = path.with_suffix(".pdf").exists()
    return rows
