"""Predicts that more people are found behind the occluder that does more harm."""
# loses: test_prediction


# %% prediction
def prediction() -> tuple[float, float]:
    return 0.3, 0.7
