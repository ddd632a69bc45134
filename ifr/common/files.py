"""Files written whole or not at all, and content hashes of code, files and plain values."""

import ast
import errno
import hashlib
import json
import os
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from ifr.common.errors import Stopped, UserError
from ifr.common.paths import require_writable

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # disk, quota, largest file that is allowed
PROBE = 1 << 16  # bytes
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary file beside ``path`` that takes its name when the block ends well."""
    path = Path(path)
    require_writable(path.parent)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    try:
        yield temporary
        os.replace(temporary, path)
    except Exception as error:
        if isinstance(error, UserError) or not (reason := _why_full(temporary, error)):
            raise
        raise disk_full(path, reason) from error
    finally:
        temporary.unlink(missing_ok=True)


def disk_full(path: Path, reason: str | None) -> UserError:
    """Return the error of a file that does not fit."""
    advice = "free some space and run it again; what was finished is kept"
    return UserError(f"{path} cannot be written: {reason}; {advice}")


def _why_full(file: Path, error: Exception) -> str | None:
    """Return why no more goes into a file, asking the disk: libraries tell it in many ways."""
    try:
        with open(file, "ab") as probe:
            probe.write(bytes(PROBE))
    except OSError as refusal:
        error = refusal
    return error.strerror if isinstance(error, OSError) and error.errno in FULL else None


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    with written_whole(path) as temporary:
        temporary.write_bytes(content)


def write_array(path: Path, array: np.ndarray) -> None:
    """Write a ``.npy`` file whole or not at all."""
    with written_whole(path) as temporary, open(temporary, "wb") as file:
        np.save(file, array)


@contextmanager
def alone(lock_file: Path, while_waiting: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Hold a lock, after a line on stderr if another process has it; ``while_waiting`` may raise.

    Who has waited must look again whether the work is done.
    """
    require_writable(lock_file.parent)
    lock, seconds = FileLock(lock_file), 0.0
    while not lock.is_locked:
        try:
            lock.acquire(timeout=seconds)
        except Timeout:
            if not seconds:
                words = f"another process does this, it holds {lock_file}: waiting for it"
                print(words, file=sys.stderr, flush=True)
            seconds = 1.0
            while_waiting()
        except KeyboardInterrupt:
            raise Stopped(f"stopped waiting for {lock_file}: run it again to go on") from None
    try:
        yield
    finally:
        with suppress(OSError):
            lock_file.unlink()  # who waits sees that, and takes a new one
        lock.release()


def file_hash(path: Path) -> str:
    """Return the sha256 of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def value_hash(value: object) -> str:
    """Return the sha256 of plain values (what JSON can hold), the same for any order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def code_hash(sources: Iterable[Path]) -> str:
    """Return a hash of what Python files do, in this order: not of comments, docstrings, layout."""
    # As Python 3.11 shows it, in every version: what one keeps is found by another.
    digest, every = hashlib.sha256(), {"show_empty": True} if sys.version_info >= (3, 13) else {}
    for source in sources:
        tree = ast.parse(Path(source).read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, DOCUMENTED) and ast.get_docstring(node) is not None:
                del node.body[0]
        digest.update(ast.dump(tree, **every).replace(", type_params=[]", "").encode())
    return digest.hexdigest()
