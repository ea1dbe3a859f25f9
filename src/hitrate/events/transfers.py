"""Uploads and downloads, counted a minute at a time until the loader writes them down.

Counting is on the hot path: a dictionary entry for each minute and sender. What was counted in the
last seconds before a crash is lost; the artifacts themselves and the billing meter are not.
"""

import threading
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from hitrate.clock import Clock

MINUTE_MS = 60_000


class Route(NamedTuple):
    """Who moved artifacts, and in which minute."""

    moved_at: int
    team: str
    token: str
    ci: str | None
    interactive: bool | None
    agent: str | None


class Amounts(NamedTuple):
    """How many artifacts went up and down, and their bytes."""

    uploads: int
    uploaded_bytes: int
    downloads: int
    downloaded_bytes: int


Transfers = Mapping[Route, Amounts]


class TransferCounter:
    """Counts on the event loop; the loader takes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: dict[Route, Amounts] = {}

    def uploaded(
        self,
        team_id: str,
        token_id: str,
        client: tuple[str | None, bool | None, str | None],
        size_bytes: int,
    ) -> None:
        """Count an artifact that was stored."""
        self._add(team_id, token_id, client, Amounts(1, size_bytes, 0, 0))

    def downloaded(
        self,
        team_id: str,
        token_id: str,
        client: tuple[str | None, bool | None, str | None],
        size_bytes: int,
    ) -> None:
        """Count an artifact that was sent."""
        self._add(team_id, token_id, client, Amounts(0, 0, 1, size_bytes))

    def take(self) -> Transfers:
        """All that was counted since the last time."""
        with self._lock:
            counts, self._counts = self._counts, {}
        return counts

    def put_back(self, transfers: Transfers) -> None:
        """What could not be written down."""
        with self._lock:
            self._merge(transfers.items())

    def _add(
        self,
        team_id: str,
        token_id: str,
        client: tuple[str | None, bool | None, str | None],
        amounts: Amounts,
    ) -> None:
        minute = self._clock.now_ms() // MINUTE_MS * MINUTE_MS
        with self._lock:
            self._merge([(Route(minute, team_id, token_id, *client), amounts)])

    def _merge(self, transfers: Iterable[tuple[Route, Amounts]]) -> None:
        for route, amounts in transfers:
            known = self._counts.get(route)
            self._counts[route] = (
                amounts
                if known is None
                else Amounts(*(a + b for a, b in zip(known, amounts, strict=True)))
            )
