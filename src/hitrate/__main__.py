"""`python -m hitrate` is the console script `hitrate`."""

from hitrate.cli.main import main

if __name__ == "__main__":
    main()
