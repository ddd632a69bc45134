"""What every room stands on: folders, random streams, files, errors, this machine."""
