"""The meter: what each team uses in its billing cycle, exactly, through any crash of the process.

A file of fixed records, `meter.ndjson`: one a team and cycle, a line of JSON padded to a kilobyte.
A count is written over its record before the answer goes out, so whoever has an answer was
counted; the write is one small system call into the page cache, which a killed process does not
lose. Once a second `sync` flushes the file, so that a power cut takes no more than that second.

A record whose cycle is over stays for a while, for counts that are still to be corrected, and is
then handed over to the ledger.
"""

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from hitrate.billing.meter_file import (
    BLANK,
    RECORD_BYTES,
    Record,
    blank_places,
    encode_record,
    read_meter,
)
from hitrate.billing.pricing import Amounts
from hitrate.clock import Clock
from hitrate.datadir import DataDir
from hitrate.errors import ServiceUnavailable
from hitrate.teams.cycles import BillingSchedule, Cycle
from hitrate.teams.models import Team

GRACE_MS = 60_000
"""How long a record stays after its cycle's end."""


class _Running:
    """A record, where it stands in the file, and the plan that its end was reckoned by."""

    __slots__ = ("offset", "plan", "record")

    def __init__(self, record: Record, offset: int, plan: BillingSchedule | None) -> None:
        self.record = record
        self.offset = offset
        self.plan = plan


class Meter:
    """Counts come from any thread. Owns the file while it is open."""

    def __init__(self, data_dir: Path, stored_bytes: Callable[[str], int], clock: Clock) -> None:
        """`stored_bytes` tells what a team, by its id, keeps now."""
        self._data_dir = data_dir
        self._stored_bytes = stored_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._fd = -1
        self._free: list[int] = []
        self._current: dict[str, _Running] = {}
        self._over: list[_Running] = []
        self._unsynced = False

    def open(self) -> None:
        """Read what was counted so far."""
        if self._fd >= 0:
            return
        self._fd = os.open(DataDir(self._data_dir).meter, os.O_RDWR | os.O_CREAT, 0o600)
        end = -(-os.fstat(self._fd).st_size // RECORD_BYTES) * RECORD_BYTES
        os.ftruncate(self._fd, end)
        self._current, self._over = {}, []
        found = sorted(read_meter(self._data_dir), key=lambda one: one[1].start_ms)
        for offset, record in found:
            older = self._current.get(record.team)
            if older is not None:
                self._over.append(older)
            self._current[record.team] = _Running(record, offset, None)
        self._free = blank_places(self._data_dir)

    def close(self) -> None:
        """Flush."""
        if self._fd >= 0:
            self.sync()
            os.close(self._fd)
            self._fd = -1

    def current(self, team: Team) -> Record:
        """The record of the cycle in progress; to be looked at, not to be changed nor kept.

        Raises ServiceUnavailable when there is no room on the disk to count a new team.
        """
        running = self._current.get(team.id)
        if running is None or self._clock.now_ms() >= running.record.end_ms:
            with self._lock:
                running = self._run(team)
        return running.record

    def reading(self, team: Team) -> tuple[Cycle, Amounts]:
        """The cycle in progress, and a copy of what was used in it so far."""
        with self._lock:
            record = self._up_to_now(self._run(team))
            return record.cycle, record.used

    def count(
        self,
        team: Team,
        *,
        requests: int = 0,
        uploaded: int = 0,
        downloaded: int = 0,
        events: int = 0,
        spooled: tuple[str, int] | None = None,
    ) -> None:
        """Add to what the team used; when this returns, a crash of the process cannot undo it.

        Raises ServiceUnavailable.
        """
        with self._lock:
            running = self._run(team)
            record = self._up_to_now(running)
            record.used.requests += requests
            record.used.uploaded_bytes += uploaded
            record.used.downloaded_bytes += downloaded
            record.used.events += events
            record.spooled = spooled or record.spooled
            self._write(running, record)

    @property
    def spooled(self) -> tuple[str, int]:
        """Where the last events stand that were counted: all before them were, too."""
        everyone = (*self._over, *self._current.values())
        return max((running.record.spooled for running in everyone), default=("", 0))

    def count_late(
        self, team_id: str, received_at_ms: int, events: int, spooled: tuple[str, int]
    ) -> None:
        """Events that are on disk, and that a crash kept from being counted."""
        with self._lock:
            running = self._at(team_id, received_at_ms) or self._current.get(team_id)
            if running is None:  # its plan is not known here; the next request puts it right
                plan = BillingSchedule()
                cycle = plan.at(received_at_ms)
                running = self._begin(team_id, plan, cycle, Amounts(), received_at_ms)
            record = running.record.copy()
            record.used.events += events
            record.spooled = spooled
            self._write(running, record)

    def take_back_events(
        self, team_id: str, received_at_ms: int, events: int, segment: str = ""
    ) -> None:
        """Events that were counted when they came turned out to have come before; of a segment,
        those that loading dropped. Heard twice it counts once."""
        with self._lock:
            running = self._at(team_id, received_at_ms)
            if running is not None and (not segment or segment != running.record.returned):
                record = running.record.copy()
                record.used.events = max(0, record.used.events - events)
                record.returned = segment or record.returned
                self._write(running, record)

    def observe(self, team: Team) -> None:
        """Take note of what the team stores, and of its plan; for between its requests."""
        with self._lock:
            running = self._run(team)
            record = self._up_to_now(running)
            if record.used.stored_bytes != running.record.used.stored_bytes:
                self._write(running, record)

    def over(self, grace_ms: int = GRACE_MS) -> list[Record]:
        """Copies of the records whose cycle ended a while ago."""
        latest_ms = self._clock.now_ms() - grace_ms
        with self._lock:
            records = [running.record for running in self._over]
            return [record.copy() for record in records if record.end_ms <= latest_ms]

    def forget(self, record: Record) -> None:
        """Give a record's place free, once the ledger has it."""
        with self._lock:
            for running in list(self._over):
                if (running.record.team, running.record.start_ms) == (record.team, record.start_ms):
                    self._put(BLANK, running.offset)
                    self._over.remove(running)
                    self._free.append(running.offset)

    def sync(self) -> None:
        """Flush what was counted."""
        if self._unsynced:
            self._unsynced = False
            try:
                os.fdatasync(self._fd)
            except OSError:
                self._unsynced = True
                raise

    def _run(self, team: Team) -> _Running:
        """The record of the cycle in progress. Never goes back to an older one: a request may
        carry a plan that has changed since, and a clock may be set back."""
        now_ms, plan = self._clock.now_ms(), team.settings.cycle
        running = self._current.get(team.id)
        if running is None:
            return self._begin(team.id, plan, plan.at(now_ms), Amounts(), now_ms)
        record = running.record
        if now_ms < record.end_ms and (running.plan is plan or running.plan == plan):
            return running
        cycle = plan.at(now_ms)
        if cycle.start_ms <= record.start_ms:
            if cycle.start_ms == record.start_ms and cycle.end_ms < record.end_ms:
                self._write(running, msgspec.structs.replace(record, end_ms=cycle.end_ms))
            running.plan = plan
            return running
        ended = record.copy()
        ended.end_ms = min(record.end_ms, cycle.start_ms)
        ended.store(0, ended.end_ms)
        self._write(running, ended)
        stored = Amounts(stored_bytes=ended.used.stored_bytes)
        if stored.stored_bytes:  # also in cycles that went by while nothing ran
            after = plan.at(ended.end_ms)
            cycle = Cycle(max(after.start_ms, ended.end_ms), after.end_ms)
        stored_at_ms = max(cycle.start_ms, ended.stored_at_ms)
        begun = self._begin(team.id, plan, cycle, stored, stored_at_ms)
        self._over.append(running)
        return self._run(team) if now_ms >= cycle.end_ms else begun

    def _at(self, team_id: str, at_ms: int) -> _Running | None:
        """The record of a team's cycle at a moment, if there is one."""
        current = self._current.get(team_id)
        for running in (*self._over, *([] if current is None else [current])):
            record = running.record
            if record.team == team_id and record.start_ms <= at_ms < record.end_ms:
                return running
        return None

    def _begin(
        self, team_id: str, plan: BillingSchedule, cycle: Cycle, used: Amounts, stored_at_ms: int
    ) -> _Running:
        record = Record(team_id, cycle.start_ms, cycle.end_ms, used, stored_at_ms)
        before = self._current.get(team_id)
        if before is not None:
            record.spooled, record.returned = before.record.spooled, before.record.returned
        end = os.fstat(self._fd).st_size // RECORD_BYTES * RECORD_BYTES
        running = _Running(record, self._free[-1] if self._free else end, plan)
        self._write(running, record)
        if self._free:
            self._free.pop()
        self._current[team_id] = running
        return running

    def _up_to_now(self, running: _Running) -> Record:
        """A copy of the record, with what is stored until now."""
        record = running.record.copy()
        record.store(self._stored_bytes(record.team), self._clock.now_ms())
        return record

    def _write(self, running: _Running, record: Record) -> None:
        """Put the record in the place of the one before, in the file first."""
        self._put(encode_record(record), running.offset)
        running.record = record

    def _put(self, line: bytes, offset: int) -> None:
        try:
            if os.pwrite(self._fd, line, offset) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise ServiceUnavailable(f"Use cannot be metered now: {error.strerror}.") from error
        self._unsynced = True
