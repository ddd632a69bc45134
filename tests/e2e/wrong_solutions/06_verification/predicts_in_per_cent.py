"""Predicts a rate in per cent."""
# loses: test_prediction


# %% prediction
def prediction() -> tuple[float, float]:
    return 20.0, 10.0
