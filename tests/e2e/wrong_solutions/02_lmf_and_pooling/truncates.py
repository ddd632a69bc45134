"""Cuts the decimals off in place of rounding: a tenth of 100 becomes 9 (Part 1, hidden)."""
# loses: test_kept_count


# %% kept_count
def kept_count(height: int, width: int, rate: float) -> int:
    """Return the share that is kept, without its decimals, at least 1."""
    return max(1, int((1 - rate) * height * width))
