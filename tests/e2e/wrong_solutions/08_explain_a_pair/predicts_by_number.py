"""Predicts parts by their numbers."""
# loses: test_prediction


# %% prediction
def prediction() -> tuple[int, int]:
    return 0, 2
