"""Correction of metered event counts after crashes and for duplicates.

The meter counts events when they are acknowledged. Duplicates are found only when they are loaded,
and a crash may come between writing a batch to the spool and counting it.
"""

from collections.abc import Callable, Iterator

from hitrate.billing.meter import Meter
from hitrate.events.models import DuplicateBatch, LoadObserver, SpooledBatch
from hitrate.events.spool import SpoolPosition


class EventMeteringObserver(LoadObserver):
    """Keeps the meter's event counts exact through crashes and duplicates."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def recover(self, batches_after: Callable[[SpoolPosition], Iterator[SpooledBatch]]) -> None:
        """Count the batches in the spool that follow the last one that the meter has counted."""
        for batch in batches_after(self._meter.spool_position):
            self._meter.recover_events(
                batch.team_id, batch.received_at_ms, batch.events, batch.position
            )

    def is_ready(self, position: SpoolPosition) -> bool:
        """Return whether the meter has counted all events up to this position."""
        return self._meter.spool_position >= position

    def on_duplicates(self, batch: DuplicateBatch, segment: str) -> None:
        """Subtract duplicates, which were counted when they were acknowledged."""
        self._meter.subtract_duplicates(*batch, segment)
