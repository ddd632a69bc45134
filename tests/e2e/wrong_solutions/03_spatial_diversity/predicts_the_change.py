"""Predicts by how much the overlap changes, not to which share of what it was."""
# loses: test_prediction


# %% prediction
def prediction() -> float:
    return -0.7
