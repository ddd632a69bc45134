"""Readers of published sets of photographs, one a format."""
