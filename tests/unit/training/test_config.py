"""The key of a training run: the code that decides weights is in it, and no other code."""

import ast

from ifr.common.files import code_hash
from ifr.common.paths import PACKAGE
from ifr.training import store


def test_code_that_decides_weights_is_in_the_key_and_what_shows_or_saves_is_not():
    names = store.code_hashes().keys()
    decides = {"common/seeding.py", "landmarks.py", "mesh.py", "occlusion.py", "losses.py"}
    decides |= {f"training/{name}.py" for name in ("batches", "loop", "step")}
    assert decides | {"models/facenet.py"} <= names
    beside = {f"training/{name}.py" for name in ("session", "store")}
    assert names.isdisjoint(beside | {"common/progress.py"})
    assert names.isdisjoint({"models/state.py", "common/paths.py"})


def test_every_file_that_the_hashed_ones_import_is_hashed_or_known_to_decide_nothing():
    """A new module of the package that training computes with must not be forgotten."""
    harmless = ("common/errors", "common/files", "common/hardware", "common/paths", "datasets")
    harmless += (
        "models/state",
        "profiles",
        "training/session",
        "common/progress",
    )  # profiles are in the key as values
    files = [PACKAGE / name for name in store.code_hashes()]
    hashed = {str(path.relative_to(PACKAGE).with_suffix("")) for path in files}
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("ifr"):
                continue
            parts = node.module.split(".")[1:]
            for name in node.names:
                module = "/".join(parts)
                inner = "/".join([*parts, name.name])
                if (PACKAGE / f"{inner}.py").exists() or (PACKAGE / inner).is_dir():
                    module = inner
                inside = any(one == module or one.startswith(f"{module}/") for one in hashed)
                assert inside or module.startswith(harmless), f"{path}: {module}"


def test_comments_docstrings_and_layout_do_not_count_and_a_constant_does(tmp_path):
    sources = {
        "plain": "def f(x):\n    return 2 * x\n",
        "told": '"""A file."""\n\n\ndef f(x):\n    """Double."""\n    return 2 * x  # twice\n',
        "laid out": "def f(\n    x,\n):\n    return (\n        2 * x\n    )\n",
        "other": "def f(x):\n    return 3 * x\n",
    }
    hashes = {}
    for name, text in sources.items():
        path = tmp_path / f"{name}.py"
        path.write_text(text, encoding="utf-8")
        hashes[name] = code_hash([path])
    assert hashes["plain"] == hashes["laid out"] != hashes["other"]
    assert hashes["told"] == hashes["plain"]
