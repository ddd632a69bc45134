"""Predicts rates in per cent."""
# loses: test_prediction


# %% prediction
def prediction() -> tuple[float, float]:
    return 70.0, 30.0
