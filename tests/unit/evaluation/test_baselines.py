"""The shortcut baselines see what they should and nothing else."""

import numpy as np
import pytest

from ifr.evaluation import baselines
from ifr.profiles import PROFILES


@pytest.mark.parametrize("name", baselines.BASELINES)
def test_shortcut_descriptors(smoke_sets, name):
    images = np.asarray(smoke_sets["closed"].images[:4])
    rows = baselines.shortcut(name, images)
    assert rows.ndim == 2 and len(rows) == 4 and np.isfinite(rows).all()
    np.testing.assert_allclose(baselines.shortcut(name, images[2:3])[0], rows[2], rtol=1e-6)


def test_hair_and_border_ignore_the_face(smoke_sets):
    images = np.array(smoke_sets["closed"].images[:2])
    painted = images.copy()
    painted[:, 30:100, 20:92] = 255  # inside the border and below the top strip
    for name in ("hair only (top strip)", "border only"):
        seen = (baselines.shortcut(name, some) for some in (painted, images))
        np.testing.assert_array_equal(*seen)


def test_shortcut_baselines_table(smoke_sets):
    train, closed = smoke_sets["train"], smoke_sets["closed"]
    table = baselines.shortcut_baselines(train, closed, resamples=20)
    assert list(table["baseline"]) == list(baselines.BASELINES)
    accuracy = table["accuracy_percent"]
    assert ((table["low"] <= accuracy) & (accuracy <= table["high"])).all()
    people = PROFILES["smoke"].faces.train[0]
    np.testing.assert_allclose(table["chance_percent"], 100 / people)
    again = baselines.shortcut_baselines(train, closed, resamples=20)
    np.testing.assert_array_equal(table["accuracy_percent"], again["accuracy_percent"])


def test_alignment_error_is_small(smoke_sets):
    error = baselines.alignment_error(smoke_sets["train"])
    assert error.shape == (len(smoke_sets["train"]),)
    assert error.mean() < 6
