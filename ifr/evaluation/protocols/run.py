"""Test one embedding on a prepared data set by the set's own protocol."""

from pathlib import Path

import numpy as np
import pandas as pd

from ifr.datasets import FaceSet, load_set
from ifr.datasets.check import read
from ifr.datasets.readers.ar import paper_subset
from ifr.datasets.readers.ijba import read_ijba
from ifr.datasets.remap import on_prepared
from ifr.evaluation import ar_protocol, ijba_protocol, ijbc_protocol, lfw_protocol
from ifr.evaluation.embeddings import embed, load_embedding, read_features

OCCLUSIONS = ("none", "synthetic", "natural")
COLUMNS = ("measure", "value", "std", "over")


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
    """Return what a protocol measures of an embedding.

    Args:
        name: ``lfw``, ``lfw-bin``, ``ijba``, ``ijbc`` or ``ar``.
        path: the data set as published: its pairs, templates or file names.
        prepared: the folder that ``ifr data prepare`` made of it.
        embedding: a network for :func:`ifr.evaluation.embeddings.load_embedding`, or features in ``.npz``.
        occlusion: ``none``; ``synthetic``, a warped mask on every image as in training; or
            ``natural``, the naturally occluded subset (IJB-A and IJB-C).
        mirror: add the feature of the mirrored face.
        score: of two templates; None for what the released code takes, ``directional_min`` on
            IJB-A and ``mean_cosine`` on IJB-C.
        interpolate: how TAR at FAR is read from the curve.
        missing_flag: how IJB-A's missing visibility flags count, see ``read_ijba``.
        seed: of the masks and of AR's random pairs.

    Returns:
        Columns measure, value, std, over: mean and standard deviation (ddof 1) over folds, splits
        or draws; std is NaN where there is one test.

    Raises:
        ValueError: for an unknown name or occlusion, one the set does not have, or masks on
            features that are computed already.
    """
    tests = {"lfw": _pairs, "lfw-bin": _pairs, "ijba": _ijba, "ijbc": _ijbc}
    if name not in tests and name != "ar":
        raise ValueError(f"no protocol for {name!r}: choose one of {', '.join(tests)} or ar")
    if occlusion not in OCCLUSIONS:
        raise ValueError(f"occlusion must be one of {', '.join(OCCLUSIONS)}, got {occlusion!r}")
    natural = occlusion == "natural"
    if natural and name not in ("ijba", "ijbc"):
        raise ValueError(f"{name} marks no naturally occluded images; IJB-A and IJB-C do")
    if score is not None and name not in ("ijba", "ijbc"):
        raise ValueError(f"{name} compares images, not templates: leave score out")
    faces = load_set(prepared)
    features = _features(faces, Path(embedding), occlusion == "synthetic", mirror, seed)
    if name == "ar":
        return _ar(features, faces, seed)
    ijba = name == "ijba"
    reading = read_ijba(path, missing_flag=missing_flag) if ijba else read(name, path)
    if reading.protocol is None:
        raise FileNotFoundError(f"{path} holds no protocol: ifr data check {name} says what lacks")
    options = dict(natural=natural, interpolate=interpolate) | ({"score": score} if score else {})
    left = on_prepared(reading.protocol, faces)
    return tests[name](features, left, options)


def _features(faces: FaceSet, path: Path, synthetic: bool, mirror: bool, seed: int) -> np.ndarray:
    if path.suffix == ".npz":
        if synthetic or mirror:
            raise ValueError(f"{path} holds features: masks and mirrored faces need a network")
        return read_features(path, faces)
    occlusion = "synthetic" if synthetic else None
    return embed(load_embedding(path), faces, mirror=mirror, occlusion=occlusion, seed=seed)


def _summary(values: dict[str, np.ndarray], over: str) -> pd.DataFrame:
    rows = [
        (name, np.mean(v), np.std(v, ddof=1) if len(v) > 1 else np.nan, f"{len(v)} {over}")
        for name, v in values.items()
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _pairs(features: np.ndarray, pairs, options: dict) -> pd.DataFrame:
    folds = lfw_protocol(features, pairs)
    return _summary({"accuracy_percent": folds["accuracy_percent"].to_numpy()}, "folds")


def _ijba(features: np.ndarray, protocol, options: dict) -> pd.DataFrame:
    splits = ijba_protocol(features, protocol, **options)
    measures = [column for column in splits if column.endswith("_percent")]
    return _summary({name: splits[name].to_numpy() for name in measures}, "splits")


def _ijbc(features: np.ndarray, protocol, options: dict) -> pd.DataFrame:
    found = dict(ijbc_protocol(features, protocol, **options))
    measures = [name for name in found if name.endswith("_percent")]
    return _summary({name: np.array([found[name]]) for name in measures}, "test")


def _ar(features: np.ndarray, faces: FaceSet, seed: int) -> pd.DataFrame:
    worn = paper_subset(faces)
    rates = ar_protocol(features[worn], faces.identity[worn], seed=seed)[2]
    return _summary({"eer_percent": np.asarray(rates)}, "draws of pairs")
