"""Structured logging to standard error, one line per occurrence. Never log a token."""

import contextlib
import logging
import sys
from typing import Any, TextIO, cast

import structlog

Logger = structlog.typing.FilteringBoundLogger


class _Stderr:
    """Standard error without its failures: a log line that cannot be written must not fail a
    request."""

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()


def configure(level: str, format: str) -> None:  # noqa: A002  # reason: the name of the setting
    """Set up logging for the process.

    `level` is the lowest level that is logged. `format` is `json`, `text` or `auto`, which is
    text on a terminal and JSON elsewhere.
    """
    as_text = sys.stderr.isatty() if format == "auto" else format == "text"
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if as_text
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _Stderr())),
        cache_logger_on_first_use=False,
    )


def get_logger(component: str) -> Logger:
    """Return a logger whose lines carry `component`, such as `events` or `billing`."""
    logger: Logger = structlog.get_logger(component=component)
    return logger
