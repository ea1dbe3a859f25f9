"""Uploads and downloads, counted a minute at a time until the loader writes them down.

Counting is on the hot path: a dictionary entry for each minute and sender. What was counted in the
last seconds before a crash is lost; the artifacts themselves and the billing meter are not.
"""

import threading
from collections.abc import Mapping
from typing import NamedTuple

from hitrate.clock import Clock

MINUTE_MS = 60_000


class TransferKey(NamedTuple):
    """Who moved artifacts, and in which minute."""

    moved_at: int
    team: str
    token: str
    ci: str | None
    interactive: bool | None
    agent: str | None


class TransferTotals(NamedTuple):
    """How many artifacts went up and down, and their bytes."""

    uploads: int
    uploaded_bytes: int
    downloads: int
    downloaded_bytes: int


Transfers = Mapping[TransferKey, TransferTotals]


_Who = tuple[str, str, tuple[str | None, bool | None, str | None]]
_Key = tuple[int, str, str, tuple[str | None, bool | None, str | None]]


class TransferCounter:
    """Counts on the event loop; the loader takes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: dict[_Key, list[int]] = {}

    def uploaded(
        self,
        team_id: str,
        token_id: str,
        client: tuple[str | None, bool | None, str | None],
        size_bytes: int,
    ) -> None:
        """Count an artifact that was stored."""
        self._add(0, (team_id, token_id, client), size_bytes)

    def downloaded(
        self,
        team_id: str,
        token_id: str,
        client: tuple[str | None, bool | None, str | None],
        size_bytes: int,
    ) -> None:
        """Count an artifact that was sent."""
        self._add(2, (team_id, token_id, client), size_bytes)

    def drain(self) -> Transfers:
        """All that was counted since the last time."""
        with self._lock:
            taken, self._counts = self._counts, {}
        return {
            TransferKey(minute, team, token, *client): TransferTotals(*counts)
            for (minute, team, token, client), counts in taken.items()
        }

    def restore(self, transfers: Transfers) -> None:
        """What could not be written down."""
        with self._lock:
            for (minute, team, token, ci, interactive, agent), amounts in transfers.items():
                counts = self._counts_of((minute, team, token, (ci, interactive, agent)))
                counts[:] = [a + b for a, b in zip(counts, amounts, strict=True)]

    def _add(self, first: int, who: _Who, size_bytes: int) -> None:
        minute = self._clock.now_ms() // MINUTE_MS * MINUTE_MS
        with self._lock:
            counts = self._counts_of((minute, *who))
            counts[first] += 1
            counts[first + 1] += size_bytes

    def _counts_of(self, key: _Key) -> list[int]:
        counts = self._counts.get(key)
        if counts is None:
            counts = self._counts[key] = [0, 0, 0, 0]
        return counts
