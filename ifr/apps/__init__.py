"""What people touch: the explorer and the course."""
