"""Test one embedding on a prepared data set by the set's own published protocol."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ifr.common.errors import UserError
from ifr.datasets import load_set
from ifr.datasets.check import read
from ifr.datasets.index import ABSENT, DatasetIndex, PairList, TemplateTest, on_rows, prepared_rows
from ifr.datasets.readers.ijb import SPLITS
from ifr.evaluation import ijba_protocol, ijbc_protocol, random_rectangles, set_features
from ifr.evaluation.features import check_features, load_embedding, read_features
from ifr.evaluation.onnx_model import OURS, InputConvention
from ifr.evaluation.protocols.folder import RULE, draw_protocol, level_of
from ifr.evaluation.protocols.ijb import present, template_counts
from ifr.evaluation.protocols.pairs import ar_tests, lfw_protocol
from ifr.evaluation.protocols.report import Report, Test, pair_counts, report_of

# The protocols on templates, with their scores: those of IJB, which mark natural occlusions, are
# the released code's.
TEMPLATES = dict(ijba="directional_min", ijbc="mean_cosine", folder="mean_cosine")
NAMES = ("lfw", "mlfw", "lfw-bin", *TEMPLATES, "ar")


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
    convention: InputConvention = OURS,
    seed: int = 0,
) -> Report:
    """Return mean and deviation of what a protocol measures of an embedding, and what is lost.

    ``path`` is the data set as published, ``prepared`` what ``ifr data prepare`` made of it.
    Occlusion is ``none``, ``synthetic`` (a warped mask on every image) or ``natural`` (the occluded
    subset of IJB-A and IJB-C). Without ``score`` the released code's is taken.
    """
    if name not in NAMES:
        raise UserError(f"no protocol for {name!r}: choose one of {', '.join(NAMES)}")
    if occlusion not in ("none", "synthetic", "natural"):
        raise UserError(f"occlusion must be one of none, synthetic, natural, got {occlusion!r}")
    if name not in TEMPLATES and (occlusion == "natural" or score is not None):
        raise UserError(f"natural occlusion and score are of IJB-A and IJB-C, not of {name}")
    stored, masked = embedding.suffix.lower() == ".npz", occlusion == "synthetic"
    if stored and (masked or mirror or convention != OURS):
        raise UserError(f"{embedding} holds features: masks and input options need a network")
    faces, network = load_set(prepared), None if stored else load_embedding(embedding, convention)
    of_format: dict[str, Any] = dict(
        ijba=dict(missing_flag=missing_flag), folder=dict(level=level_of(faces))
    )
    index = read(name, path, **of_format.get(name, {}))
    if index.protocol is None and name not in ("ar", "folder"):
        raise UserError(f"{path} holds no protocol: ifr data check {name} says what lacks")
    rows = prepared_rows(index, faces)
    if network is None:
        features, there = read_features(embedding, faces)
        rows = np.where(np.append(there, False)[rows], rows, ABSENT)
    how: dict[str, Any] = dict(natural=occlusion == "natural", interpolate=interpolate)
    how["score"] = score or TEMPLATES.get(name)
    tests, more = _tests(name, index, rows, how, seed)
    compared = np.unique(np.concatenate([test.rows for test in tests]))
    if network is not None:
        boxes = random_rectangles(len(faces), seed) if masked else None
        found = set_features(network, faces, rows=compared, rectangles=boxes, mirror=mirror)
        features = np.full((len(faces), found.shape[1]), np.nan, np.float32)
        features[compared] = found
    doubts = check_features(features, faces, compared, embedding)
    if network is not None and network.trained_on == faces.fingerprint:
        doubts.append("the network was trained on these very faces")
    taken = None if network is None else network.convention
    told = "" if taken == convention else ", as its file tells"
    places = dict(path=str(path), faces=str(prepared), embedding=str(embedding))
    about = dict(protocol=name, **places, images_compared=len(compared))
    about |= dict(images_prepared=len(faces), occlusion=occlusion, mirror=mirror, **how, seed=seed)
    about |= dict(input=taken and f"{taken}{told}", convention=taken and asdict(taken))
    return report_of(tests, features, about, [*doubts, *more])


def _tests(
    name: str, index: DatasetIndex, rows: np.ndarray, how: dict[str, Any], seed: int
) -> tuple[list[Test], list[str]]:
    """Return the tests of a data set, and what keeps them from being published ones."""
    if name == "ar":
        return ar_tests(index.faces, rows, seed)
    own = name == "folder"
    drawn: Any = draw_protocol(index.faces, seed=seed) if own else (index.protocol,)
    tests = [_test(on_rows(one, rows), how) for one in drawn]
    return tests, [RULE.format(seed=seed)] if own else []


def _test(protocol: Any, how: dict[str, Any]) -> Test:
    """Return the test of pairs, which takes no options, or of templates."""
    if isinstance(protocol, PairList):
        rows, folds = np.unique(protocol.pairs[protocol.formed]), len(np.unique(protocol.folds))
        if not len(rows):
            raise UserError("none of the pairs has both its images in the prepared set")
        measure = partial(lfw_protocol, pairs=protocol)
        return Test(rows, pair_counts(protocol), measure, "folds", folds)
    tests = (protocol,) if isinstance(protocol, TemplateTest) else protocol
    natural, splits = how["natural"], isinstance(protocol, tuple)
    rows = np.concatenate([present(test, natural=natural).rows for test in tests])
    counts = pd.concat([template_counts(test, natural=natural) for test in tests])
    if splits:
        return Test(rows, counts, partial(ijba_protocol, splits=tests, **how), "splits", SPLITS)
    return Test(rows, counts, partial(ijbc_protocol, test=tests[0], **how), "test", 1)
