"""A run: its data and networks, tables, claims, the batch, and the page of its results."""
