"""The meter's file: its records, and reading them whether or not a server runs."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from hitrate import log
from hitrate.billing.pricing import Amounts
from hitrate.datadir import DataDir
from hitrate.teams.cycles import Cycle
from hitrate.teams.models import Team

RECORD_BYTES = 1024
"""Twice as much as one with the largest numbers takes; a page of memory holds whole ones."""

BLANK = b" " * (RECORD_BYTES - 1) + b"\n"

_READ_MOST = 100

_log = log.get_logger("billing")


class Record(msgspec.Struct, rename="camel"):
    """One line of the file. `stored_at_ms`: until when `stored_byte_ms` is summed up; `spooled`:
    where the last events that were counted stand; `returned`: the last segment of which events
    were taken back."""

    team: str
    start_ms: int
    end_ms: int
    used: Amounts
    stored_at_ms: int
    spooled: tuple[str, int] = ("", 0)
    returned: str = ""

    @property
    def cycle(self) -> Cycle:
        return Cycle(self.start_ms, self.end_ms)

    def copy(self) -> "Record":
        """One to be changed in its stead."""
        return msgspec.structs.replace(self, used=msgspec.structs.replace(self.used))

    def store(self, stored_bytes: int, now_ms: int) -> None:
        """Sum up what was stored until now, or the cycle's end, and note what is stored now."""
        until_ms = min(now_ms, self.end_ms)
        if until_ms > self.stored_at_ms:
            self.used.stored_byte_ms += self.used.stored_bytes * (until_ms - self.stored_at_ms)
            self.stored_at_ms = until_ms
        if now_ms < self.end_ms:
            self.used.stored_bytes = stored_bytes


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Record)


def encode_record(record: Record) -> bytes:
    """As it stands in the file."""
    return _encoder.encode(record).ljust(RECORD_BYTES - 1) + b"\n"


def read_meter(data_dir: Path) -> list[tuple[int, Record]]:
    """The file's records and where they stand, whether or not a server runs."""
    records = []
    for offset, line in _places(data_dir):
        if line:
            try:
                records.append((offset, _decoder.decode(line)))
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                _log.error("record of the meter cannot be read", offset=offset, reason=str(error))
    return records


def blank_places(data_dir: Path) -> list[int]:
    """Where nothing stands. What cannot be read is left for a person to look at."""
    return [offset for offset, line in _places(data_dir) if not line]


def _places(data_dir: Path) -> Iterator[tuple[int, bytes]]:
    path = DataDir(data_dir).meter
    content = _read_whole(path) if path.exists() else b""
    for offset in range(0, len(content), RECORD_BYTES):
        yield offset, content[offset : offset + RECORD_BYTES].strip(b" \0\n")


def _read_whole(path: Path) -> bytes:
    """The file as it was at one moment: a read beside a write may see half of a record."""
    content = path.read_bytes()
    for _ in range(_READ_MOST):
        again = path.read_bytes()
        if again == content:
            break
        content = again
    return content


def meter_reading(data_dir: Path, team: Team, now_ms: int) -> tuple[Cycle, Amounts]:
    """The cycle in progress and what was used in it so far, from the file alone."""
    cycle, used = team.settings.cycle.at(now_ms), Amounts()
    records = [record for _, record in read_meter(data_dir) if record.team == team.id]
    latest = max(records, key=lambda record: record.start_ms, default=None)
    if latest is None:
        return cycle, used
    latest.store(latest.used.stored_bytes, now_ms)
    if latest.start_ms > cycle.start_ms:  # the clock was set back
        return latest.cycle, latest.used
    if latest.start_ms == cycle.start_ms:
        return cycle, latest.used
    stored_bytes, since_ms = latest.used.stored_bytes, max(cycle.start_ms, latest.stored_at_ms)
    used.stored_bytes, used.stored_byte_ms = stored_bytes, stored_bytes * (now_ms - since_ms)
    return cycle, used


def ended_cycles(records: Iterable[Record], team: Team, now_ms: int) -> list[tuple[Cycle, Amounts]]:
    """Those of a team's cycles among the records that are over, with what was used in them."""
    ended = [record.copy() for record in records if record.team == team.id]
    for record in ended:
        record.store(record.used.stored_bytes, record.end_ms)
    return [(record.cycle, record.used) for record in ended if record.end_ms <= now_ms]
