"""Chooses one threshold on all pairs, those it is judged by among them: part 6, a visible test."""
# loses: test_kfold_accuracy

import numpy as np


# %% kfold_accuracy
def kfold_accuracy(scores: np.ndarray, same: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Return the accuracy on each fold, with the threshold chosen on the other folds."""
    levels = np.unique(scores)
    candidates = np.concatenate([[np.inf], ((levels[:-1] + levels[1:]) / 2)[::-1], [-np.inf]])
    right = [((scores >= c) == same).mean() for c in candidates]
    called = (scores >= candidates[np.argmax(right)]) == same
    return np.array([called[folds == fold].mean() for fold in np.unique(folds)])
