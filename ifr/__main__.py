"""``python -m ifr``: the command by the name of the package, as torchrun starts it."""

from ifr.cli.main import main

if __name__ == "__main__":
    main()
