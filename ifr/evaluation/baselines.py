"""Can identity be read off a shortcut? Simple classifiers on what should not give it away."""

import cv2
import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import make_pipeline

from ifr.datasets import FaceSet
from ifr.evaluation.resampling import bootstrap_mean, interval
from ifr.landmarks import ARCFACE_TEMPLATE, five_points

HAIR_ROWS = 24  # above the brows of every aligned face
BORDER = 8  # pixels at each side
COMPONENTS = 100  # principal components of the images before the discriminant
PARTIAL = ("mean colour", "colour histogram", "hair only (top strip)", "border only")
BASELINES = (*PARTIAL, "all pixels, linear")


def _small(images: np.ndarray, size: tuple[int, int] = (28, 28)) -> np.ndarray:
    """Shrink images by area averaging to (width, height) and flatten them to shares of 1."""
    pieces = map(np.ascontiguousarray, images)
    shrunk = [cv2.resize(piece, size, interpolation=cv2.INTER_AREA) for piece in pieces]
    return np.array(shrunk, np.float32).reshape(len(images), -1) / 255


def shortcut(name: str, images: np.ndarray) -> np.ndarray:
    """Return what one of ``BASELINES`` sees of images (N, H, W, 3), (N, D)."""
    if name == "mean colour":
        return images.reshape(len(images), -1, 3).mean(axis=1)
    if name == "colour histogram":  # roots of the shares of pixels in each of 4³ colours
        cell = (images // 64).astype(np.int64) @ np.array([16, 4, 1])
        counts = [np.bincount(one.ravel(), minlength=64) for one in cell]
        return np.sqrt(np.array(counts) / cell[0].size)
    if name == "hair only (top strip)":  # and hats, at a quarter of the size
        return _small(images[:, :HAIR_ROWS], (28, HAIR_ROWS // 4))
    if name == "border only":  # mostly background and clothing
        sides = np.concatenate([images[:, :, :BORDER], images[:, :, -BORDER:]], axis=2)
        ends = np.concatenate([images[:, :BORDER], images[:, -BORDER:]], axis=1)
        return np.concatenate([_small(sides, (4, 28)), _small(ends, (28, 4))], axis=1)
    return _small(images)  # all of it


def shortcut_baselines(
    train: FaceSet, test: FaceSet, *, resamples: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Return closed-set top-1 of a linear discriminant on each shortcut, and its 95 % interval."""
    rows, chance = [], 100 / len(np.unique(train.identity))
    for name in BASELINES:
        known, probes = (shortcut(name, np.asarray(faces.images)) for faces in (train, test))
        pca = PCA(min(COMPONENTS, known.shape[1], len(known) - 1), svd_solver="full")
        model = make_pipeline(pca, LinearDiscriminantAnalysis()).fit(known, train.identity)
        hits = 100.0 * (model.predict(probes) == test.identity)
        draws = bootstrap_mean(hits, test.identity, resamples=resamples, seed=seed)
        rows.append((name, hits.mean(), *interval(draws), chance))
    columns = ["baseline", "accuracy_percent", "low", "high", "chance_percent"]
    return pd.DataFrame(rows, columns=columns)


def alignment_error(faces: FaceSet) -> np.ndarray:
    """Return how far each face's five points lie from the ArcFace template on average, pixels."""
    off = five_points(np.asarray(faces.landmarks, np.float64)) - ARCFACE_TEMPLATE
    return np.linalg.norm(off, axis=-1).mean(axis=-1)
