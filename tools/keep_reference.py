"""Keep a finished run as the committed reference: python tools/keep_reference.py classroom

Everything of ``results/<profile>/`` is copied to ``results/reference/<profile>/`` but the
PDFs, which any run draws again. To keep the repository small the notebooks show large pictures as
JPEG there; the figures themselves and all numbers are copied as they are.
"""

import base64
import hashlib
import io
import json
import shutil
import sys
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ifr import paths
from ifr.profiles import get_profile
from ifr.report import write_index
from ifr.reproduce import ARTEFACTS

LARGE = 40_000  # bytes of a picture that is worth reducing
LIMIT = 15_000_000  # bytes of the whole reference


def squeezed(png: bytes) -> bytes:
    """Return the same picture with the same text alternative, packed as tightly as PNG can."""
    with Image.open(io.BytesIO(png)) as image:
        text = PngInfo()
        for key, value in image.info.items():
            if isinstance(value, str):
                text.add_text(key, value)
        small = io.BytesIO()
        image.convert("RGB").save(small, "PNG", optimize=True, pnginfo=text)
    return min(small.getvalue(), png, key=len)


def jpeg_of(png: bytes) -> bytes:
    """Return a picture as JPEG."""
    with Image.open(io.BytesIO(png)) as image:
        small = io.BytesIO()
        image.convert("RGB").save(small, "JPEG", quality=70, optimize=True)
    return small.getvalue()


def reduce_notebook(path: Path) -> None:
    """Show the large pictures of an executed notebook as JPEG; drop warnings of its machine."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        cell["outputs"] = [o for o in cell["outputs"] if o.get("name") != "stderr"]
        for output in cell["outputs"]:
            data = output.get("data", {})
            png = base64.b64decode("".join(data.get("image/png", "")))
            if len(png) > LARGE:
                del data["image/png"]
                data["image/jpeg"] = base64.b64encode(jpeg_of(png)).decode()
                facts = output.get("metadata", {})
                if "image/png" in facts:
                    facts["image/jpeg"] = facts.pop("image/png")
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def keep(profile: str) -> Path:
    """Copy a finished run and return the folder of the reference."""
    source, target = paths.results(profile), paths.reference(profile)
    if not (source / "manifest.json").exists():
        raise FileNotFoundError(f"{source} holds no finished run: ifr reproduce makes one")
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.pdf", "*.failed.ipynb"))
    for path in sorted((target / "figures").glob("*.png")):
        path.write_bytes(squeezed(path.read_bytes()))
    for path in sorted(target.glob("*.ipynb")):
        reduce_notebook(path)
    manifest = json.loads((target / "manifest.json").read_text(encoding="utf-8"))
    manifest["artefacts"] = {
        path.relative_to(target).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for pattern in ARTEFACTS
        for path in sorted(target.glob(pattern))
    }
    (target / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    write_index(target, get_profile(profile))
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    print(f"{target}: {size / 1e6:.1f} MB")
    if size > LIMIT:
        raise ValueError(f"the reference takes {size} bytes, more than {LIMIT}")
    return target


if __name__ == "__main__":
    keep(sys.argv[1] if len(sys.argv) > 1 else "classroom")
