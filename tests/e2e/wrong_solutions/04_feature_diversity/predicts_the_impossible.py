"""Predicts fewer elements in common than two such large sets must have."""
# loses: test_prediction


# %% prediction
def prediction() -> tuple[float, float]:
    return 0.9, 0.2
