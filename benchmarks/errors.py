"""What can go wrong in a benchmark run.

BenchmarkError
├── MissingToolError    the run cannot begin: something is not installed
└── MeasurementError    one measurement means nothing: wrong answers, lost events, a dead server
"""


class BenchmarkError(Exception):
    """The message is for the person at the terminal."""


class MissingToolError(BenchmarkError):
    """Says what is missing and how to install it."""


class MeasurementError(BenchmarkError):
    """Says what the server did that it must not do."""
