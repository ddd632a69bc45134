"""Encoded images as an array: decoded one at a time, only when they are read."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
MOST_PIXELS = 64_000_000  # of one image; a larger one is taken for an accident or an attack


class UnreadableImage(ValueError):
    """An image that cannot be decoded; the message names it and says why."""


def decode_image(data: bytes, name: str) -> np.ndarray:
    """Decode one image.

    Greyscale is repeated over the channels, CMYK and palettes are converted, 16 bits are scaled to
    8, transparency is laid on black, and the EXIF orientation is applied.

    Args:
        data: the bytes of a JPEG, PNG, BMP, PPM, TIFF or WebP file.
        name: what the error messages call it: a path, or a place in a record file.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        UnreadableImage: if the bytes are no image, are cut short or broken, or decode to more than
            64 million pixels.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > MOST_PIXELS:
                raise UnreadableImage(
                    f"{name}: {image.width} x {image.height} pixels are more than "
                    f"{MOST_PIXELS:,}; crop or shrink it first"
                )
            return _as_rgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        raise UnreadableImage(f"{name}: {_what(data)}, not an image this can read") from None
    except UnreadableImage:
        raise
    except Exception as error:  # Pillow's decoders raise many kinds on broken bytes
        raise UnreadableImage(f"{name}: the image is cut short or broken ({error})") from None


def _as_rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):  # 16 bits of grey
        levels = np.asarray(image).astype(np.float64) / 257
        return np.repeat(np.clip(levels.round(), 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        ground = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(ground, image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))


def _what(data: bytes) -> str:
    return f"{len(data)} bytes that begin with {data[:4]!r}" if data else "an empty file"


class ImageSource(Protocol):
    """Where encoded images come from; must survive pickling, for worker processes."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """Return what messages call an image: its path, or its place in a record file."""
        ...

    def size(self, index: int) -> int:
        """Return the bytes of an image without reading them; 0 for one that is missing."""
        ...

    def read(self, index: int) -> bytes:
        """Return the encoded bytes of an image.

        Raises:
            UnreadableImage: if they cannot be read.
        """
        ...


class Files:
    """Image files under one root, named by their path relative to it.

    Args:
        root: folder.
        files: paths relative to it, with forward slashes.
    """

    def __init__(self, root: Path, files: Sequence[str]):
        self.root, self.files = Path(root), list(files)

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        return str(self.root / self.files[index])

    def size(self, index: int) -> int:
        path = self.root / self.files[index]
        return path.stat().st_size if path.is_file() else 0

    def read(self, index: int) -> bytes:
        try:
            return (self.root / self.files[index]).read_bytes()
        except OSError as error:
            raise UnreadableImage(f"{self.name(index)}: {error.strerror}") from None


class LazyImages:
    """Images of a source as the ``images`` of a FaceSet: ``len``, indexing, ``np.asarray``.

    A number gives one decoded image, a slice, a mask or indices a smaller ``LazyImages`` that
    has decoded nothing, and ``np.asarray`` decodes all of them into (N, H, W, 3).

    Args:
        source: of the encoded images.
        rows: (N,) which of them; None for all.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, source: ImageSource, rows: np.ndarray | None = None):
        self.source = source
        self.rows = np.arange(len(source)) if rows is None else np.asarray(rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, 3) by the first image; the others may differ until they are aligned."""
        return (len(self), *(self[0].shape if len(self) else (0, 0, 3)))

    def __getitem__(self, which):
        if isinstance(which, (int, np.integer)):
            row = int(self.rows[which])
            return decode_image(self.source.read(row), self.source.name(row))
        return LazyImages(self.source, self.rows[which])

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[index] for index in range(len(self)))

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        if copy is False:
            raise ValueError("images that are decoded when read cannot be had without a copy")
        if not len(self):
            return np.zeros((0, 0, 0, 3), dtype or np.uint8)
        first = self[0]
        result = np.empty((len(self), *first.shape), dtype or np.uint8)
        result[0] = first
        for index in range(1, len(self)):
            image = self[index]
            if image.shape != first.shape:
                raise ValueError(
                    f"{self.name(index)} is {image.shape[1]} x {image.shape[0]} pixels, "
                    f"{self.name(0)} is {first.shape[1]} x {first.shape[0]}: images of several "
                    "sizes make no array; align them with ifr data prepare"
                )
            result[index] = image
        return result

    def name(self, index: int) -> str:
        """Return what messages call an image."""
        return self.source.name(int(self.rows[index]))
