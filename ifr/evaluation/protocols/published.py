"""Test one embedding on a prepared data set by the set's own published protocol."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ifr.common.errors import UserError
from ifr.datasets import FaceSet, load_set
from ifr.datasets.check import read
from ifr.datasets.readers.ar import paper_subset
from ifr.datasets.readers.ijba import read_ijba
from ifr.datasets.remap import on_prepared
from ifr.evaluation.features import load_embedding, random_rectangles, read_features, set_features
from ifr.evaluation.protocols.ar import ar_protocol
from ifr.evaluation.protocols.ijba import ijba_protocol
from ifr.evaluation.protocols.ijbc import ijbc_protocol
from ifr.evaluation.protocols.lfw import lfw_protocol

# The protocols on templates, which mark natural occlusions, with the released code's scores.
TEMPLATES = dict(ijba="directional_min", ijbc="mean_cosine")
NAMES = ("lfw", "lfw-bin", *TEMPLATES, "ar")
OCCLUSIONS = ("none", "synthetic", "natural")


def run_protocol(
    name: str,
    path: Path,
    prepared: Path,
    embedding: Path,
    *,
    occlusion: str = "none",
    mirror: bool = False,
    score: str | None = None,
    interpolate: str = "none",
    missing_flag: str = "visible",
    seed: int = 0,
) -> pd.DataFrame:
    """Return mean and deviation of what a protocol measures of an embedding, over its tests.

    ``path`` is the data set as published, ``prepared`` what ``ifr data prepare`` made of it;
    ``embedding`` a network, see ``load_embedding``, or features, see ``read_features``. Occlusion
    is ``none``, ``synthetic`` (a warped mask on every image, as in training) or ``natural`` (the
    occluded subset of IJB-A and IJB-C). Without ``score`` the released code's is taken.
    """
    if name not in NAMES:
        raise UserError(f"no protocol for {name!r}: choose one of {', '.join(NAMES)}")
    if occlusion not in OCCLUSIONS:
        raise UserError(f"occlusion must be one of {', '.join(OCCLUSIONS)}, got {occlusion!r}")
    natural = occlusion == "natural"
    if name not in TEMPLATES and (natural or score is not None):
        raise UserError(f"natural occlusion and score are of IJB-A and IJB-C, not of {name}")
    faces = load_set(prepared)
    features = _features(faces, Path(embedding), occlusion == "synthetic", mirror, seed)
    if name == "ar":
        rows = paper_subset(faces)
        rates = ar_protocol(features[rows], faces.identity[rows], seed=seed)
        return _summary(pd.DataFrame(dict(eer_percent=rates)), "draws of pairs")
    index = read_ijba(path, missing_flag=missing_flag) if name == "ijba" else read(name, path)
    if index.protocol is None:
        raise UserError(f"{path} holds no protocol: ifr data check {name} says what lacks")
    protocol = on_prepared(index.protocol, faces)
    if name not in TEMPLATES:
        return _summary(lfw_protocol(features, protocol), "folds")
    how: dict[str, Any] = dict(score=score or TEMPLATES[name], interpolate=interpolate)
    if name == "ijba":
        return _summary(ijba_protocol(features, protocol, natural=natural, **how), "splits")
    test = ijbc_protocol(features, protocol, natural=natural, **how)
    return _summary(test.to_frame().T, "test")


def _features(faces: FaceSet, path: Path, synthetic: bool, mirror: bool, seed: int) -> np.ndarray:
    if path.suffix == ".npz":
        if synthetic or mirror:
            raise UserError(f"{path} holds features: masks and mirrored faces need a network")
        return read_features(path, faces)
    rectangles = random_rectangles(len(faces), seed) if synthetic else None
    return set_features(load_embedding(path), faces, rectangles=rectangles, mirror=mirror)


def _summary(tests: pd.DataFrame, over: str) -> pd.DataFrame:
    """Return mean and standard deviation of each measure over tests, one a row."""
    table = tests.filter(regex="_percent$").agg(["mean", "std"]).T
    table = table.set_axis(["value", "std"], axis=1).rename_axis("measure").reset_index()
    return table.assign(over=f"{len(tests)} {over}")
