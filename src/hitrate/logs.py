"""Structured logs: one line an occurrence, on standard error. A token is never a value here."""

import logging
import sys
from typing import Any

import structlog

Logger = structlog.typing.FilteringBoundLogger


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
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def get(name: str) -> Logger:
    """The logger of one room."""
    logger: Logger = structlog.get_logger(room=name)
    return logger
