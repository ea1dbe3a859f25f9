"""File format of the meter, and reading the file whether or not a server runs.

`meter.ndjson` consists of fixed slots of one kilobyte. A slot holds one record, a JSON object for
one team and billing cycle, padded with spaces and ended by a newline, or it is empty.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from hitrate import log
from hitrate.billing.pricing import UsageTotals
from hitrate.clock import Clock
from hitrate.datadir import DataDir
from hitrate.teams.cycles import Cycle
from hitrate.teams.models import Team

RECORD_BYTES = 1024
"""Twice the size of a record with the largest numbers; divides a memory page evenly."""

EMPTY_SLOT = b" " * (RECORD_BYTES - 1) + b"\n"

_MAX_READS = 100

_FIELD_NAMES = {
    "team_id": "team",
    "start_ms": "startMs",
    "end_ms": "endMs",
    "usage": "used",
    "stored_until_ms": "storedAtMs",
    "spool_position": "spooled",
    "last_deduplicated_segment": "returned",
}
"""Names in the file by field. They must not change: existing files use them."""

_log = log.get_logger("billing")


class MeterRecord(msgspec.Struct, rename=_FIELD_NAMES):
    """Usage of a team in one billing cycle, as one slot of the file holds it.

    `stored_until_ms`: `usage.stored_byte_ms` is summed up to this time. `spool_position`: the end
    of the last counted batch, as segment name and offset. `last_deduplicated_segment`: the last
    segment whose duplicates were subtracted.
    """

    team_id: str
    start_ms: int
    end_ms: int
    usage: UsageTotals
    stored_until_ms: int
    spool_position: tuple[str, int] = ("", 0)
    last_deduplicated_segment: str = ""

    @property
    def cycle(self) -> Cycle:
        return Cycle(self.start_ms, self.end_ms)

    def copy(self) -> "MeterRecord":
        """Return a deep copy."""
        return msgspec.structs.replace(self, usage=msgspec.structs.replace(self.usage))

    def accrue_storage(self, stored_bytes: int, now_ms: int) -> None:
        """Sum up stored bytes until now or the end of the cycle, then set the current value."""
        until_ms = min(now_ms, self.end_ms)
        if until_ms > self.stored_until_ms:
            duration_ms = until_ms - self.stored_until_ms
            self.usage.stored_byte_ms += self.usage.stored_bytes * duration_ms
            self.stored_until_ms = until_ms
        if now_ms < self.end_ms:
            self.usage.stored_bytes = stored_bytes


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(MeterRecord)


def encode_record(record: MeterRecord) -> bytes:
    """Return the content of a slot with this record."""
    return _encoder.encode(record).ljust(RECORD_BYTES - 1) + b"\n"


def read_records(data_dir: Path) -> list[tuple[int, MeterRecord]]:
    """Return all readable records with their offsets. Logs and skips the others."""
    records = []
    for offset, line in _slots(data_dir):
        if line:
            try:
                records.append((offset, _decoder.decode(line)))
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                _log.error("meter record cannot be read", offset=offset, reason=str(error))
    return records


def free_slots(data_dir: Path) -> list[int]:
    """Return the offsets of empty slots. Unreadable slots are not free: an operator may check."""
    return [offset for offset, line in _slots(data_dir) if not line]


def closed_cycles(
    records: Iterable[MeterRecord], team: Team, now_ms: int
) -> list[tuple[Cycle, UsageTotals]]:
    """Return the team's cycles among the records that have ended, with their usage."""
    ended = [record.copy() for record in records if record.team_id == team.id]
    for record in ended:
        record.accrue_storage(record.usage.stored_bytes, record.end_ms)
    return [(record.cycle, record.usage) for record in ended if record.end_ms <= now_ms]


class MeterFile:
    """Read-only view of the meter's file. Works whether or not a server runs."""

    def __init__(self, data_dir: Path, clock: Clock) -> None:
        self._data_dir = data_dir
        self._clock = clock

    def snapshot(self, team: Team) -> tuple[Cycle, UsageTotals]:
        """Return the current billing cycle and the usage in it so far."""
        now_ms = self._clock.now_ms()
        cycle, usage = team.settings.cycle.at(now_ms), UsageTotals()
        records = [record for record in self._records() if record.team_id == team.id]
        latest = max(records, key=lambda record: record.start_ms, default=None)
        if latest is None:
            return cycle, usage
        latest.accrue_storage(latest.usage.stored_bytes, now_ms)
        if latest.start_ms > cycle.start_ms:  # the clock was set back
            return latest.cycle, latest.usage
        if latest.start_ms == cycle.start_ms:
            return cycle, latest.usage
        usage.stored_bytes = latest.usage.stored_bytes
        since_ms = max(cycle.start_ms, latest.stored_until_ms)
        usage.stored_byte_ms = usage.stored_bytes * (now_ms - since_ms)
        return cycle, usage

    def closed_cycles(self, team: Team) -> list[tuple[Cycle, UsageTotals]]:
        """Return the team's ended cycles that the file still holds, with their usage."""
        return closed_cycles(self._records(), team, self._clock.now_ms())

    def _records(self) -> list[MeterRecord]:
        return [record for _, record in read_records(self._data_dir)]


def _slots(data_dir: Path) -> Iterator[tuple[int, bytes]]:
    path = DataDir(data_dir).meter
    content = _read_consistently(path) if path.exists() else b""
    for offset in range(0, len(content), RECORD_BYTES):
        yield offset, content[offset : offset + RECORD_BYTES].strip(b" \0\n")


def _read_consistently(path: Path) -> bytes:
    """Read until two reads are equal: one read during a write may see half of a record."""
    content = path.read_bytes()
    for _ in range(_MAX_READS):
        previous, content = content, path.read_bytes()
        if content == previous:
            break
    return content
