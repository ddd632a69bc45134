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


def _small(images: np.ndarray, size: tuple[int, int] = (28, 28)) -> np.ndarray:
    """Shrink images by area averaging to (width, height) and flatten them to shares of 1."""
    pieces = map(np.ascontiguousarray, images)
    shrunk = [cv2.resize(piece, size, interpolation=cv2.INTER_AREA) for piece in pieces]
    return np.array(shrunk, np.float32).reshape(len(images), -1) / 255


def mean_colour(images: np.ndarray) -> np.ndarray:
    """Return the mean colour of each image, (N, 3)."""
    return images.reshape(len(images), -1, 3).mean(axis=1)


def colour_histogram(images: np.ndarray, bins: int = 4) -> np.ndarray:
    """Return the share of pixels in each of bins³ colours, (N, bins³)."""
    index = images.astype(np.int64) * bins // 256
    cell = (index[..., 0] * bins + index[..., 1]) * bins + index[..., 2]
    counts = [np.bincount(one.ravel(), minlength=bins**3) for one in cell]
    return np.sqrt(np.array(counts) / cell[0].size)


def hair_strip(images: np.ndarray) -> np.ndarray:
    """Return the top strip, hair and hats, at a quarter of the size, (N, D)."""
    return _small(images[:, :HAIR_ROWS], (28, HAIR_ROWS // 4))


def border_strips(images: np.ndarray) -> np.ndarray:
    """Return the frame of the image, mostly background and clothing, (N, D)."""
    sides = np.concatenate([images[:, :, :BORDER], images[:, :, -BORDER:]], axis=2)
    ends = np.concatenate([images[:, :BORDER], images[:, -BORDER:]], axis=1)
    return np.concatenate([_small(sides, (4, 28)), _small(ends, (28, 4))], axis=1)


BASELINES = {
    "mean colour": mean_colour,
    "colour histogram": colour_histogram,
    "hair only (top strip)": hair_strip,
    "border only": border_strips,
    "all pixels, linear": _small,
}


def shortcut_baselines(
    train: FaceSet, test: FaceSet, *, resamples: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Return closed-set top-1 of a linear discriminant on each shortcut, and its 95 % interval."""
    rows, chance = [], 100 / len(np.unique(train.identity))
    for name, describe in BASELINES.items():
        known, probes = (describe(np.asarray(faces.images)) for faces in (train, test))
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
