"""How a face is photographed: pose, expression, light and camera of one shot."""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ifr.common.errors import UserError
from ifr.common.seeding import stream
from ifr.faces.appearance import TABLES
from ifr.faces.head_model import load_head
from ifr.faces.identity import check_seed
from ifr.faces.shading_data import Lights

# These leave most of the face to be seen.
LIGHT_OCCLUDERS: tuple[str, ...] = ("eyeglasses", "forehead hair", "cup", "microphone")
LIGHT_OCCLUDERS += ("resting hand", "low scarf", "clear glasses", "reflecting glasses")
OCCLUDERS = ("none", "sunglasses", "eyeglasses", "scarf", "mask", "hand", *LIGHT_OCCLUDERS[1:])
YAWS = ("mixed", "frontal", "wide")
LIGHTINGS = ("natural", "even", "left", "right", "both")

EXPRESSIONS: dict[str, dict[str, float]] = TABLES["expressions"]
# Lips part in an expression that parts them, and in no other.
PARTING = ("jawOpen", "mouthFunnel", "mouthLowerDown", "mouthUpperUp", "mouthClose", "mouthShrug")
Units = tuple[tuple[str, float], ...]  # of expression, and their strength


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
    """One photograph of one identity; every attribute comes from a random stream of its own."""

    identity_seed: int
    index: int
    yaw: float  # degrees, > 0 turns the face to the right of the picture
    pitch: float  # degrees, > 0 up
    roll: float  # degrees, > 0 anticlockwise; alignment takes most of it out again
    distance: float  # of the camera, decimetres
    jitter: np.ndarray  # (11,) x, y offsets of the five aligned points in pixels of 112; then scale
    expression: str
    units: Units
    gaze: tuple[np.float32, np.float32]
    lights: Lights
    camera: Camera
    occluder: str
    plain: bool  # before a grey wall, without a hat
    session: int  # shots of one session share hair, clothes, camera and what is worn

    def stream(self, name: str) -> np.random.Generator:
        """Return the random stream of one attribute."""
        number = self.index if name == "noise" else self.session
        return _stream(self.identity_seed, number, name)


def _stream(seed: int, index: int, name: str) -> np.random.Generator:
    """Return the random stream of one attribute of a shot."""
    return stream(seed, f"faces/shot/{name}", index)


def _draw_pose(rng: np.random.Generator, yaw: str | float) -> tuple[float, float, float]:
    """Draw yaw, pitch and roll in degrees."""
    near, far, mixed = rng.normal(0, 12), rng.uniform(-60, 60), rng.random()
    pitch, roll = (rng.normal(0, 8, 2) / (3 if yaw == "frontal" else 1)).tolist()
    drawn = {"mixed": near if mixed < 0.45 else far, "frontal": near / 3, "wide": far}
    angle = drawn[yaw] if isinstance(yaw, str) else yaw
    return float(np.clip(angle, -60, 60)), float(np.clip(pitch, -25, 25)), roll


def _draw_units(rng: np.random.Generator, expression: str | None) -> tuple[str, Units]:
    """Draw an expression and small involuntary movements beside it."""
    odds = np.array([TABLES["expression odds"][name] for name in EXPRESSIONS])
    drawn = list(EXPRESSIONS)[rng.choice(len(odds), p=odds / odds.sum())]
    strength = rng.uniform(0.5, 1.1)
    moved = rng.choice(list(load_head().units), 4, replace=False)
    small = np.abs(rng.normal(0, 0.2, 4))
    if expression is not None:
        # A chosen expression is shown plainly and nothing but it.
        drawn, strength, small = expression, 0.85 + 0.3 * (strength - 0.5), small * 0.3
    units = {unit: strength * value for unit, value in EXPRESSIONS[drawn].items()}
    for unit, value in zip(moved.tolist(), small.tolist(), strict=True):
        if not unit.startswith(PARTING):
            units[unit] = units.get(unit, 0.0) + value
    return drawn, tuple(units.items())


def _warmth(rng: np.random.Generator, spread: float) -> np.ndarray:
    """Return the colour of a light near the black-body line: warm to cool, hardly pink or green."""
    return np.exp(rng.normal(0, spread) * np.array([1, 0.05, -1]) + rng.normal(0, 0.008, 3))


def _draw_lights(rng: np.random.Generator, studio: np.random.Generator, lighting: str) -> Lights:
    """Draw the lights of a kind of lighting; azimuths > 0 are right of the picture."""
    ambient = rng.uniform(0.3, 0.75)
    sky = ambient * _warmth(rng, 0.05) * rng.uniform(1, 1.4)
    ground = ambient * _warmth(rng, 0.05) * rng.uniform(0.4, 0.9)
    count = int(rng.integers(1, 4))
    azimuth, elevation = rng.normal(0, 0.75), np.clip(rng.normal(0.55, 0.35), -0.2, 1.2)
    power = [rng.uniform(*span) for span in ((0.6, 1.4), (0.1, 0.6), (0.1, 0.4))]
    colours = [_warmth(rng, spread) for spread in (0.07, 0.10, 0.10)]
    fill = [(rng.uniform(-1.9, 1.9), rng.uniform(-0.3, 1.1)) for _ in range(2)]
    towards = [(azimuth, elevation), *fill]
    shadows = bool(rng.random() < 0.7)
    if lighting != "natural":
        # The draws above are made all the same.
        towards, power, ambient = TABLES["lights"][lighting]
        colours, shadows, count = [np.ones(3)] * 2, lighting != "even", len(towards)
        if shadows:  # lamps never stand twice in the very same place
            moved = np.array(towards) + studio.normal(0, 0.08, (2, 2))[:count]
            towards, ambient = moved.tolist(), ambient * np.exp(studio.normal(0, 0.2))
        sky, ground = ambient * np.full(3, 1.1), ambient * np.full(3, 0.8)
    aside, up = np.array(towards[:count]).T
    directions = np.stack([np.sin(aside) * np.cos(up), np.sin(up), np.cos(aside) * np.cos(up)], 1)
    powers = np.array(power[:count])[:, None] * np.array(colours[:count])
    around = np.array([sky, ground], np.float32)
    return Lights(directions.astype(np.float32), powers.astype(np.float32), around, shadows)


def _draw_camera(rng: np.random.Generator, plain: bool) -> Camera:
    """Draw exposure, colour, blur, resampling, noise and compression."""
    if plain:
        return Camera()
    exposure, gamma = rng.normal(0, 0.16), rng.uniform(2.0, 2.4)
    red, green, blue = _warmth(rng, 0.035).tolist()
    blur = rng.uniform(0.3, 1.0) if rng.random() < 0.08 else 0.0
    low_size = int(rng.choice([48, 64, 80])) if rng.random() < 0.03 else 0
    noise = rng.uniform(0.003, 0.022)
    jpeg = int(rng.integers(45, 96)) if rng.random() < 0.6 else 0
    return Camera(exposure, (red, green, blue), gamma, blur, low_size, noise, jpeg)


def draw_shot(
    identity_seed: int,
    shot: int,
    *,
    yaw: str | float = "mixed",
    expression: str | None = None,
    lighting: str | None = None,
    occluder: str | None = None,
    sharp: bool = False,
    plain: bool = False,
    session: int | None = None,
) -> Shot:
    """Draw shot number ``shot`` of the identity built from a seed, to ``render``.

    Every attribute has its own random stream: with and without an occluder the shot is otherwise
    the same. ``yaw`` is "mixed" (half near frontal, half anywhere to 60 degrees), "frontal",
    "wide" (anywhere to 60 degrees), or degrees. ``expression``, ``lighting`` (left and right of
    the picture) and ``occluder`` are names in ``EXPRESSIONS``, ``LIGHTINGS`` and ``OCCLUDERS``;
    None draws the first two freely and means no occluder. ``sharp``: neither blurred nor
    resampled. ``plain``: a grey background, no hat, an exact alignment and a perfect camera.
    ``session``: shots of one number share hair, clothes, camera and what is worn, before grey.
    """
    seed, index = check_seed(identity_seed, "identity_seed"), check_seed(shot, "shot")
    occluder, lighting = occluder or "none", lighting or "natural"
    choices = {"occluder": (occluder, OCCLUDERS), "lighting": (lighting, LIGHTINGS)}
    if expression is not None:
        choices["expression"] = expression, tuple(EXPRESSIONS)
    if isinstance(yaw, str):
        choices["yaw"] = yaw, YAWS
    elif not -60 <= yaw <= 60:
        raise UserError(f"yaw must lie in -60..60 degrees, got {yaw}")
    for name, (value, known) in choices.items():
        if value not in known:
            raise UserError(f"{name} must be one of {', '.join(known)}, got {value!r}")
    rngs = partial(_stream, seed, index)
    kept = rngs if session is None else partial(_stream, seed, check_seed(session, "session"))
    degrees = _draw_pose(rngs("pose"), yaw)
    alignment, eyes = rngs("alignment"), rngs("gaze")
    jitter = np.concatenate([alignment.normal(0, 0.9, 10), alignment.normal(0, 0.02, 1)])
    # Eyes keep to the camera as far as they turn; now and then they look past it.
    aside = -np.sin(np.radians(degrees[0])) * (0.5 + eyes.uniform(0, 0.5)) + eyes.normal(0, 0.05)
    down = -0.6 * np.sin(np.radians(degrees[1])) + eyes.normal(0, 0.04)
    gaze = np.float32(np.clip(aside, -0.4, 0.4)), np.float32(np.clip(down, -0.2, 0.15))
    distance, moved = (kept("distance").uniform(7, 18), _draw_units(rngs("expression"), expression))
    lights = _draw_lights(rngs("light"), rngs("studio"), lighting)
    camera = _draw_camera(kept("camera"), plain)
    camera = replace(camera, blur=0.0, low_size=0) if sharp else camera
    place = (seed, index, *degrees, distance, jitter * (not plain))
    setting = (plain, index) if session is None else (True, session)
    return Shot(*place, *moved, gaze, lights, camera, occluder, *setting)
