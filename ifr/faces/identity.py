"""Who a face is: shape and painted appearance, a pure function of one seed."""

from dataclasses import dataclass

import numpy as np

from ifr.common.errors import UserError
from ifr.common.seeding import stream
from ifr.faces.appearance import Appearance, Character, paint_face
from ifr.faces.head_model import load_head
from ifr.faces.paint import single_threaded
from ifr.faces.raster import blend

# Standard deviation of every shape trait: 0.27 looks human, 0.42 gives caricatures.
SHAPE_SD = 0.27
# Outlines of the head exclude one another more than the other traits do.
OUTLINES = ("diamond", "oval", "rectangular", "round", "square", "triangular", "invertedtriangular")
# Traits that shift a feature against the face are kept smaller, and ears are mostly hidden.
REDUCED = ("mouth/mouth-trans", "nose/nose-trans", "eyes/eye-trans", "ears")

STYLES = ("short", "medium", "long", "buzz", "bald")


@dataclass(frozen=True)
class Habit:
    """How a person usually wears the hair, and where it grows; texels of the canonical map."""

    style: str
    odds: tuple[float, ...]  # of each style on other days
    height: float  # of the hairline above the brows
    temple: float  # how far it recedes at the temples
    peak: float  # how far it comes down in the middle
    length: float  # 0..1 of hanging hair
    curl: float  # 0 straight .. 1 curly


@dataclass(frozen=True, eq=False)
class Identity:
    """A person; ``character`` names directions of the shape space, claiming nothing of people."""

    seed: int
    vertices: np.ndarray  # (V, 3) float32, the neutral head
    appearance: Appearance
    character: Character
    habit: Habit


def draw_habit(seed: int, character: Character) -> Habit:
    """Draw the usual hair."""
    rng = stream(seed, "faces/hair-habit")
    odds = (0.56, 0.14, 0.04, 0.2, 0.06) if character.heavy else (0.14, 0.33, 0.5, 0.03, 0.0)
    style = STYLES[rng.choice(len(STYLES), p=odds)]
    height = rng.uniform(25, 36) + 8 * character.age * character.heavy
    temple = rng.uniform(-2, 8) * (1 if character.heavy else 0.5)
    peak, length = rng.normal(0, 2.5), rng.uniform(0, 1)
    curl = rng.uniform(0.4, 1) if rng.random() < 0.3 else 0.0
    return Habit(style, odds, height, temple, peak, length, curl)


def draw_character(seed: int) -> Character:
    """Draw the traits that shape and appearance share."""
    rng = stream(seed, "faces/character")
    bases, end = rng.dirichlet([0.45] * 3), float(rng.random() < 0.5)
    build = abs(end - min(abs(rng.normal(0, 0.15)), 0.45))
    return Character(bases, build, 0.9 * float(rng.beta(1.1, 2.2)))


def shape_weights(seed: int, character: Character) -> np.ndarray:
    """Draw the weight of every shape vector, (K,) float32."""
    rng, head = stream(seed, "faces/shape"), load_head()
    weights, heaviness = np.zeros(len(head.scale), np.float32), rng.normal(0, 0.5)
    kind = "maxweight" if heaviness > 0 else "minweight"
    for end, share in (("a", 1 - character.build), ("b", character.build)):
        for base, mixture in enumerate(character.bases):
            weights[head.index[f"base/{base}{end}"]] = mixture * share
        weights[head.index[f"age/{end}"]] = character.age * share
        weights[head.index[f"{kind}/{end}"]] = min(abs(heaviness), 1) * share
    for trait, vectors in head.traits.items():
        amount = np.clip(rng.normal(0, SHAPE_SD), -1, 1)
        asymmetry = {"": 0.0, "l": rng.normal(0, 0.06), "r": rng.normal(0, 0.06)}
        if trait.startswith(REDUCED):
            amount *= 0.5
        if trait.startswith("head/") and trait.rpartition("-")[2] in OUTLINES:
            amount = max(amount, 0) * 0.7
        for k, sign, side in vectors:
            weights[k] = max((amount + asymmetry[side]) * sign, 0)
    return weights


@single_threaded()
def build_identity(seed: int) -> Identity:
    """Return the person of a seed >= 0; a seed gives the same person on every machine."""
    seed, head = check_seed(seed, "seed"), load_head()
    character, vertices = draw_character(seed), head.mean.copy()
    blend(vertices, head.basis, head.scale, shape_weights(seed, character))
    appearance, habit = paint_face(seed, character), draw_habit(seed, character)
    return Identity(seed, vertices, appearance, character, habit)


def check_seed(value: int, name: str) -> int:
    """Return ``value`` as a plain integer, if it is a non-negative one."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be an integer, got {value!r} ({type(value).__name__})")
    if value < 0:
        raise UserError(f"{name} must be >= 0, got {value}")
    return int(value)
