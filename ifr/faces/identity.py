"""Who a face is: shape and painted appearance, a pure function of one seed."""

from dataclasses import dataclass, replace

import numpy as np

from ifr.common.errors import UserError
from ifr.common.seeding import stream
from ifr.faces.appearance import TABLES, Appearance, Character, paint_face, single_threaded
from ifr.faces.head_model import load_head

SHAPE_SD = 0.27  # standard deviation of shape traits: 0.27 looks human, 0.42 is a caricature
EXCHANGED = {"nose": "nose/", "mouth": "mouth/", "eyes": "eyes/", "brows": "eyebrows/"}

STYLES = ("short", "medium", "long", "buzz", "bald", "tied")
COMBED = ("back", "side", "middle", "fringe")


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
    combed: str
    combed_odds: tuple[float, ...]
    side: int  # -1 or 1, of the parting


@dataclass(frozen=True, eq=False)
class Identity:
    """A person; ``character`` names directions of the shape space, claiming nothing of people."""

    seed: int
    weights: np.ndarray  # (K,) float32, of the shape vectors
    vertices: np.ndarray  # (V, 3) float32, the neutral head
    frame: np.ndarray  # (V, 3) the head whose landmarks place the picture: as a rule vertices
    appearance: Appearance
    character: Character
    habit: Habit


def draw_habit(seed: int, character: Character) -> Habit:
    """Draw the usual hair."""
    rng, heavy, age = stream(seed, "faces/hair-habit"), character.heavy, character.age
    odds = (0.56, 0.13, 0.03, 0.2, 0.06, 0.02) if heavy else (0.14, 0.3, 0.34, 0.03, 0.0, 0.19)
    style = STYLES[rng.choice(len(STYLES), p=odds)]
    height, temple = rng.uniform(27, 38) + 8 * age * heavy, rng.uniform(0, 9) * (0.5 + 0.5 * heavy)
    peak, length = rng.normal(0, 2.5), rng.uniform(0, 1)
    curl = rng.uniform(0.4, 1) if rng.random() < 0.3 else 0.0
    combing = stream(seed, "faces/hair-combed")
    combed_odds = (0.32, 0.38, 0.08, 0.22) if heavy else (0.2, 0.32, 0.26, 0.22)
    combed = COMBED[combing.choice(len(COMBED), p=combed_odds)]
    # Hair goes back with age, most of all at the temples.
    bare = combing.uniform(0, 30) * max(age - 0.2, 0) * heavy
    grown = height + 0.5 * bare, temple + bare, peak, length, curl
    return Habit(style, odds, *grown, combed, combed_odds, side=int(combing.choice([-1, 1])))


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
        ranges = (both for start, both in TABLES["trait ranges"] if trait.startswith(start))
        amount *= next(ranges)[int(amount > 0)]
        for k, sign, side in vectors:
            weights[k] = max((amount + asymmetry[side]) * sign, 0)
    return weights


@single_threaded()
def build_identity(seed: int) -> Identity:
    """Return the person of a seed >= 0; a seed gives the same person on every machine."""
    rng = stream(seed := check_seed(seed, "seed"), "faces/character")
    bases, end = rng.dirichlet([0.45] * 3), float(rng.random() < 0.5)
    build = abs(end - min(abs(rng.normal(0, 0.15)), 0.45))
    character = Character(bases, build, 0.9 * float(rng.beta(1.1, 2.2)))
    weights = shape_weights(seed, character)
    vertices = _neutral_head(seed, weights)
    appearance, habit = paint_face(seed, character), draw_habit(seed, character)
    return Identity(seed, weights, vertices, vertices, appearance, character, habit)


def _neutral_head(seed: int, weights: np.ndarray) -> np.ndarray:
    """Return the head (V, 3) of shape weights (K,): lids at ease, lips closed."""
    head, ease = load_head(), stream(seed, "faces/lids").uniform(0, 0.09)
    vertices = head.mean.copy()
    for vector, factor in zip(head.basis, weights * head.scale, strict=True):
        if factor:
            vertices += factor * vector
    for side in ("Left", "Right"):
        moved, offsets = head.units[f"eyeBlink{side}"]
        vertices[moved] += np.float32(ease) * offsets
    # Mouth shapes leave the lips apart by up to 0.03 decimetres; the jaw takes them together.
    lips = head.landmarks(vertices)[[62, 66], 1]
    moved, offsets = head.units["jawOpen"]
    vertices[moved] -= offsets * np.float32(np.clip(lips[0] - lips[1] - 0.001, 0, 0.05) / 0.345)
    return vertices


def exchange_part(identity: Identity, other: Identity, part: str) -> Identity:
    """Return a person with the shape of a part (of ``EXCHANGED``) of another, aligned as before."""
    if part not in EXCHANGED:
        raise UserError(f"part must be one of {', '.join(EXCHANGED)}, got {part!r}")
    weights = identity.weights.copy()
    for trait, vectors in load_head().traits.items():
        if trait.startswith(EXCHANGED[part]):
            rows = [k for k, *_ in vectors]
            weights[rows] = other.weights[rows]
    return replace(identity, weights=weights, vertices=_neutral_head(identity.seed, weights))


def check_seed(value: int, name: str) -> int:
    """Return ``value`` as a plain integer, if it is a non-negative one."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be an integer, got {value!r} ({type(value).__name__})")
    if value < 0:
        raise UserError(f"{name} must be >= 0, got {value}")
    return int(value)
