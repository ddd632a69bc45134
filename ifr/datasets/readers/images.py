"""Encoded images as an array: decoded one at a time, only when they are read."""

import io
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageOps, UnidentifiedImageError

from ifr.common.errors import UserError
from ifr.datasets.face_set import FaceSet

_JPEG, _PNM = (".jpg", ".jpeg", ".jpe", ".jfif"), (".ppm", ".pgm", ".pnm")
SUFFIXES = (*_JPEG, *_PNM, ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp")
MOST_PIXELS = 64_000_000  # of one image; a larger one is taken for an accident or an attack
ORIENTATION = 0x0112  # EXIF's tag; 1 is upright


class UnreadableImage(UserError):
    """An image that cannot be decoded; the message names it and says why."""


def decode_image(data: bytes, name: str) -> np.ndarray:
    """Decode one image to (H, W, 3) uint8 RGB, turned as its EXIF orientation says.

    16 bits are scaled to 8, transparency is laid on black, of an animation the first is taken.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > MOST_PIXELS:
                raise Image.DecompressionBombError
            if image.mode != "F":
                return _as_rgb(ImageOps.exif_transpose(image))
            fault = "floating-point pixels; save it with 8 or 16 bits"
    except UnidentifiedImageError:
        content = f"{len(data)} bytes that begin with {data[:4]!r}" if data else "an empty file"
        fault = f"{content}, not an image this can read"
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        fault = f"more than {MOST_PIXELS:,} pixels are too large; crop or shrink it first"
    except Exception as error:  # Pillow's decoders raise many kinds on broken bytes
        fault = f"the image is cut short or broken ({error})"
    raise UnreadableImage(f"{name}: {fault}")


def is_turned(data: bytes) -> bool:
    """Return whether an image that can be decoded asks to be turned or mirrored when shown."""
    with Image.open(io.BytesIO(data)) as image:
        return image.getexif().get(ORIENTATION, 1) != 1


def _as_rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):  # 16 bits of grey
        levels = np.asarray(image).astype(np.float64) / 257
        return np.repeat(np.clip(levels.round(), 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        ground = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(ground, image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))


class ImageSource(ABC):
    """Encoded images at a path by their keys, as the ``images`` of a FaceSet: decoded when read.

    A number gives one image, a slice, a mask or indices a smaller source. ``places`` is where each
    lies in a file of many.
    """

    called = "image"  # what messages call an entry of the path
    dtype, ndim = np.dtype(np.uint8), 4

    def __init__(self, path: Path, keys: ArrayLike, places: np.ndarray | None = None) -> None:
        self.path, self.keys, self.places = Path(path), np.asarray(keys), places

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, 3) by the first that can be read; others may differ until they are aligned."""
        for row in range(len(self)):
            with suppress(UnreadableImage):
                return len(self), *self[row].shape
        return len(self), 0, 0, 3

    def __getitem__(self, which: int | np.integer | slice | np.ndarray) -> Any:
        rows = np.arange(len(self))[which]
        if isinstance(which, (int, np.integer)):
            return decode_image(self.read(int(rows)), self.name(int(rows)))
        places = None if self.places is None else self.places[rows]
        return type(self)(self.path, self.keys[rows], places)

    def name(self, index: int) -> str:
        """Return what messages call an image: its path, or its key in a file of many."""
        return f"{self.path}, {self.called} {self.keys[index]}"

    @abstractmethod
    def size(self, index: int) -> int:
        """Return the bytes of an image without reading them; 0 for one that is missing."""

    @abstractmethod
    def read(self, index: int) -> bytes:
        """Return the encoded bytes of an image, or raise UnreadableImage."""


class Files(ImageSource):
    """Image files under one root; their keys are paths relative to it, with forward slashes."""

    def name(self, index: int) -> str:
        return str(self.path / self.keys[index])

    def size(self, index: int) -> int:
        file = self.path / self.keys[index]
        return file.stat().st_size if file.is_file() else 0

    def read(self, index: int) -> bytes:
        try:
            return (self.path / self.keys[index]).read_bytes()
        except OSError as error:
            raise UnreadableImage(f"{self.name(index)}: {error.strerror}") from None


def photograph_set(
    name: str, source: ImageSource, subjects: Sequence[str] | np.ndarray, **attributes: np.ndarray
) -> FaceSet:
    """Return images as a set; the sorted subjects are its identities, the keys ``file``."""
    identity = np.unique(subjects, return_inverse=True)[1].astype(np.int64)
    known = {"file": source.keys.astype(str), "subject": np.array(subjects).astype(str)}
    return FaceSet(name, source, identity, None, known | attributes)


def require(path: Path, hint: str, kind: str = "file") -> Path:
    """Return the ``"file"`` or ``"folder"`` that a reader is given; refuse another with a hint."""
    if not (Path(path).is_dir() if kind == "folder" else Path(path).is_file()):
        raise UserError(f"there is no {kind} {path}; {hint}")
    return Path(path)
