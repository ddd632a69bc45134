"""Scales every image to unit length before the mean of its template: part 5, hidden tests."""
# loses: test_template_features

import numpy as np


# %% template_features
def template_features(features: np.ndarray, template: np.ndarray) -> np.ndarray:
    """Return one feature of unit length for each template, the direction of its mean feature."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    mean = np.stack([unit[template == t].mean(axis=0) for t in range(template.max() + 1)])
    return mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
