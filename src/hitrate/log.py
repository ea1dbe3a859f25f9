"""Structured logs: one line an occurrence, on standard error. A token is never a value here."""

import contextlib
import logging
import sys
from typing import Any, TextIO, cast

import structlog

Logger = structlog.typing.FilteringBoundLogger


class _Sink:
    """Standard error, or nothing: a log that cannot be written must not stop what it tells of."""

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()


def configure(level: str, form: str) -> None:
    """Set up logging for the process. `form` is `json`, `text`, or `auto` (text on a terminal)."""
    as_text = sys.stderr.isatty() if form == "auto" else form == "text"
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
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _Sink())),
        cache_logger_on_first_use=False,
    )


def get(name: str) -> Logger:
    """The logger of one room."""
    logger: Logger = structlog.get_logger(room=name)
    return logger
