"""Puts two networks level by naming one of them twice."""
# loses: test_prediction


# %% prediction
def prediction() -> tuple[str, str, str]:
    return "base", "full", "full"
