"""The ``ifr`` command."""
