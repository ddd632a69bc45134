"""What the pixels of faces say against their colour order and their alignment."""

from collections.abc import Sequence

import numpy as np

SAMPLE = 256  # faces of a prepared set that are looked at
ENOUGH = 8  # faces from which on their alignment is judged
# Of 1,250 photographs of LFW and CelebA 0.2 % are bluer than red, 0.8 % have eyes as pale as skin.
MOST_BLUE, MOST_PALE = 0.2, 0.25
# In ArcFace's frame, rows and columns: both eyes, and the skin between and below them.
EYES = (np.s_[46:56, 30:46], np.s_[46:56, 65:81])
SKIN = ((np.s_[47:57, 51:61],), (np.s_[63:73, 30:46], np.s_[63:73, 65:81]))


def is_bluer(image: np.ndarray) -> bool:
    """Return whether the middle of an image, (H, W, 3) RGB, is more blue than red: no skin is."""
    height, width = image.shape[:2]
    middle = image[height // 4 : -height // 4 or None, width // 4 : -width // 4 or None]
    red, _, blue = middle.mean(axis=(0, 1))
    return bool(blue > red)


def colour_doubt(bluer: Sequence[bool]) -> list[str]:
    """Return what there is to think about when so many of the faces are bluer than red."""
    if not len(bluer) or (share := np.mean(bluer)) <= MOST_BLUE:
        return []
    return [f"{share:.0%} of the faces are bluer than red: red and blue may be swapped"]


def doubts(images: np.ndarray) -> list[str]:
    """Return what a sample of aligned faces (N, 112, 112, 3) gives to think about."""
    rows = np.unique(np.linspace(0, len(images) - 1, SAMPLE).astype(int))
    some = [np.asarray(images[row]) for row in rows]
    found = colour_doubt([is_bluer(image) for image in some])
    pale = np.mean([_shade(image, EYES) >= min(_shade(image, s) for s in SKIN) for image in some])
    if len(some) >= ENOUGH and pale > MOST_PALE:
        fault = f"in {pale:.0%} of the faces the eyes are no darker than the skin around them"
        found.append(f"{fault}: they may not be aligned, or by landmarks of other images")
    return found


def _shade(image: np.ndarray, places: Sequence[tuple[slice, slice]]) -> float:
    return float(np.mean([image[place].mean() for place in places]))
