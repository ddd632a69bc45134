"""Takes the lowest of equally good thresholds in place of the highest: part 6, by hidden tests."""
# loses: test_kfold_accuracy

import numpy as np


# %% kfold_accuracy
def kfold_accuracy(scores: np.ndarray, same: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Return the accuracy on each fold, with the threshold chosen on the other folds."""
    accuracy = []
    for fold in np.unique(folds):
        own = folds == fold
        levels = np.unique(scores[~own])
        candidates = np.concatenate([[-np.inf], (levels[:-1] + levels[1:]) / 2, [np.inf]])
        right = [((scores[~own] >= c) == same[~own]).mean() for c in candidates]
        chosen = candidates[np.argmax(right)]
        accuracy.append(((scores[own] >= chosen) == same[own]).mean())
    return np.array(accuracy)
