"""The meter: exact usage of each team in its billing cycle, through any crash of the process.

It has one record for each team and cycle, in a fixed slot of a file. The record is overwritten
before the response is sent, so every response that a client has received is counted. The write is
one small system call into the page cache, which a killed process does not lose. Once a second
`sync` flushes the file, so a power failure loses at most that second.

The record of an ended cycle stays for a while, because its counts may still be corrected. Then the
billing worker moves it to the usage cycles in the database.
"""

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from hitrate.billing.meter_file import (
    EMPTY_SLOT,
    RECORD_BYTES,
    MeterRecord,
    closed_cycles,
    encode_record,
    free_slots,
    read_records,
)
from hitrate.billing.pricing import UsageTotals
from hitrate.clock import Clock
from hitrate.datadir import DataDir
from hitrate.errors import ServiceUnavailable
from hitrate.teams.cycles import BillingSchedule, Cycle
from hitrate.teams.models import Team

CLOSING_DELAY_MS = 60_000
"""A record can be corrected for this long after the end of its cycle."""


class _OpenRecord:
    """A record, its offset in the file, and the schedule from which its end was computed."""

    __slots__ = ("offset", "record", "schedule")

    def __init__(self, record: MeterRecord, offset: int, schedule: BillingSchedule | None) -> None:
        self.record = record
        self.offset = offset
        self.schedule = schedule


class Meter:
    """Counts usage from any thread. Only one process may have the file open for writing."""

    def __init__(self, data_dir: Path, stored_bytes: Callable[[str], int], clock: Clock) -> None:
        """`stored_bytes` returns the bytes that a team, by id, stores now."""
        self._data_dir = data_dir
        self._stored_bytes = stored_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._fd = -1
        self._free_slots: list[int] = []
        self._current: dict[str, _OpenRecord] = {}
        self._ended: list[_OpenRecord] = []
        self._unsynced = False

    def open(self) -> None:
        """Open the file and read its records."""
        if self._fd >= 0:
            return
        self._fd = os.open(DataDir(self._data_dir).meter, os.O_RDWR | os.O_CREAT, 0o600)
        end = -(-os.fstat(self._fd).st_size // RECORD_BYTES) * RECORD_BYTES
        os.ftruncate(self._fd, end)  # a torn last slot becomes a whole one
        self._current, self._ended = {}, []
        records = sorted(read_records(self._data_dir), key=lambda item: item[1].start_ms)
        for offset, record in records:
            older = self._current.get(record.team_id)
            if older is not None:
                self._ended.append(older)
            self._current[record.team_id] = _OpenRecord(record, offset, None)
        self._free_slots = free_slots(self._data_dir)

    def close(self) -> None:
        """Flush and close the file."""
        if self._fd >= 0:
            self.sync()
            os.close(self._fd)
            self._fd = -1

    def current(self, team: Team) -> MeterRecord:
        """Return the live record of the current cycle; do not change or keep it.

        Raises ServiceUnavailable if the disk is too full to add a record.
        """
        entry = self._current.get(team.id)
        if entry is None or self._clock.now_ms() >= entry.record.end_ms:
            with self._lock:
                entry = self._open_current(team)
        return entry.record

    def snapshot(self, team: Team) -> tuple[Cycle, UsageTotals]:
        """Return the current cycle and a copy of the usage in it so far."""
        with self._lock:
            record = self._accrued(self._open_current(team))
            return record.cycle, record.usage

    def count(
        self,
        team: Team,
        *,
        requests: int = 0,
        uploaded_bytes: int = 0,
        downloaded_bytes: int = 0,
        events: int = 0,
        spool_position: tuple[str, int] | None = None,
    ) -> None:
        """Add usage to the current cycle; a crash of the process cannot undo it afterwards.

        `spool_position` is the end of the last batch that is counted. Raises ServiceUnavailable,
        and then counts nothing.
        """
        with self._lock:
            entry = self._open_current(team)
            record = self._accrued(entry)
            record.usage.requests += requests
            record.usage.uploaded_bytes += uploaded_bytes
            record.usage.downloaded_bytes += downloaded_bytes
            record.usage.events += events
            record.spool_position = spool_position or record.spool_position
            self._write(entry, record)

    @property
    def spool_position(self) -> tuple[str, int]:
        """Position in the spool up to which all events are counted."""
        entries = (*self._ended, *self._current.values())
        return max((entry.record.spool_position for entry in entries), default=("", 0))

    def recover_events(
        self, team_id: str, received_at_ms: int, events: int, spool_position: tuple[str, int]
    ) -> None:
        """Count events that are durable in the spool but that a crash left uncounted."""
        with self._lock:
            entry = self._find(team_id, received_at_ms) or self._current.get(team_id)
            if entry is None:  # unknown schedule: the next request corrects it
                schedule = BillingSchedule()
                cycle = schedule.at(received_at_ms)
                entry = self._add_record(team_id, schedule, cycle, UsageTotals(), received_at_ms)
            record = entry.record.copy()
            record.usage.events += events
            record.spool_position = spool_position
            self._write(entry, record)

    def subtract_duplicates(
        self, team_id: str, received_at_ms: int, events: int, segment: str = ""
    ) -> None:
        """Subtract events that were counted on arrival but found to be duplicates.

        With `segment`, the segment in which they were found, a repeated call changes nothing.
        """
        with self._lock:
            entry = self._find(team_id, received_at_ms)
            if entry is None or (segment and segment == entry.record.last_deduplicated_segment):
                return
            record = entry.record.copy()
            record.usage.events = max(0, record.usage.events - events)
            record.last_deduplicated_segment = segment or record.last_deduplicated_segment
            self._write(entry, record)

    def sample_storage(self, team: Team) -> None:
        """Record the stored bytes and schedule of the team. For changes between its requests."""
        with self._lock:
            entry = self._open_current(team)
            record = self._accrued(entry)
            if record.usage.stored_bytes != entry.record.usage.stored_bytes:
                self._write(entry, record)

    def closed_records(self, min_age_ms: int = CLOSING_DELAY_MS) -> list[MeterRecord]:
        """Return copies of the records whose cycle ended at least `min_age_ms` ago."""
        latest_ms = self._clock.now_ms() - min_age_ms
        with self._lock:
            records = [entry.record for entry in self._ended]
            return [record.copy() for record in records if record.end_ms <= latest_ms]

    def closed_cycles(self, team: Team) -> list[tuple[Cycle, UsageTotals]]:
        """Return the team's ended cycles that are not released yet, with their usage."""
        return closed_cycles(self.closed_records(min_age_ms=0), team, self._clock.now_ms())

    def release(self, record: MeterRecord) -> None:
        """Free the slot of a closed record, once the database has its usage."""
        with self._lock:
            for entry in list(self._ended):
                key = entry.record.team_id, entry.record.start_ms
                if key == (record.team_id, record.start_ms):
                    self._write_slot(EMPTY_SLOT, entry.offset)
                    self._ended.remove(entry)
                    self._free_slots.append(entry.offset)

    def sync(self) -> None:
        """Flush the file to disk. Raises OSError."""
        if self._unsynced:
            self._unsynced = False
            try:
                os.fdatasync(self._fd)
            except OSError:
                self._unsynced = True
                raise

    def _open_current(self, team: Team) -> _OpenRecord:
        """Return the record of the current cycle; add it if a new cycle has begun.

        Never returns to an older cycle: a request may carry an outdated schedule, and the clock
        may be set back.
        """
        now_ms, schedule = self._clock.now_ms(), team.settings.cycle
        entry = self._current.get(team.id)
        if entry is None:
            return self._add_record(team.id, schedule, schedule.at(now_ms), UsageTotals(), now_ms)
        record = entry.record
        # Comparing identity first is faster, and it is usually the same object.
        same_schedule = entry.schedule is schedule or entry.schedule == schedule
        if now_ms < record.end_ms and same_schedule:
            return entry
        cycle = schedule.at(now_ms)
        if cycle.start_ms <= record.start_ms:
            if cycle.start_ms == record.start_ms and cycle.end_ms < record.end_ms:
                self._write(entry, msgspec.structs.replace(record, end_ms=cycle.end_ms))
            entry.schedule = schedule
            return entry
        ended = record.copy()
        ended.end_ms = min(record.end_ms, cycle.start_ms)
        ended.accrue_storage(0, ended.end_ms)
        self._write(entry, ended)
        initial = UsageTotals(stored_bytes=ended.usage.stored_bytes)
        if initial.stored_bytes:  # add also the cycles that passed while no server ran
            after = schedule.at(ended.end_ms)
            cycle = Cycle(max(after.start_ms, ended.end_ms), after.end_ms)
        stored_until_ms = max(cycle.start_ms, ended.stored_until_ms)
        next_entry = self._add_record(team.id, schedule, cycle, initial, stored_until_ms)
        self._ended.append(entry)
        return self._open_current(team) if now_ms >= cycle.end_ms else next_entry

    def _find(self, team_id: str, at_ms: int) -> _OpenRecord | None:
        """Return the record of the team's cycle that contains `at_ms`, or None."""
        current = self._current.get(team_id)
        for entry in (*self._ended, *([] if current is None else [current])):
            record = entry.record
            if record.team_id == team_id and record.start_ms <= at_ms < record.end_ms:
                return entry
        return None

    def _add_record(
        self,
        team_id: str,
        schedule: BillingSchedule,
        cycle: Cycle,
        usage: UsageTotals,
        stored_until_ms: int,
    ) -> _OpenRecord:
        record = MeterRecord(team_id, cycle.start_ms, cycle.end_ms, usage, stored_until_ms)
        previous = self._current.get(team_id)
        if previous is not None:
            record.spool_position = previous.record.spool_position
            record.last_deduplicated_segment = previous.record.last_deduplicated_segment
        file_end = os.fstat(self._fd).st_size // RECORD_BYTES * RECORD_BYTES
        offset = self._free_slots[-1] if self._free_slots else file_end
        entry = _OpenRecord(record, offset, schedule)
        self._write(entry, record)
        if self._free_slots:
            self._free_slots.pop()
        self._current[team_id] = entry
        return entry

    def _accrued(self, entry: _OpenRecord) -> MeterRecord:
        """Return a copy of the record with storage accrued until now."""
        record = entry.record.copy()
        record.accrue_storage(self._stored_bytes(record.team_id), self._clock.now_ms())
        return record

    def _write(self, entry: _OpenRecord, record: MeterRecord) -> None:
        """Replace the record, first in the file and then in memory."""
        self._write_slot(encode_record(record), entry.offset)
        entry.record = record

    def _write_slot(self, line: bytes, offset: int) -> None:
        try:
            if os.pwrite(self._fd, line, offset) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise ServiceUnavailable(f"Usage cannot be metered now: {error.strerror}.") from error
        self._unsynced = True
