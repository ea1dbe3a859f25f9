"""Errors of a benchmark run.

BenchmarkError
├── MissingToolError    a required program is not installed, so the run cannot start
└── MeasurementError    a measurement is invalid: wrong responses, lost events, a crashed server
"""


class BenchmarkError(Exception):
    """Base class. The message is printed to the terminal."""


class MissingToolError(BenchmarkError):
    """A required program is missing. The message says how to install it."""


class MeasurementError(BenchmarkError):
    """The server misbehaved. The message says how."""
