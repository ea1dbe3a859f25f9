"""Counts of uploads and downloads per minute and sender, until the loader stores them.

Counting is on the hot path: one dictionary entry for each minute and sender. A crash loses the
counts of the last seconds, but neither the artifacts nor the usage in the billing meter.
"""

import threading
from collections.abc import Mapping
from typing import NamedTuple

from hitrate.clock import Clock

MINUTE_MS = 60_000


class TransferKey(NamedTuple):
    """The sender of transfers, and the start of their minute."""

    moved_at: int
    team: str
    token: str
    ci: str | None
    interactive: bool | None
    agent: str | None


class TransferTotals(NamedTuple):
    """Numbers of uploads and downloads, and their bytes."""

    uploads: int
    uploaded_bytes: int
    downloads: int
    downloaded_bytes: int


Transfers = Mapping[TransferKey, TransferTotals]

_Client = tuple[str | None, bool | None, str | None]
"""The fields of ClientInfo: CI, interactive terminal, coding agent."""

_CounterKey = tuple[int, str, str, _Client]
"""Start of the minute, team, token, client."""


class TransferCounter:
    """Counts on the event loop. The loader drains it from its own thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: dict[_CounterKey, list[int]] = {}

    def uploaded(self, team_id: str, token_id: str, client: _Client, size_bytes: int) -> None:
        """Count an artifact that was stored."""
        self._add(0, team_id, token_id, client, size_bytes)

    def downloaded(self, team_id: str, token_id: str, client: _Client, size_bytes: int) -> None:
        """Count an artifact that was sent."""
        self._add(2, team_id, token_id, client, size_bytes)

    def drain(self) -> Transfers:
        """Return all counts since the last call, and reset them."""
        with self._lock:
            drained, self._counts = self._counts, {}
        return {
            TransferKey(minute_ms, team, token, *client): TransferTotals(*counts)
            for (minute_ms, team, token, client), counts in drained.items()
        }

    def restore(self, transfers: Transfers) -> None:
        """Add drained counts back, because they could not be stored."""
        with self._lock:
            for (minute_ms, team, token, ci, interactive, agent), totals in transfers.items():
                counts = self._counts_of((minute_ms, team, token, (ci, interactive, agent)))
                counts[:] = [a + b for a, b in zip(counts, totals, strict=True)]

    def _add(
        self, column: int, team_id: str, token_id: str, client: _Client, size_bytes: int
    ) -> None:
        """Add one transfer to the totals at `column`, and its bytes to the column after that."""
        minute_ms = self._clock.now_ms() // MINUTE_MS * MINUTE_MS
        with self._lock:
            counts = self._counts_of((minute_ms, team_id, token_id, client))
            counts[column] += 1
            counts[column + 1] += size_bytes

    def _counts_of(self, key: _CounterKey) -> list[int]:
        counts = self._counts.get(key)
        if counts is None:
            counts = self._counts[key] = [0, 0, 0, 0]
        return counts
