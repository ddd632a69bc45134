"""How a face is photographed: pose, expression, light and camera of one shot."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np

from ifr.common.errors import UserError
from ifr.common.seeding import stream
from ifr.faces.head_model import load_head
from ifr.faces.identity import check_seed
from ifr.faces.shading_data import Lights

OCCLUDERS = ("none", "sunglasses", "eyeglasses", "scarf", "mask", "hand")
YAWS = ("mixed", "frontal", "wide")
LIGHTINGS = ("natural", "even", "left", "right", "both")


def _both(**units: float) -> dict[str, float]:
    """Expand units to their left and right sides."""
    return {unit + side: value for unit, value in units.items() for side in ("Left", "Right")}


EXPRESSIONS: dict[str, dict[str, float]] = {
    "neutral": {},
    "smile": _both(mouthSmile=0.7, cheekSquint=0.4),
    "laugh": _both(mouthSmile=0.9, mouthUpperUp=0.4, eyeSquint=0.4) | {"jawOpen": 0.18},
    "scream": {"jawOpen": 0.6, **_both(eyeSquint=0.5, mouthUpperUp=0.3, browDown=0.4)},
    "surprise": {"jawOpen": 0.45, "browInnerUp": 0.6, **_both(eyeWide=0.5)},
    "anger": _both(browDown=0.9, mouthFrown=0.5, noseSneer=0.4),
    "sad": {"browInnerUp": 0.7, **_both(mouthFrown=0.6)},
    "pucker": {"mouthPucker": 0.7},
    "closed eyes": _both(eyeBlink=0.9),
    "speaking": {"jawOpen": 0.25},
    "press": {**_both(mouthPress=0.5), "mouthLeft": 0.3},
}

# The controlled lights of a studio: azimuth and elevation of each, their power, and the ambient's.
STUDIO: dict[str, tuple[list[tuple[float, float]], list[float], float]] = {
    "even": ([(-0.35, 0.35), (0.35, 0.35)], [0.45, 0.45], 0.5),
    "left": ([(-1.15, 0.2)], [1.3], 0.16),
    "right": ([(1.15, 0.2)], [1.3], 0.16),
    "both": ([(-1.15, 0.2), (1.15, 0.2)], [1.0, 1.0], 0.16),
}


@dataclass(frozen=True)
class Camera:
    """What happens to the light between the lens and the file; by default nothing."""

    exposure: float = 0.0  # natural logarithm, around the automatic exposure
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    gamma: float = 2.2
    blur: float = 0.0  # Gaussian sigma, pixels; 0 for none
    low_size: int = 0  # the picture was once this many pixels wide; 0 for no resampling
    noise: float = 0.0  # standard deviation, of 1
    jpeg: int = 0  # quality; 0 for none


@dataclass(frozen=True, eq=False)
class Shot:
    """One photograph of one identity; every attribute comes from a random stream of its own.

    Angles are degrees. Yaw > 0 turns the face to the right of the picture, pitch > 0 up, roll > 0
    anticlockwise; alignment takes most of the roll out again.
    """

    identity_seed: int
    index: int
    yaw: float
    pitch: float
    roll: float
    distance: float  # of the camera, decimetres
    jitter: np.ndarray  # (11,) x, y offsets of the five aligned points in pixels of 112; then scale
    expression: str
    units: tuple[tuple[str, float], ...]  # expression units and their strength
    gaze: tuple[np.float32, np.float32]
    lights: Lights
    camera: Camera
    occluder: str
    plain: bool

    def stream(self, name: str) -> np.random.Generator:
        """Return the random stream of one attribute."""
        return _stream(self.identity_seed, self.index, name)


def _stream(seed: int, index: int, name: str) -> np.random.Generator:
    """Return the random stream of one attribute of a shot."""
    return stream(seed, f"faces/shot/{name}", index)


def _draw_pose(rng: np.random.Generator, yaw: str | float) -> tuple[float, float, float]:
    """Draw yaw, pitch and roll in degrees."""
    near, far, side = rng.normal(0, 12), rng.uniform(-60, 60), rng.random()
    pitch, roll = rng.normal(0, 8), rng.normal(0, 8)
    drawn = {"mixed": near if side < 0.45 else far, "frontal": near / 3, "wide": far}
    angle = drawn[yaw] if isinstance(yaw, str) else yaw
    if yaw == "frontal":
        pitch, roll = pitch / 3, roll / 3
    return float(np.clip(angle, -60, 60)), float(np.clip(pitch, -25, 25)), roll


def _draw_units(
    rng: np.random.Generator, expression: str | None
) -> tuple[str, tuple[tuple[str, float], ...]]:
    """Draw an expression and small involuntary movements beside it."""
    names = list(EXPRESSIONS)
    odds = np.array([3.0] + [1.0] * (len(names) - 1))
    drawn = names[rng.choice(len(names), p=odds / odds.sum())]
    strength = rng.uniform(0.5, 1.1)
    moved = rng.choice(list(load_head().units), 4, replace=False)
    small = np.abs(rng.normal(0, 0.13, 4))
    if expression is not None:
        # A chosen expression is shown plainly and nothing but it.
        drawn, strength, small = expression, 0.85 + 0.3 * (strength - 0.5), small * 0.3
    units = {unit: strength * value for unit, value in EXPRESSIONS[drawn].items()}
    for unit, value in zip(moved.tolist(), small.tolist(), strict=True):
        units[unit] = units.get(unit, 0.0) + value
    return drawn, tuple(units.items())


def _direction(azimuth: float, elevation: float) -> list[float]:
    """Return the direction of a light, angles in radians; azimuth > 0 is right of the picture."""
    flat = np.cos(elevation)
    return [np.sin(azimuth) * flat, np.sin(elevation), np.cos(azimuth) * flat]


def _warmth(rng: np.random.Generator, spread: float) -> np.ndarray:
    """Return the colour of a light near the black-body line: warm to cool, hardly pink or green."""
    return np.exp(rng.normal(0, spread) * np.array([1, 0.05, -1]) + rng.normal(0, 0.008, 3))


def _draw_lights(rng: np.random.Generator, lighting: str) -> Lights:
    """Draw the lights of a kind of lighting."""
    ambient = rng.uniform(0.3, 0.75)
    sky = ambient * _warmth(rng, 0.05) * rng.uniform(1, 1.4)
    ground = ambient * _warmth(rng, 0.05) * rng.uniform(0.4, 0.9)
    count = int(rng.integers(1, 4))
    azimuth, elevation = rng.normal(0, 0.75), np.clip(rng.normal(0.55, 0.35), -0.2, 1.2)
    power = [rng.uniform(0.6, 1.4), rng.uniform(0.1, 0.6), rng.uniform(0.1, 0.4)]
    colours = [_warmth(rng, 0.07), _warmth(rng, 0.10), _warmth(rng, 0.10)]
    towards = [(azimuth, elevation)]
    towards += [(rng.uniform(-1.9, 1.9), rng.uniform(-0.3, 1.1)) for _ in range(2)]
    shadows = bool(rng.random() < 0.7)
    if lighting != "natural":
        # The draws above are made all the same.
        towards, power, ambient = STUDIO[lighting]
        sky, ground, count = ambient * np.full(3, 1.1), ambient * np.full(3, 0.8), len(towards)
        colours, shadows = [np.ones(3)] * count, lighting != "even"
    directions = np.array([_direction(*angles) for angles in towards[:count]], np.float32)
    rows = [strength * colour for strength, colour in zip(power, colours, strict=False)][:count]
    around = np.array([sky, ground], np.float32)
    return Lights(directions, np.array(rows, np.float32), around, shadows)


def _draw_camera(rng: np.random.Generator, plain: bool) -> Camera:
    """Draw exposure, colour, blur, resampling, noise and compression."""
    if plain:
        return Camera()
    exposure, gamma = rng.normal(0, 0.16), rng.uniform(2.0, 2.4)
    red, green, blue = _warmth(rng, 0.035).tolist()
    blur = rng.uniform(0.3, 1.0) if rng.random() < 0.5 else 0.0
    low_size = int(rng.choice([48, 64, 80])) if rng.random() < 0.12 else 0
    noise = rng.uniform(0.003, 0.022)
    jpeg = int(rng.integers(45, 96)) if rng.random() < 0.6 else 0
    return Camera(exposure, (red, green, blue), gamma, blur, low_size, noise, jpeg)


def _check_choice(value: str, name: str, known: Iterable[str]) -> None:
    """Raise unless ``value`` is one of the known names."""
    if value not in known:
        raise UserError(f"{name} must be one of {', '.join(known)}, got {value!r}")


def draw_shot(
    identity_seed: int,
    shot: int,
    *,
    yaw: str | float = "mixed",
    expression: str | None = None,
    lighting: str | None = None,
    occluder: str | None = None,
    plain: bool = False,
) -> Shot:
    """Draw one shot of an identity, to ``render``.

    Every attribute has its own random stream, so fixing one leaves the others as they are: with
    and without an occluder the shot is otherwise the same.

    Args:
        identity_seed: the seed given to ``build_identity``.
        shot: number of the shot, >= 0.
        yaw: ``"mixed"`` (half near frontal, half anywhere to 60 degrees), ``"frontal"``,
            ``"wide"`` (anywhere to 60 degrees), or an angle in degrees.
        expression: a name in ``EXPRESSIONS``; None draws one.
        lighting: ``"even"``, ``"left"``, ``"right"`` (side of the picture) or ``"both"``; None or
            ``"natural"`` draws the lights freely.
        occluder: a name in ``OCCLUDERS``; None is ``"none"``.
        plain: a grey background, no hat, an exact alignment and a perfect camera.
    """
    seed, index = check_seed(identity_seed, "identity_seed"), check_seed(shot, "shot")
    if isinstance(yaw, str):
        _check_choice(yaw, "yaw", YAWS)
    elif not -60 <= yaw <= 60:
        raise UserError(f"yaw must lie in -60..60 degrees, got {yaw}")
    occluder, lighting = occluder or "none", lighting or "natural"
    _check_choice(occluder, "occluder", OCCLUDERS)
    _check_choice(lighting, "lighting", LIGHTINGS)
    if expression is not None:
        _check_choice(expression, "expression", EXPRESSIONS)
    return _draw(seed, index, yaw, expression, lighting, occluder, plain)


def _draw(
    seed: int,
    index: int,
    yaw: str | float,
    expression: str | None,
    lighting: str,
    occluder: str,
    plain: bool,
) -> Shot:
    """Draw a shot whose fixed attributes have been checked."""
    rngs = partial(_stream, seed, index)
    degrees = _draw_pose(rngs("pose"), yaw)
    alignment, eyes = rngs("alignment"), rngs("gaze")
    jitter = np.concatenate([alignment.normal(0, 0.9, 10), alignment.normal(0, 0.02, 1)])
    aside = -np.sin(np.radians(degrees[0])) * eyes.uniform(0, 0.5) + eyes.normal(0, 0.12)
    return Shot(
        seed,
        index,
        *degrees,
        rngs("distance").uniform(7, 18),
        jitter * (not plain),
        *_draw_units(rngs("expression"), expression),
        gaze=(np.float32(np.clip(aside, -0.42, 0.42)), np.float32(eyes.normal(0, 0.07))),
        lights=_draw_lights(rngs("light"), lighting),
        camera=_draw_camera(rngs("camera"), plain),
        occluder=occluder,
        plain=plain,
    )
