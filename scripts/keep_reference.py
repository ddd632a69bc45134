"""Keep a finished run as the committed reference: python scripts/keep_reference.py classroom

The results of ``results/<profile>/seed-0/`` are copied to ``results/reference/<profile>/``, but for
the PDFs, which any run draws again. To keep the repository small the notebooks show large pictures
as JPEG there, and large figures have 256 colours; all numbers are copied as they are. With
``--weights`` the networks named are kept, too, in half precision, so that notebooks run without
training. With ``--evidence`` only what each seed measured is kept, seed by seed as they are done.
"""

import argparse
import base64
import io
import json
import re
import shutil
from pathlib import Path

import pandas as pd
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ifr.common import paths
from ifr.common.errors import UserError
from ifr.common.files import file_hash, write_text
from ifr.experiment import claims
from ifr.experiment.batch import result_files
from ifr.experiment.page import write_index
from ifr.experiment.results import write_csv
from ifr.experiment.run import start
from ifr.profiles import get_profile
from ifr.training import Recipe
from ifr.training.store import as_variant, save_half

LARGE = 40_000  # bytes of a picture in a notebook that is worth reducing
LARGE_FIGURE = 150_000  # and of a figure
LIMIT = 18_000_000  # bytes of the whole reference, the networks kept with it not counted
WEIGHTS_LIMIT = 12_000_000  # bytes of one of them
BESIDE = ("findings.md", "weights")  # written by hand, and kept by --weights
INLINE = re.compile("data:image/png;base64,([A-Za-z0-9+/=]+)")  # a picture with its alternative


def squeezed(png: bytes) -> bytes:
    """Return a picture with its text alternative, packed tightly; a large one in 256 colours."""
    with Image.open(io.BytesIO(png)) as image:
        text = PngInfo()
        for key, value in image.info.items():
            if isinstance(value, str):
                text.add_text(key, value)
        small, whole = io.BytesIO(), image.convert("RGB")
        packed = whole.quantize(256, kmeans=1) if len(png) > LARGE_FIGURE else whole
        packed.save(small, "PNG", optimize=True, pnginfo=text)
    return min(small.getvalue(), png, key=len)


def jpeg_of(png: bytes) -> bytes:
    """Return a picture as JPEG."""
    with Image.open(io.BytesIO(png)) as image:
        small = io.BytesIO()
        image.convert("RGB").save(small, "JPEG", quality=70, optimize=True)
    return small.getvalue()


def _reduced(picture: re.Match) -> str:
    png = base64.b64decode(picture[1])
    if len(png) <= LARGE:
        return picture[0]
    return "data:image/jpeg;base64," + base64.b64encode(jpeg_of(png)).decode()


def reduce_notebook(path: Path) -> None:
    """Show the large pictures of an executed notebook as JPEG; drop warnings of its machine."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        cell["outputs"] = [o for o in cell["outputs"] if o.get("name") != "stderr"]
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "text/html" in data:
                data["text/html"] = INLINE.sub(_reduced, "".join(data["text/html"]))
            png = base64.b64decode("".join(data.get("image/png", "")))
            if len(png) > LARGE:
                del data["image/png"]
                data["image/jpeg"] = base64.b64encode(jpeg_of(png)).decode()
                facts = output.get("metadata", {})
                if "image/png" in facts:
                    facts["image/jpeg"] = facts.pop("image/png")
    write_text(path, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


def keep_weights(profile: str, variants: list[str]) -> None:
    """Keep trained networks with the reference, each in half precision."""
    run, folder = start("00_keep", profile=profile), paths.reference_weights(profile)
    folder.mkdir(exist_ok=True)
    for name in variants:
        path = folder / f"{name}.safetensors"
        recipe = Recipe(as_variant(name), run.profile, run.data("train"), run.seed).anywhere
        save_half(run.trained(name), path, recipe)
        size = path.stat().st_size
        print(f"{path.name}: {size / 1e6:.1f} MB")
        if size > WEIGHTS_LIMIT:
            raise ValueError(f"{path} takes {size} bytes, more than {WEIGHTS_LIMIT}")


def keep_evidence(profile: str) -> None:
    """Keep what every finished seed of a profile measured, beside those kept before."""
    file = claims.reference_file(profile)
    seeds = sorted(path.parent for path in paths.results(profile).glob("seed-*/manifest.json"))
    tables = [claims.evidence_by_seed(seed, alone=True) for seed in seeds]
    kept = pd.read_csv(file) if file.exists() else pd.DataFrame(columns=["seed"])
    done = {int(table["seed"].iloc[0]) for table in tables}
    table = pd.concat([*tables, kept[~kept["seed"].isin(done)]])
    write_csv(table.sort_values(["claim", "quantity", "seed"], kind="stable"), file)
    write_index(paths.reference(profile), get_profile(profile))  # the page tells the seeds
    print(f"{file}: seeds {', '.join(map(str, sorted(table['seed'].unique())))}")


def keep(profile: str) -> Path:
    """Copy a finished run and return the folder of the reference."""
    source, target = paths.results(profile, seed=0), paths.reference(profile)
    if not (source / "manifest.json").exists():
        raise UserError(f"{source} holds no finished run: ifr reproduce makes one")
    if old := json.loads((source / "manifest.json").read_text(encoding="utf-8")).get("outdated"):
        raise UserError(f"{', '.join(old)} of {source} are not current: ifr reproduce redoes them")
    for path in (path for path in target.glob("*") if path.name not in BESIDE):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name in [*result_files(source), "manifest.json"]:
        if not name.endswith(".pdf"):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / name, target / name)
    for path in sorted((target / "figures").glob("*.png")):
        path.write_bytes(squeezed(path.read_bytes()))
    for path in sorted(target.glob("*.ipynb")):
        reduce_notebook(path)
    manifest = json.loads((target / "manifest.json").read_text(encoding="utf-8"))
    manifest["artefacts"] = {name: file_hash(target / name) for name in result_files(target)}
    write_text(target / "manifest.json", json.dumps(manifest, indent=1) + "\n")
    write_index(target, get_profile(profile))
    files = [path for path in target.rglob("*") if path.is_file() and path.parent.name != "weights"]
    size = sum(path.stat().st_size for path in files)
    print(f"{target}: {size / 1e6:.1f} MB")
    if size > LIMIT:
        raise ValueError(f"the reference takes {size} bytes, more than {LIMIT}")
    return target


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Keep a finished run as the reference.")
    parser.add_argument("profile", nargs="?", default="classroom")
    parser.add_argument("--weights", nargs="*", default=[], help="variants whose networks to keep")
    parser.add_argument("--evidence", action="store_true", help="only what each seed measured")
    given = parser.parse_args()
    if given.evidence:
        keep_evidence(given.profile)
        raise SystemExit
    keep(given.profile)
    if given.weights:
        keep_weights(given.profile, given.weights)
