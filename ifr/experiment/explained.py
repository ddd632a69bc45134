"""One pair explained for a reader: picture, page, numbers and a sentence."""

import base64
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ifr import figures, interpretation
from ifr.common import paths
from ifr.common.errors import UserError
from ifr.common.files import write_text
from ifr.common.seeding import stream
from ifr.datasets import FaceSet, load_set
from ifr.datasets.align import METHODS, Detector, Unusable, align_one
from ifr.datasets.readers.images import Files, photograph_set
from ifr.datasets.readers.landmark_files import read_landmarks
from ifr.evaluation import bootstrap_mean, normalised, set_features, shifted_bootstrap_interval
from ifr.evaluation.features import NetworkEmbedding, load_embedding
from ifr.experiment.page import TEMPLATES
from ifr.experiment.run import Run, clean_faces
from ifr.interpretation import PairExplanation, Threshold
from ifr.interpretation.explain import require_explainable
from ifr.interpretation.face_parts import REGIONS
from ifr.landmarks import FACE_SIZE, similarity
from ifr.profiles import get_profile
from ifr.training import load_half

NAME = "explanation"
IMPOSTORS = 400  # faces at most whose pairs give the threshold
SHOWN = 300  # pixels of the longer side of a picture, at most
TURNED = 40  # degrees: the farthest that a face of a pair is turned
AROUND = 0.25  # of the aligned frame, shown of a photograph beyond it
FILLED = dict(skin="the mean colour of cheeks, forehead and chin", grey="grey", black="black")
FILLED["blurred"] = "the picture itself, blurred"


@dataclass(frozen=True, eq=False)
class Shown:
    """A face as the network meets it, and the picture it is from."""

    name: str
    face: FaceSet
    picture: np.ndarray  # (H, W, 3) uint8
    matrix: np.ndarray  # (2, 3) from the picture to the 112 frame
    folder: Path | None  # of the set that it is a row of


def open_network(name: str) -> NetworkEmbedding:
    """Open a folder of ``models/`` or PROFILE:VARIANT of the reference, if it can be explained."""
    profile, colon, variant = name.partition(":")
    if colon and not Path(name).exists():
        size = get_profile(profile).network.input_size
        embedding: Any = NetworkEmbedding(name, size, load_half(variant, profile).model)
    else:
        embedding = load_embedding(Path(name))
    require_explainable(getattr(embedding, "network", embedding), name)
    return embedding


def find_face(name: str, landmarks: Path | None = None, method: str = "five") -> Shown:
    """Return the face of a photograph, or of SET:INDEX."""
    folder, colon, row = name.rpartition(":")
    if colon and not Path(name).exists() and Path(folder).is_dir():
        faces = load_set(Path(folder))
        if not row.isdecimal() or int(row) >= len(faces):
            raise UserError(f"{name}: {folder} has faces 0 to {len(faces) - 1}, got {row!r}")
        face = faces[[int(row)]]
        title = f"{faces.name}:{row}"
        return Shown(title, face, np.asarray(face.images[0]), np.eye(2, 3), Path(folder))
    if method not in METHODS:
        raise UserError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    path = Path(name)
    photograph = photograph_set(path.name, Files(path.parent, [path.name]), ["?"])
    image = photograph.images[0]
    points = Detector().find(image) if landmarks is None else _given(path, landmarks)
    try:
        if points is None:
            raise Unusable("no face found")
        aligned, placed = align_one(replace(photograph, landmarks=points[None]), 0, False, method)
    except Unusable as reason:
        raise UserError(f"{path}: {reason}; give another photograph, or --landmarks") from None
    assert placed is not None
    face = FaceSet(path.name, aligned[None], photograph.identity, placed[None])
    return Shown(path.name, face, *_around(image, similarity(points, placed)), None)


def _given(path: Path, landmarks: Path) -> np.ndarray:
    """Return landmarks of a photograph, whose name in their file may have folders before it."""
    names = ["/".join(path.resolve().parts[-depth:]) for depth in (1, 2, 3)]
    faces = photograph_set(path.name, Files(path.parent, names), names)
    points = read_landmarks(landmarks, faces).points
    return points[np.isfinite(points).all(axis=(1, 2))][0]


def _around(image: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what of an image lies around its face, and the matrix that aligns it."""
    frame = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * (1 + 2 * AROUND) - AROUND
    corners = (frame * FACE_SIZE - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    low = np.floor(corners.min(axis=0)).astype(int).clip(0)
    high = np.ceil(corners.max(axis=0)).astype(int).clip(low + 1)
    cut = image[low[1] : high[1], low[0] : high[0]]
    shift = matrix[:, 2] + matrix[:, :2] @ low
    factor = max(1.0, max(cut.shape[:2]) / SHOWN)
    size = tuple(max(1, round(side / factor)) for side in cut.shape[1::-1])
    shrink = np.array(cut.shape[1::-1]) / size
    small = cv2.resize(cut, size, interpolation=cv2.INTER_AREA)
    return small, np.column_stack([matrix[:, :2] * shrink, shift])


def threshold_of(embedding: NetworkEmbedding, faces: FaceSet, far: float) -> Threshold:
    """Return the threshold at a false accept rate, by pairs of two people of a set."""
    rows = stream(0, "explain/impostors").permutation(len(faces))[:IMPOSTORS]
    chosen = faces[np.sort(rows)]
    unit = normalised(set_features(embedding, chosen).astype(np.float64))
    first, second = np.triu_indices(len(chosen), k=1)
    apart = chosen.identity[first] != chosen.identity[second]
    return Threshold.of((unit @ unit.T)[first, second][apart], far, faces.name)


def held_out_pairs(run: Run, people: int) -> tuple[FaceSet, FaceSet]:
    """Return two pictures of each of some held-out people, bare and turned by less than 40°."""
    faces = clean_faces(run, len(run.data("templates")))
    faces = faces[np.abs(faces.attributes["yaw"]) < TURNED]
    rng = stream(run.protocol_seed, "explained/pairs")
    rows = interpretation.retrieval_pairs(faces.identity, people, rng)
    return faces[rows[::2]], faces[rows[1::2]]


def samples(run: Run, values: np.ndarray, identity: np.ndarray) -> np.ndarray:
    """Return the mean of values (N, ...), then those of people drawn anew, (1 + B, ...)."""
    people = np.unique(identity, return_inverse=True)[1]
    how: Any = dict(resamples=run.profile.bootstrap, seed=run.protocol_seed)
    draws = bootstrap_mean(np.asarray(values, np.float64), people, **how)
    known = np.isfinite(draws).any(axis=0)  # without, the mean is NaN as well
    mean = np.nanmean(np.where(known, values, 0), axis=0)
    return np.concatenate([np.where(known, mean, np.nan)[None], draws])


def with_interval(
    found: np.ndarray, *, bounds: tuple[float, float] | None = None
) -> dict[str, float]:
    """Return the first of samples (1 + B,) as the value, and the 95 % interval of the rest.

    The ends lie within the ``bounds`` of what is measured.
    """
    if not np.isfinite(found[0]):
        return dict(value=np.nan, low=np.nan, high=np.nan)
    low, high = shifted_bootstrap_interval(found[1:], found[0], bounds=bounds)
    return dict(value=float(found[0]), low=low, high=high)


def explain_faces(
    embedding: NetworkEmbedding, faces: Sequence[Shown], to: Path, *, fill: str = "skin",
    threshold: Threshold | None = None,
) -> str:  # fmt: skip
    """Explain two faces, write ``explanation.*`` into a folder, and return the sentence."""
    network: Any = embedding.network
    pair, names = [one.face for one in faces], [one.name for one in faces]
    explained = interpretation.explain_pair(network, *pair, size=embedding.size, fill=fill)
    sentence = interpretation.in_words(explained, threshold)
    facts: dict[str, Any] = dict(faces=names, network=embedding.name, sentence=sentence)
    facts |= dict(score=explained.score, fill=fill, fill_in_words=FILLED[fill])
    facts |= dict(threshold=threshold and asdict(threshold))
    facts["same_person"] = threshold and explained.score >= threshold.value
    shares = [*explained.by_part.T.tolist(), explained.remainder.tolist()]
    without: Any = explained.without
    rows = zip(REGIONS, shares, [*without.T.tolist(), []], strict=True)
    facts["parts"] = [dict(name=part, shares=own, without=gone) for part, own, gone in rows]
    facts |= dict(by_filter=explained.by_filter.tolist(), maps=explained.maps.tolist())
    folder = paths.require_writable(to.resolve())
    png, _ = figures.save_figure(draw(explained, faces, sentence), folder, NAME, alt=sentence)
    write_text(folder / f"{NAME}.json", json.dumps(facts, indent=1) + "\n")
    picture = base64.b64encode(png.read_bytes()).decode()
    page = TEMPLATES.get_template("explanation.html.j2").render(facts=facts, png=picture)
    write_text(folder / f"{NAME}.html", page + "\n")
    return sentence


def draw(explained: PairExplanation, shown: Sequence[Shown], sentence: str) -> Figure:
    """Draw an explained pair: both pictures, their maps, and both faces from the front."""
    percent, maps = explained.frame**2 / 100, []  # pixels of the crop
    for k, one in enumerate(shown):
        area = abs(np.linalg.det(one.matrix[:, :2]))
        maps.append(explained.photograph(k, one.matrix, one.picture.shape) * percent / area)
    pairs = zip(shown, explained.landmarks, strict=True)
    fronts = [interpretation.frontal_face(one.face.images[0], points) for one, points in pairs]
    shares = np.column_stack([explained.by_part, explained.remainder]).T
    parts = pd.DataFrame(shares, list(REGIONS), [one.name for one in shown])
    both = [one.picture for one in shown], maps, np.stack(fronts), explained.frontal() * percent
    return figures.figure_explanation(*both, parts, sentence=sentence)
