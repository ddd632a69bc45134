"""Each data set's own protocol."""
