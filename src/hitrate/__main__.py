"""Entry point of `python -m hitrate`, the same as the command `hitrate`."""

from hitrate.cli.main import main

if __name__ == "__main__":
    main()
