"""`python benchmarks/run.py`: puts the repository on the path and hands over to `cli`."""

import sys
from pathlib import Path

if __name__ == "__main__":
    # In place of this folder, whose modules must only be importable as `benchmarks.…`.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from benchmarks.cli import main

    sys.exit(main())
