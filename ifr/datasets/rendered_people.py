"""The people of a rendered set: which shots each has, and their arrays. All of this is hashed."""

from dataclasses import dataclass

import numpy as np

from ifr.common.seeding import stream
from ifr.faces import LIGHT_OCCLUDERS, OCCLUDERS, build_identity, draw_shot, render
from ifr.landmarks import FACE_SIZE

# The 13 shots of one AR session, taken in one go: hair, clothes, glasses and scarf stay the same.
AR_SHOTS: tuple[tuple[str, dict[str, str]], ...] = (
    ("neutral", dict(expression="neutral", lighting="even")),
    ("smile", dict(expression="smile", lighting="even")),
    ("anger", dict(expression="anger", lighting="even")),
    ("scream", dict(expression="scream", lighting="even")),
    ("light left", dict(expression="neutral", lighting="left")),
    ("light right", dict(expression="neutral", lighting="right")),
    ("light both", dict(expression="neutral", lighting="both")),
    *(
        (f"{occluder} {light}", dict(expression="neutral", lighting=light, occluder=occluder))
        for occluder in ("sunglasses", "scarf")
        for light in ("even", "left", "right")
    ),
)

LAMPS = ("left", "right", "both")
TEXT = f"U{max(len(word) for word in [*OCCLUDERS, *(name for name, _ in AR_SHOTS)])}"
# The arrays of a set, with their types; images, parts and occluder_mask are of the 112-pixel frame.
COLUMNS = (
    dict(images="u1", parts="u1", landmarks="f4", visible="?")
    | dict(occluder_mask="u1")  # bits, packed along a row
    | dict(yaw="f4", pitch="f4", roll="f4", sharp="?", occluder=TEXT, condition=TEXT)
    | dict(shot="i8", identity="i8", identity_seed="i8")
)
IMAGE_BYTES = 4 * FACE_SIZE**2 + 4096  # on disk: the picture, its parts, and the rest


@dataclass(frozen=True)
class SetSpec:
    """One set: ``identities`` people from seed ``first`` on, with ``shots`` pictures each."""

    name: str
    first: int
    identities: int
    shots: int
    first_shot: int = 0
    yaw: str = "mixed"
    natural_share: float = 0.0  # of its shots with any occluder
    light_share: float = 0.0  # of its shots with one of ``LIGHT_OCCLUDERS``
    studio_share: float = 0.0  # of its shots under one-sided lamps, as in AR
    ar: bool = False

    def shot_options(self, identity: int, shot: int) -> tuple[str, dict]:
        """Return the condition of a shot in words, and the arguments of ``draw_shot``."""
        if self.ar:
            condition, options = AR_SHOTS[shot]
            return condition, dict(yaw="frontal", sharp=True, session=0) | options
        rng = stream(identity, "natural occlusion", shot)
        occluded, kind = rng.random() < self.natural_share, rng.integers(1, len(OCCLUDERS))
        occluder = OCCLUDERS[kind] if occluded else "none"
        lighter = stream(identity, "light occlusion", shot)
        if lighter.random() < self.light_share:
            occluder = LIGHT_OCCLUDERS[lighter.integers(len(LIGHT_OCCLUDERS))]
        lamps = stream(identity, "studio light", shot)
        studio, lighting = lamps.random() < self.studio_share, LAMPS[lamps.integers(len(LAMPS))]
        lighting = lighting if studio else "natural"
        return self.yaw, dict(yaw=self.yaw, occluder=occluder, lighting=lighting)


def render_identity(spec: SetSpec, index: int) -> dict[str, np.ndarray]:
    """Render every shot of one identity of a set."""
    seed = spec.first + index
    identity, rows = build_identity(seed), []
    for number in range(spec.shots):
        shot = spec.first_shot + number
        condition, options = spec.shot_options(seed, number)
        drawn = draw_shot(seed, shot, **options)
        face, camera = render(identity, drawn), drawn.camera
        mask = np.packbits(face.occluder_mask, axis=1)
        known = dict(condition=condition, shot=shot, identity=index, identity_seed=seed)
        known |= dict(sharp=not (camera.blur or camera.low_size))
        rows.append(vars(face) | known | dict(images=face.image, occluder_mask=mask))
    return {name: np.array([row[name] for row in rows], kind) for name, kind in COLUMNS.items()}
