"""`python benchmarks/analytics.py`: how fast analytics answer with a year of many events."""

import sys
from pathlib import Path

if __name__ == "__main__":
    # In place of this folder, whose modules must only be importable as `benchmarks.…`.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from benchmarks.reading import main

    sys.exit(main())
