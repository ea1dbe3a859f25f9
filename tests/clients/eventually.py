"""Owns waiting in tests: asking again until something holds, or a deadline has passed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

DEADLINE_S = 15.0
PAUSE_S = 0.05


def eventually(check: Callable[[], None], deadline_s: float = DEADLINE_S) -> None:
    """Call `check` until its assertions hold; after the deadline its last failure is raised."""
    pause = threading.Event()
    end = time.monotonic() + deadline_s
    while True:
        try:
            return check()
        except AssertionError:
            if time.monotonic() > end:
                raise
        pause.wait(PAUSE_S)
