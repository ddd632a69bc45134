"""Golden values of what is measured on features and response maps: scores, places, changes."""

import re

import numpy as np
import pandas as pd
import torch
from golden_inputs import Values, digest, faces_of, summary

from ifr.datasets import FaceSet
from ifr.datasets.index import PairList, Templates, TemplateTest
from ifr.evaluation.metrics import equal_error_rate, rank_accuracy, roc, tar_at_far, tars_at_fars
from ifr.evaluation.protocols.ijb import ijba_protocol, ijbc_protocol
from ifr.evaluation.protocols.pairs import ar_protocol, bootstrap_eer, lfw_protocol
from ifr.evaluation.protocols.rendered import (
    bootstrap_templates,
    evaluate_templates,
    template_splits,
)
from ifr.evaluation.resampling import (
    bootstrap_mean,
    fold_interval,
    interval,
    shifted_bootstrap_interval,
)
from ifr.evaluation.templates import pooled_templates, score_pairs
from ifr.interpretation import (
    average_locations,
    bootstrap_peaks,
    changed_share,
    consistency,
    feature_difference,
    gini,
    map_scatter,
    occluder_proximity_correlation,
    part_filters,
    part_retrieval,
    peak_locations,
    peak_share,
    peak_statistics,
    resampled_proximity_correlation,
    spreadness,
)
from ifr.mesh import FaceMesh
from ifr.models.layers import large_magnitude_filter

BOX = (30.0, 55.0, 32.0, 12.0)


def curves() -> Values:
    """Return what is read from curves of random scores with some ties."""
    rng = np.random.default_rng(6)
    same = rng.random(2000) < 0.2
    scores = rng.normal(same * 1.5, 1).round(2)
    weights = rng.integers(0, 4, (5, 2000)).astype(float)
    found: Values = {}
    reached = float(roc(scores, same)[0][40])  # a rate that a threshold meets exactly
    for way in ("none", "nearest", "linear"):
        options = dict(interpolate=way)
        found[f"tar {way} reached"] = tar_at_far(scores, same, reached, **options)
        found[f"tar {way}"] = tar_at_far(scores, same, 0.013, **options)
        found[f"tar {way} weights"] = tar_at_far(
            scores, same, 0.013, weights=weights, **options
        ).tolist()
        found[f"tars {way}"] = tars_at_fars(scores, same, (0.1, 0.01, 0.001), **options).tolist()
    found["eer"] = equal_error_rate(scores, same)
    found["eer weights"] = equal_error_rate(scores, same, weights=weights).tolist()
    for name, weight in (("roc", None), ("roc weights", weights)):
        for part, curve in zip(("far", "tar", "at"), roc(scores, same, weight), strict=True):
            found[f"{name} {part}"] = [len(curve), *summary(curve)]
    similarity, who = rng.normal(size=(50, 20)), rng.integers(0, 22, 50)
    similarity += 2 * (who[:, None] == np.arange(20))
    for k in (1, 5):
        found[f"rank {k}"] = rank_accuracy(similarity, who, np.arange(20), k)
    return found


def random_templates(subjects: np.ndarray, rng: np.random.Generator) -> Templates:
    """Build templates of one to six of a person's ten images, with random media and occlusion."""
    sizes = rng.integers(1, 7, len(subjects))
    total = int(sizes.sum())
    return Templates(
        ids=np.arange(len(subjects)) + 1000,
        subjects=subjects,
        rows=10 * np.repeat(subjects, sizes) + rng.integers(0, 10, total),
        media=rng.integers(0, 3, total),
        starts=np.concatenate([[0], np.cumsum(sizes)]),
        occluded=rng.random(total) < 0.5,
    )


def table_values(table: pd.DataFrame | pd.Series) -> list[float]:
    """Return the numbers of a table or row, less the open-set ones, which came after recording."""
    recorded = [name for name in table.axes[-1] if not re.search("tpir|gallery", str(name))]
    return np.asarray(table[recorded], np.float64).ravel().tolist()


def pair_protocols() -> Values:
    """Return the protocols on pairs of images: LFW and AR."""
    rng = np.random.default_rng(7)
    identity = np.repeat(np.arange(20), 6)
    features = rng.normal(size=(20, 5))[identity] + rng.normal(0, 1, (120, 5))
    rows = rng.integers(0, 120, (300, 2))
    rows[::2, 1] = (rows[::2, 0] // 6) * 6 + rng.integers(0, 6, 150)
    same = identity[rows[:, 0]] == identity[rows[:, 1]]
    pairs = PairList(pairs=rows, same=same, folds=np.repeat(np.arange(10), 30))
    folds = lfw_protocol(features, pairs)
    grid = lfw_protocol(features, pairs, thresholds=1 - np.arange(0, 4, 0.01) / 2)
    found: Values = {"lfw": table_values(folds), "lfw grid": table_values(grid)}
    rates = ar_protocol(features, identity, pairs=200, draws=5, seed=3)
    found["ar"] = [float(rates.mean()), float(rates.std(ddof=1)), *rates.tolist()]
    draws = bootstrap_eer(features, identity, pairs=200, resamples=50, seed=1)
    found["bootstrap eer"], found["interval"] = summary(draws), list(interval(draws))
    values = rng.normal(size=(120, 3))
    values[::7, 1] = np.nan
    found["bootstrap mean"] = summary(bootstrap_mean(values, identity, resamples=50, seed=2))
    found["fold interval"] = list(fold_interval(folds["accuracy_percent"].to_numpy()))
    unit = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    found["score pairs (float32)"] = summary(score_pairs(unit, rows))
    return found


def template_protocols() -> Values:
    """Return the protocols on templates of random features: IJB-A and IJB-C."""
    rng = np.random.default_rng(8)
    features = np.repeat(rng.normal(size=(20, 8)), 10, axis=0) + rng.normal(0, 1.5, (200, 8))
    splits = []
    for number in (1, 2):
        verify, probes = (random_templates(rng.integers(0, 20, n), rng) for n in (30, 60))
        gallery = random_templates(rng.permutation(20)[:12], rng)
        pairs = rng.integers(0, 30, (800, 2))
        same = verify.subjects[pairs[:, 0]] == verify.subjects[pairs[:, 1]]
        splits.append(TemplateTest(verify, pairs, same, ((probes, gallery),), number))
    found: Values = {}
    for natural in (False, True):
        for score in ("media", "mean_cosine", "directional_min"):
            options = dict(natural=natural, score=score)
            table = ijba_protocol(features, splits, **options)
            found[f"ijba {score} natural {natural}"] = table_values(table)
    verify, probes = (random_templates(rng.integers(0, 20, 80), rng) for _ in range(2))
    pairs = np.array([(a, b) for a in range(80) for b in range(a)], np.int32)
    same = verify.subjects[pairs[:, 0]] == verify.subjects[pairs[:, 1]]
    galleries = tuple(random_templates(np.arange(10) + k, rng) for k in (0, 8))
    searches = tuple((probes, gallery) for gallery in galleries)
    protocol = TemplateTest(verify, pairs, same, searches)
    for natural in (False, True):
        for score in ("media", "mean_cosine"):
            row = ijbc_protocol(features, protocol, natural=natural, score=score)
            found[f"ijbc {score} natural {natural}"] = table_values(row)
    for score in ("media", "mean_cosine"):
        found[f"pooled {score}"] = summary(pooled_templates(features, verify, score=score))
    return found


def procedural_protocol() -> Values:
    """Return the template protocol of procedural sets on random features."""
    rng = np.random.default_rng(9)
    identity = np.repeat(np.arange(12), 14)
    worn = np.where(rng.random(168) < 0.4, "scarf", "none")
    empty = np.zeros((168, 1, 1, 3), np.uint8)
    splits = template_splits(FaceSet("golden", empty, identity, None, {"occluder": worn}), seed=4)
    searches = [split.searches[0] for split in splits]
    flat = [
        array
        for probes, gallery in searches
        for array in (gallery.rows, probes.rows, probes.subjects, gallery.subjects)
    ]
    found: Values = {"templates": digest(np.concatenate(flat).astype(np.int64))}
    pairs = [s.pairs - [0, len(probes)] for s, (probes, _) in zip(splits, searches, strict=True)]
    found["pairs"] = digest(np.concatenate(pairs).astype(np.int64))
    worn = [probes.occluded[probes.starts[:-1]] for probes, _ in searches]
    found["occluded"] = digest(np.concatenate(worn))
    features = rng.normal(size=(12, 8))[identity] + rng.normal(0, 1.2, (168, 8))
    for natural in (False, True):
        for score in ("mean_cosine", "directional_min"):
            options = dict(natural=natural, score=score)
            table = evaluate_templates(features, splits, **options)
            found[f"figures {score} natural {natural}"] = summary(table)
        draws = bootstrap_templates(features, splits, natural=natural, resamples=30, seed=5)
        found[f"bootstrap natural {natural}"] = summary(draws)
    return found


def interpretation() -> Values:
    """Return where the filters of random response maps look."""
    rng, mesh = np.random.default_rng(10), FaceMesh.frontal(96)
    raw = torch.from_numpy(rng.normal(size=(24, 16, 12, 12)).astype(np.float32))
    response = large_magnitude_filter(raw, 0.9).numpy()
    faces, identity = faces_of("classroom", "templates")[:24], np.repeat(np.arange(6), 4)
    found: Values = {}
    for place in ("centre", "corner"):
        peaks = peak_locations(response, faces.landmarks - 8, mesh, place=place)
        found[f"peaks {place}"] = summary(peaks.places)
    peaks = peak_locations(response, faces.landmarks - 8, mesh)
    found["peak weights"] = summary(peaks.weights)
    places, weights = peaks.of("positive")
    for spread in ("deviation", "distance"):
        mean, scatter = average_locations(places, weights, scatter=spread)
        found[f"average {spread}"] = [*summary(mean), *summary(scatter), spreadness(mean)]
        for name, value in peak_statistics(peaks, scatter=spread).items():
            found[f"statistics {spread} {name.replace('scatter', 'spread')}"] = summary(value)
    for name, value in bootstrap_peaks(peaks, identity, resamples=40, seed=6).items():
        found[f"bootstrap {name.replace('scatter', 'spread')}"] = summary(value)
    # Average locations of random maps crowd in the middle: these are spread over the face.
    wide = rng.uniform(10, 90, (40, 2))
    for part, filters in part_filters(wide, mesh).items():
        found[f"filters {part}"] = filters.tolist()
    found["consistency"] = list(consistency(places, weights, identity))
    found["peak share (float32)"] = summary(peak_share(raw.numpy(), 12))
    found["scatter of maps (float32)"] = summary(map_scatter(raw.numpy()))
    return found


def differences() -> Values:
    """Return what an occlusion changes in random features, and what parts of them retrieve."""
    rng = np.random.default_rng(11)
    identity = np.repeat(np.arange(15), 2)
    clean = rng.normal(size=(15, 24))[identity] + rng.normal(0, 0.7, (30, 24))
    hidden, places = clean + rng.normal(0, 0.3, (30, 24)), rng.uniform(5, 91, (24, 2))
    places[3] = np.nan
    change = feature_difference(clean, hidden)
    found: Values = {"change": summary(change)}
    found["change as it is"] = summary(feature_difference(clean, hidden, normalise=False))
    mean = change.mean(axis=0)
    found["gini"], found["changed share"] = gini(mean), changed_share(mean, 0.8)
    found["follows"] = list(
        occluder_proximity_correlation(mean, places, BOX, permutations=100, seed=7)
    )
    found["nearness"] = summary(resampled_proximity_correlation(change, places, BOX))
    hits, order = part_retrieval(clean, identity, np.arange(0, 24, 3))
    found["retrieval hits"], found["retrieval order"] = summary(hits), digest(order)
    found["centred interval"] = list(shifted_bootstrap_interval(mean, 0.05))
    return found
